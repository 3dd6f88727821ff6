"""What a diary costs as it grows: queries of one person with 100, 10,000 and 100,000 entries.

    script/bench growth [--entries 100 10000 100000] [--rounds 40]

The entries are spread over 20 years. Each query is called over HTTP in this process. Printed are medians in ms,
interleaved over persons, and the last size against the first. Pages should take as long for a long diary as for a short
one; what returns or counts more rows, because a span has more, is marked.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench import machine
from daysong.embedded.server import EmbeddedPostgres
from daysong.kernel.database import migrations
from rehearsal import long_diary
from rehearsal.world import Person, World

WITHIN = 1.2
YEARS = 20  # over which the entries are spread
# Name, function, arguments, and whether it must not grow.
CALLS: tuple[tuple[str, str, dict[str, Any], bool], ...] = (
    ("a page of 20", "diaries:pageDiaries", {"limit": 20}, True),
    ("the list, at most 500", "diaries:listDiaries", {}, False),
    ("this day, earlier", "diaries:onThisDay", {}, False),
    ("a year's calendar", "diaries:getCalendar", {"year": 2026}, False),
    ("53 weeks of usage", "usage:getUsageByWeek", {}, False),
    ("the profile", "users:getUserProfile", {}, True),
    ("may a song be made", "usage:canCurrentUserGenerateMusic", {}, True),
    ("a page of songs", "music:pagePlaylist", {"limit": 20}, True),
)


async def deep(person: Person) -> dict[str, Any]:
    """Return the arguments of a page far down."""
    args: dict[str, Any] = {"limit": 20}
    for _ in range(3):
        page = await person.query("diaries:pageDiaries", **args)
        if page.get("isDone") or not (cursor := page.get("continueCursor") or page.get("nextCursor")):
            break
        args = {"limit": 20, "cursor": cursor}
    return args


async def bench(postgres: EmbeddedPostgres, folder: Path, sizes: list[int], rounds: int) -> None:
    """Measure, and print a table."""
    await migrations.migrate(postgres.url)
    now = datetime.now(UTC)
    async with World(postgres.url, folder / "data", now) as world:
        persons = []
        for size in sizes:
            name = f"writer{size}"
            await long_diary.write(world, name, size, every=f"{YEARS * 365 * 24 / size:.3f} hours")
            persons.append(await world.person(name))
        await world.db.pool.execute("vacuum analyze")
        calls = [(name, path, [args] * len(persons), flat) for name, path, args, flat in CALLS]
        calls.insert(1, ("a page further down", "diaries:pageDiaries", [await deep(one) for one in persons], True))
        print(f"{'':24}{''.join(f'{size:>10,}' for size in sizes)}{'growth':>9}")
        for name, path, each, flat in calls:
            times: list[list[float]] = [[] for _ in persons]
            for _ in range(rounds):
                for person, args, found in zip(persons, each, times, strict=True):
                    began = time.perf_counter()
                    await person.query(path, **args)
                    found.append(1000 * (time.perf_counter() - began))
            middle = [median(found) for found in times]
            growth = middle[-1] / middle[0]
            note = "  more rows" if not flat else "" if growth <= WITHIN else f"  goal {WITHIN}"
            print(f"{name:24}{''.join(f'{ms:10.2f}' for ms in middle)}{growth:9.2f}{note}")


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entries", type=int, nargs="+", default=[100, 10_000, 100_000], dest="sizes")
    parser.add_argument("--rounds", type=int, default=40)
    machine.measure("growth", parser, bench)


if __name__ == "__main__":
    main()
