"""`daysong settings`: every setting as Markdown (docs/SETTINGS.md), with what the code that reads them knows of it."""

from __future__ import annotations

from collections.abc import Mapping

from daysong.commands.documents.setting_texts import DEFAULTS, REQUIRED, ROWS, SETTINGS
from daysong.features.diary_media.rules import STORAGE
from daysong.features.subscriptions.rules import PLANS, Tier
from daysong.kernel.limits.prices import ALL, VENDORS, Costs
from daysong.kernel.limits.rates import Rate
from daysong.kernel.parts import PARTS
from daysong.kernel.settings import loading
from daysong.kernel.settings.environment import Environment
from daysong.kernel.settings.groups import RETENTION_DAYS

HEAD = """# Settings

Written by `daysong settings > docs/SETTINGS.md`; a test fails when it is out of date.

Settings are environment variables. `NAME_FILE` may name a file that holds the value of `NAME` instead. "Always" means
for `daysong serve` and `daysong work`, "production" for these in production mode alone; `daysong dev` fills in
everything that it is not given. What is missing or wrong is named all at once, a name that looks like a misspelled
setting too, and the process does not start. `daysong doctor` says the same without starting.
"""

NOTES: Mapping[str, str] = {
    "Costs": "[Operate](OPERATING.md#daysongcostnearcap) says what happens at a cap.",
    "Rates": "A rate is written as `20/10s`, `240/1m` or `60/h`; `off` ends it. Requests to vendors wait in line; "
    "callers are refused with [`rate_limited`](ERRORS.md#errors-of-functions), or 429 before a function is known.",
    "Monitoring": "Traces: with the extra `daysong[otel]`, `serve` and `work` send them to the collector that "
    "OpenTelemetry's own variables name, `OTEL_EXPORTER_OTLP_ENDPOINT` above all; see [Operate](OPERATING.md#traces).",
    "Tests": "None of these is for production.",
}


class Recorder(Environment):
    """Reads the settings of an environment, and remembers defaults and bounds."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ, {})
        self.found: dict[str, str] = {}
        self.settings = loading._read(self)  # noqa: SLF001 - the order and the checks are those of a start

    def url(self, name: str, default: str | None, what: str) -> str:
        """Return an address."""
        if default:
            self.found[name] = f"`{default}`"
        return super().url(name, default, what)

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        """Return a whole number."""
        self.found[name] = f"`{default}` ({least} to {most})"
        return super().whole(name, default, least=least, most=most)

    def flag(self, name: str) -> bool:
        """Return a boolean."""
        self.found[name] = "`0`"
        return super().flag(name)

    def rates(self, declared: Mapping[str, Rate]) -> dict[str, Rate]:
        """Return rates."""
        self.found |= {f"LIMIT_{name.upper()}": f"`{rate}`" for name, rate in declared.items()}
        return super().rates(declared)

    def costs(self) -> Costs:
        """Return prices and caps."""
        costs = super().costs()
        for name in ("account", *VENDORS, ALL):
            self.found[f"LIMIT_COST_{'DAY' if name == ALL else name.upper()}"] = f"`{costs.caps[name] // 1_000_000}`"
        return costs

    @property
    def missing(self) -> set[str]:
        """The settings that are required and have no value."""
        return {problem.name for problem in self.problems if problem.what.startswith("missing")}


def document() -> str:
    """Return the settings by subject, as Markdown."""
    recorder = Recorder({})
    defaults = recorder.found | {
        "OPENAI_MODEL": f"`{recorder.settings.openai.model}`",
        "SUNO_MODEL": f"`{recorder.settings.suno.model}`",
        "CALL_MINUTES": _by_plan({tier: plan.minutes for tier, plan in PLANS.items()}),
        "MEDIA_STORAGE": _by_plan(STORAGE),
        **DEFAULTS,
    }
    required = _required(recorder.missing) | dict(REQUIRED)
    parts = [HEAD]
    for subject, texts in SETTINGS.items():
        parts.append(f"\n## {subject}\n\n" + (f"{NOTES[subject]}\n\n" if subject in NOTES else ""))
        parts.append("| setting | what for | default | required |\n|---|---|---|---|\n")
        parts += [
            f"| `{name}` | {about} | {defaults.get(name, '')} | {required.get(name, '')} |\n"
            for name, about in texts.items()
        ]
    parts.append(
        "\n## Rows, and how long they are kept\n\nFor `RETENTION_DAYS`.\n\n| rows | what they are | days | at least |\n"
    )
    parts.append("|---|---|---|---|\n")
    parts += [f"| `{rows}` | {ROWS[rows]} | {days} | {least} |\n" for rows, (days, least) in RETENTION_DAYS.items()]
    return "".join(parts)


def _by_plan(granted: Mapping[Tier, int]) -> str:
    return ", ".join(f"{plan} {count}" for plan, count in granted.items())


def _required(always: set[str]) -> dict[str, str]:
    """Return when a setting is required, found by what production misses with each part."""
    bare = Recorder({"DAYSONG_ENV": "production", "MODULES": "none"}).missing
    found = dict.fromkeys(always, "always") | dict.fromkeys(bare - always, "production")
    for part in PARTS:
        with_part = Recorder({"DAYSONG_ENV": "production", "MODULES": part}).missing
        found |= dict.fromkeys(with_part - bare, f"production, with `{part}`")
    return found
