"""The processes of one `daysong serve`, which answer for each other when any of them is asked for metrics.

Each listens on a socket in a folder of theirs, named by its number, and sends its samples over each connection. The
process that is asked labels the samples of all with `process`. They are not added up: a process that dies is followed
by one with its number, whose counters begin at zero, and Prometheus takes that for the reset it is. A sum would only
shrink.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from prometheus_client import REGISTRY, generate_latest

ANSWERS_WITHIN = 1.0  # seconds

# Name, meaning and labels of the series that this file adds.
PROCESSES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "daysong_processes": ("Processes of this server that are expected, and that have answered", ("what",)),
}

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")


class Family(NamedTuple):
    """The `# HELP` and `# TYPE` lines of a metric, and its samples."""

    head: list[str]
    samples: list[str]


class Processes:
    """One process among several: its number, how many there are, and the folder of their sockets."""

    def __init__(self, folder: Path, number: int, count: int) -> None:
        self._folder = folder
        self.number = number
        self.count = count

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Answer the others, for as long as this lasts."""
        path = self._folder / str(self.number)
        path.unlink(missing_ok=True)  # of a process that was killed
        server = await asyncio.start_unix_server(_answer, path)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)

    async def texts(self) -> dict[int, str]:
        """Return the samples of each process by its number; of one that does not answer in time there are none."""
        own = own_samples()
        others = [number for number in range(self.count) if number != self.number]
        found = await asyncio.gather(*(self._ask(number) for number in others))
        return {self.number: own} | {number: text for number, text in zip(others, found, strict=True) if text}

    async def _ask(self, number: int) -> str:
        writer = None
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWERS_WITHIN):
                reader, writer = await asyncio.open_unix_connection(self._folder / str(number))
                text = await reader.read(-1)
                writer.close()
                return text.decode()
        if writer is not None:
            writer.close()
        return ""


async def _answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        writer.write(own_samples().encode())
        await writer.drain()
    writer.close()


def own_samples() -> str:
    """Return the samples of this process in Prometheus's text format."""
    return generate_latest(REGISTRY).decode()


def merged(texts: dict[int, str], count: int) -> str:
    """Return the samples of several processes as one text, each with the label `process`, and how many answered."""
    families: dict[str, Family] = {}
    for number, text in sorted(texts.items()):
        for name, family in _families(text):
            known = families.setdefault(name, Family(family.head, []))
            known.samples.extend(labelled(sample, number) for sample in family.samples)
    lines = [line for family in families.values() for line in (*family.head, *family.samples)]
    lines += [
        f"# HELP daysong_processes {PROCESSES['daysong_processes'][0]}.",
        "# TYPE daysong_processes gauge",
        f'daysong_processes{{what="expected"}} {count}',
        f'daysong_processes{{what="answered"}} {len(texts)}',
    ]
    return "\n".join(lines) + "\n"


def labelled(sample: str, number: int) -> str:
    """Return a sample with the label `process`."""
    found = _SAMPLE.fullmatch(sample)
    if found is None:
        return sample
    name, labels, value = found.groups()
    return f'{name}{{process="{number}"{"," if labels else ""}{labels or ""}}} {value}'


def _families(text: str) -> Iterator[tuple[str, Family]]:
    head: list[str] = []
    samples: list[str] = []
    for line in _lines(text):
        if line.startswith("# HELP ") and head:
            yield head[0].split()[2], Family(head, samples)
            head, samples = [], []
        (head if line.startswith("#") else samples).append(line)
    if head:
        yield head[0].split()[2], Family(head, samples)


def _lines(text: str) -> Iterable[str]:
    return filter(None, text.split("\n"))
