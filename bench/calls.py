"""How long two worker processes take to plan the calls that are due in one minute, and how that grows.

    script/bench calls [--due 1000 10000 100000]

Starts PostgreSQL, two `daysong work` and the vendors' sandbox. Planned means: claimed, call job created, and the next
call scheduled. Machines differ and are noisy, so look at the last column: a constant time per call means that cost
grows in proportion.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench import workers
from daysong.features.phone_calls.schedule.planner import execute_scheduled_calls
from daysong.kernel import logs
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.functions.declarations import NoArgs
from rehearsal import databases as testing
from rehearsal.calls.due_calls import insert_due_settings, summary
from rehearsal.world import World, free_port

WORKERS = 2
DEFAULT = (1_000, 10_000, 100_000)


async def planned(world: World, due: int) -> float:
    """Return the seconds until that many calls are planned by the running workers."""
    await empty(world)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    await insert_due_settings(world.db.pool, due, now)

    async def wake(tx: Transaction) -> None:
        for _ in range(WORKERS):
            await world.app.runtime.queue.schedule(
                tx, execute_scheduled_calls, NoArgs(), due_at=now, delay=timedelta(0), key=None
            )

    started = time.perf_counter()
    await world.db.mutate(wake)
    while await world.db.pool.fetchval("select true from call_settings where next_run_at <= $1 limit 1", now):
        await asyncio.sleep(0.05)
    return time.perf_counter() - started


async def empty(world: World) -> None:
    """Empty the tables once the workers are idle, since they lock the same tables."""
    while await world.app.runtime.queue.pending():
        await asyncio.sleep(0.05)
    await world.db.empty()


async def bench(sizes: list[int]) -> None:
    """Measure, and print a table."""
    with testing.server() as server:
        url = await testing.create_database(server, "bench", migrated=True)
        async with World(url, Path(tempfile.mkdtemp()), datetime.now(UTC), port=free_port()) as world:
            # VAPI has a line for every call here, also for calls that never end.
            await world.steer("vapi", "limits", concurrency=1000)
            async with workers.running(world, WORKERS):
                await table(world, sizes)


async def table(world: World, sizes: list[int]) -> None:
    """Print one line for each number of due calls."""
    await planned(world, 100)  # until the workers have started
    print(f"{'due at once':>12} {'seconds':>8} {'jobs':>8} {'twice':>6} {'missed':>7} {'ms per call':>12}")
    for due in sizes:
        seconds = await planned(world, due)
        counts: Any = await summary(world.db.pool)
        print(
            f"{due:12} {seconds:8.1f} {counts['jobs']:8} {counts['twice']:6} {due - counts['settings']:7}"
            f" {1000 * seconds / due:12.3f}"
        )


def main() -> None:
    """Parse the arguments, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--due", type=int, nargs="+", default=list(DEFAULT))
    options = parser.parse_args()
    os.environ.pop("DATABASE_URL", None)
    # No log lines within the table.
    logs.configure(readable=True, quiet=True)
    testing.begin_run()
    try:
        asyncio.run(bench(options.due))
    finally:
        testing.end_run()


if __name__ == "__main__":
    main()
