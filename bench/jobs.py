"""How many jobs a second one worker runs, how soon it picks one up, and what a job writes.

    script/bench jobs [--jobs 3000] [--singles 200]

The jobs do nothing: a mutation that looks for a row which is not there. First many are queued while no worker runs;
then one at a time for an idle worker. Picked up means claimed, from the commit that queued the job on. Durability is
on.
"""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from bench import machine, workers
from daysong.embedded.server import EmbeddedPostgres
from daysong.kernel.database import migrations
from daysong.kernel.database.transactions import Transaction
from daysong.workflows.songs.song_delivery import OneGeneration, fail_if_overdue
from rehearsal.world import World, free_port

PERIOD = 0.02  # seconds between single jobs
FUNCTION = "music:failIfOverdue"
NONE = OneGeneration(generation_id="gen_none")


async def queue(world: World, count: int) -> None:
    """Queue jobs in one transaction."""

    async def work(tx: Transaction) -> None:
        for _ in range(count):
            await world.app.runtime.queue.schedule(
                tx, fail_if_overdue, NONE, due_at=datetime.now(UTC), delay=timedelta(0), key=None
            )

    await world.db.mutate(work)


async def until_done(connection: asyncpg.Connection) -> None:
    """Wait until all jobs are done."""
    while await connection.fetchval("select true from jobs where status <> 'done' and function = $1 limit 1", FUNCTION):
        await asyncio.sleep(0.02)


async def bench(postgres: EmbeddedPostgres, folder: Path, jobs: int, singles: int) -> None:
    """Measure, and print."""
    await migrations.migrate(postgres.url)
    own = await asyncpg.connect(postgres.url)
    async with World(postgres.url, folder / "data", datetime.now(UTC), port=free_port()) as world:
        await queue(world, jobs)
        async with workers.running(world) as (worker,):
            await until_done(own)
            seconds: Any = await own.fetchval(
                """select extract(epoch from max(finished_at) - min(started_at))::float8
                   from jobs where function = $1""",
                FUNCTION,
            )
            print(f"{jobs} jobs at once: {jobs / seconds:,.0f} jobs/s")
            await workers.counted(own)
            before, cpu = await workers.written(own), workers.cpu(postgres.home, worker)
            await queue(world, jobs)
            await until_done(own)
            spent = workers.cpu(postgres.home, worker)
            print("a job: " + ", ".join(f"{1000 * (spent[n] - cpu[n]) / jobs:.2f} ms CPU of {n}" for n in spent))
            await workers.counted(own)
            print(f"a job: {(await workers.written(own)).since(before).line(jobs)}, that which queues it included")
            waits = []
            for _ in range(singles):
                await own.execute("delete from jobs where function = $1", FUNCTION)
                await queue(world, 1)
                committed = datetime.now(UTC)
                await until_done(own)
                started: Any = await own.fetchval("select max(started_at) from jobs where function = $1", FUNCTION)
                waits.append(1000 * (started - committed).total_seconds())
                await asyncio.sleep(PERIOD)
            waits.sort()
            print(
                f"pick-up by an idle worker: p50 {waits[singles // 2]:.1f} ms, p99 {waits[singles * 99 // 100]:.1f} ms"
            )
    await own.close()


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--singles", type=int, default=200)
    machine.measure("jobs", parser, bench)


if __name__ == "__main__":
    main()
