"""Two worker processes look at the clock at the same moment."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daysong.features.phone_calls.schedule.planner import execute_scheduled_calls
from daysong.kernel.functions.declarations import NoArgs
from rehearsal.calls.due_calls import insert_due_settings, summary
from rehearsal.calls.phones import noon_at, rings
from rehearsal.processes.killing import schedule
from rehearsal.world import World, free_port

pytestmark = pytest.mark.anyio

PEOPLE = 100


async def work(world: World) -> asyncio.subprocess.Process:
    """`daysong work`, which has lines for everybody."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from daysong.cli import main; main()", "work",
        env=world.environ() | {"VAPI_MAX_CONCURRENT_CALLS": "1000"},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


async def test_f33_f42_two_workers_call_everybody_once(database_url: str, data_dir: Path) -> None:
    """A hundred due in one minute, two executors and the timetable's own at once: each phone rings, and once."""
    now = datetime.now(UTC)
    async with World(database_url, data_dir, now, port=free_port()) as world:
        await world.steer("vapi", "limits", concurrency=1000)
        # Time enough for a second worker to come upon a call that the first is asking for.
        await world.fault("vapi", latency=0.5)
        await insert_due_settings(world.db.pool, PEOPLE, now.replace(second=0, microsecond=0), [noon_at(now)])
        for _ in range(2):
            await schedule(world, execute_scheduled_calls, NoArgs())
        workers = [await work(world) for _ in range(2)]
        try:
            async with asyncio.timeout(60):
                while await world.db.pool.fetchval(
                    "select count(*) < $1 from call_jobs where status = 'scheduled'", PEOPLE
                ):
                    await asyncio.sleep(0.1)
        finally:
            for worker in workers:
                worker.terminate()
        assert [await worker.wait() for worker in workers] == [0, 0]
        assert tuple(await summary(world.db.pool)) == (PEOPLE, 0, PEOPLE)
        assert set(Counter(ring["jobId"] for ring in await rings(world)).values()) == {1}
        assert len({ring["number"] for ring in await rings(world)}) == PEOPLE
        placed = [call for call in await world.asked("vapi", "/call") if call["method"] == "POST"]
        assert len(placed) == PEOPLE
