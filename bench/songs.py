"""How many songs a minute one worker makes, when vendors answer at once.

    script/bench songs [--songs 300]

This process serves daysong and plays the vendors (the sandbox, whose songs are a hum of six seconds); one
`daysong work` writes, orders, checks, copies. The songs of many accounts wait before it starts. All of it shares the
cores of one machine, so the worker's CPU time for a song says more than the rate. Durability is on, limits are off.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from bench import machine, workers
from daysong.embedded.server import EmbeddedPostgres
from daysong.kernel.database import migrations
from daysong.sandbox.app import Pace
from rehearsal.world import Person, World, free_port

OF_ONE = 3  # songs of one account
GOAL = 1500
AT_ONCE = 16
WARM_UP = 0.2


async def begin(world: World, songs: int) -> None:
    """Start that many songs of several accounts."""
    room = asyncio.Semaphore(AT_ONCE)

    async def of(number: int) -> None:
        async with room:
            person: Person = await world.person(f"singer{number}")
            for song in range(min(OF_ONE, songs - number * OF_ONE)):
                await person.action("music:startDiaryMusicGeneration", content=f"Day {song}: rain, and then the sea.")

    await asyncio.gather(*map(of, range(-(-songs // OF_ONE))))


async def ready(own: asyncpg.Connection) -> int:
    """Return how many songs can be heard."""
    count: int = await own.fetchval("select count(*) from generations where status = 'ready'")
    return count


JOBS = """
    select function, count(*)::int as count, sum(failures)::int as failures, sum(deferrals)::int as deferrals
    from jobs group by 1 order by 2 desc"""


# Reading entries, which is due later, is not waited for.
UNFINISHED = """
    select true from jobs where status in ('queued', 'running') and due_at <= now()
      and (function like 'music%' or function like 'webhooks%') limit 1"""

ERRORS = "select last_error, count(*) from jobs where last_error is not null group by 1"


async def bench(postgres: EmbeddedPostgres, folder: Path, songs: int) -> None:
    """Measure, and print."""
    await migrations.migrate(postgres.url)
    own = await asyncpg.connect(postgres.url)
    port = free_port()
    async with World(postgres.url, folder / "data", datetime.now(UTC), port=port, pace=Pace(0, 0, 0)) as world:
        await begin(world, songs)
        await workers.counted(own)
        before = await workers.written(own)
        async with workers.running(world) as (worker,):
            # The first songs wait for imports: OpenAI's library takes more than a second.
            while (first := await ready(own)) < songs * WARM_UP:
                await asyncio.sleep(0.05)
            started, cpu = time.perf_counter(), workers.cpu(postgres.home, worker)
            while await ready(own) < songs:
                await asyncio.sleep(0.05)
            heard = time.perf_counter() - started
            while await own.fetchval(UNFINISHED):
                await asyncio.sleep(0.05)
            seconds = time.perf_counter() - started
            spent = workers.cpu(postgres.home, worker)
            count = songs - first
            print(f"{60 * count / heard:,.0f} songs/min until they can be heard (goal {GOAL:,})")
            print(f"{60 * count / seconds:,.0f} songs/min with their files and timed words")
            print("a song: " + ", ".join(f"{1000 * (spent[n] - cpu[n]) / count:.1f} ms CPU of {n}" for n in spent))
            await workers.counted(own)
            print(f"a song: {(await workers.written(own)).since(before).line(songs)}")
            for row in await own.fetch(JOBS):
                print(
                    f"{row['count'] / songs:7.2f} × {row['function']}, {row['failures']} failures,"
                    f" {row['deferrals']} deferrals"
                )
            errors: Any = await own.fetch(
                "select last_error, count(*) from jobs where last_error is not null group by 1"
            )
            print("errors:", ", ".join(f"{row['count']} × {row['last_error']}" for row in errors) or "none")
    await own.close()


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--songs", type=int, default=300)
    machine.measure("songs", parser, bench)


if __name__ == "__main__":
    main()
