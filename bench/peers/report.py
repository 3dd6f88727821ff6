"""The table of `script/bench peers`: printed, and written into docs/PERFORMANCE.md between two marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from bench import machine
from bench.peers.client import Measured
from bench.peers.functions import CONTENDERS, Contender, Measurable

DOCUMENT = machine.ROOT / "docs" / "PERFORMANCE.md"
BEGIN, END = "<!-- peers: written by script/bench peers -->", "<!-- peers: end -->"

Rounds = Mapping[Contender, Sequence[Measured]]


def ratio(rounds: Rounds, other: Contender) -> float:
    """Return daysong's rate as a share of another's: the median of the rounds."""
    pairs = zip(rounds["daysong"], rounds[other], strict=True)
    return median(_rate(own) / _rate(their) for own, their in pairs)


def tail(rounds: Rounds) -> float:
    """Return daysong's p99 as a multiple of the floor's: the median of the rounds."""
    return median(own.p99 / their.p99 for own, their in zip(rounds["daysong"], rounds["floor"], strict=True))


def missed(function: Measurable, rounds: Rounds) -> list[str]:
    """Return the goals that were missed, and by how much."""
    goals, found = function.goals, []
    of_floor, of_usual, rate = ratio(rounds, "floor"), ratio(rounds, "usual"), _rate_of(rounds, "daysong")
    if goals.of_floor is not None and of_floor < goals.of_floor:
        found.append(f"{of_floor:.2f} of the floor, not {goals.of_floor:.2f}")
    if goals.of_usual is not None and of_usual < goals.of_usual:
        found.append(f"{of_usual:.1f} × the usual, not {goals.of_usual:.0f}")
    if goals.rate is not None and rate < goals.rate:
        found.append(f"{rate:.0f}/s, not {goals.rate:.0f}")
    if tail(rounds) > goals.p99:
        found.append(f"p99 {tail(rounds):.1f} × the floor's, not {goals.p99:.1f}")
    return found


def line(function: Measurable, rounds: Rounds) -> str:
    """Return a short line for the terminal."""
    rates = "".join(f"{_rate_of(rounds, contender):9.0f}" for contender in CONTENDERS)
    ratios = f"{ratio(rounds, 'floor'):7.2f}{ratio(rounds, 'usual'):7.1f}{tail(rounds):7.1f}"
    return f"{function.name:26}{rates}{ratios}  {'; '.join(missed(function, rounds)) or 'ok'}"


HEAD = f"{'':26}" + "".join(f"{contender:>9}" for contender in CONTENDERS) + "  floor  usual    p99"


def table(results: Mapping[str, Rounds], functions: Sequence[Measurable], how: str) -> str:
    """Return the whole table in Markdown."""
    parts = [
        f"{machine.line()}. {how}",
        "",
        "| function | daysong/s | floor/s | usual/s | of floor | × usual | p99 × floor | goals |",
        "|---|---|---|---|---|---|---|---|",
    ]
    chosen = [(function, results[function.name]) for function in functions]
    for function, rounds in chosen:
        rates = " | ".join(f"{_rate_of(rounds, contender):,.0f}" for contender in CONTENDERS)
        parts.append(
            f"| {function.name} ({function.about}) | {rates} | {ratio(rounds, 'floor'):.2f} |"
            f" {ratio(rounds, 'usual'):.1f} | {tail(rounds):.1f} | {'; '.join(missed(function, rounds)) or 'met'} |"
        )
    parts += [
        "",
        "Latency in ms (p50 / p95 / p99), and CPU time in µs per request (server / PostgreSQL / load generator):",
        "",
        "| function | " + " | ".join(f"{one} ms | {one} µs" for one in CONTENDERS) + " |",
        "|---" * 7 + "|",
    ]
    for function, rounds in chosen:
        cells = [function.name]
        for one in CONTENDERS:
            cells.append(
                " / ".join(f"{median(getattr(each, p) for each in rounds[one]):.1f}" for p in ("p50", "p95", "p99"))
            )
            names = ("server", "postgres", "client")
            cells.append(" / ".join(f"{median(each.cpu[name] for each in rounds[one]):.0f}" for name in names))
        parts.append(f"| {' | '.join(cells)} |")
    return "\n".join(parts)


def write(text: str) -> None:
    """Replace what stands between the marks in docs/PERFORMANCE.md."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def _rate(measured: Measured) -> float:
    return measured.responses / measured.seconds


def _rate_of(rounds: Rounds, contender: Contender) -> float:
    return median(map(_rate, rounds[contender]))
