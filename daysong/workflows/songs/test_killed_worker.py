"""A worker process is killed between any two steps of a song's generation.

The state after the kill, and the result:

    killed                                          result
    before the first transaction commits            nothing is stored or charged
    before or while lyrics are written              the job runs again; lyrics may be written, and paid, twice
    after the lyrics are stored                     the job runs again and uses them
    between `asked_at` and the request to Suno      Suno is not asked again: the generation stays composing, and after 5
                                                    minutes it fails and is refunded
    after the request, before the task id is        the same, but Suno's callback carries the task id: the song is
    stored (a live process retries for 5 minutes)   delivered, even after the refund
    while composing                                 none of our processes is needed
    after a callback is stored, before it is        its job runs later
    handled
    after `ready`, before the files are copied      the jobs run later; until then the vendor's links are served
    the job's row is lost                           a generation that has not reached Suno within an hour fails and is
                                                    refunded
"""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daysong.kernel.jobs.worker import Worker
from rehearsal.processes import mortal_worker
from rehearsal.world import World, free_port

pytestmark = pytest.mark.anyio

# Two around each of four transactions and two vendor calls; one more shows that none was missed.
BOUNDARIES = range(1, 14)


async def killed_at(world: World, boundary: int) -> bool:
    """Run a worker process that is to die at that boundary; whether it did."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", mortal_worker.__name__, str(boundary), env=world.environ(),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    code = await asyncio.wait_for(process.wait(), 60)
    assert code in {-signal.SIGKILL, mortal_worker.SURVIVED}
    return code == -signal.SIGKILL


async def let_another_worker_finish(world: World) -> None:
    """A second worker notices the missing heartbeat, and runs what the first one left."""
    worker = Worker(world.app.runtime, (), heartbeat=timedelta(seconds=1))
    working = asyncio.create_task(worker.run_forever(world.settings.database_url or ""))
    async with asyncio.timeout(40):
        while await world.app.runtime.queue.pending():
            await asyncio.sleep(0.05)
    await worker.stop()
    await working


@pytest.mark.timeout(300)
async def test_a_worker_killed_between_any_two_steps_loses_nothing(database_url: str, tmp_path: Path) -> None:
    """F20, F21: whatever the moment, the song is there or its charge is back, and Suno was asked at most once."""
    outcomes = {}
    async with World(database_url, tmp_path, datetime.now(UTC), port=free_port()) as world:
        for boundary in BOUNDARIES:
            person = await world.person(f"alice{boundary}")
            started = await person.action("music:startDiaryMusicGeneration", content=f"Rain, day {boundary}")
            died = await killed_at(world, boundary)
            await let_another_worker_finish(world)
            await world.settle()
            # Where Suno was to be asked but never was, only the deadline can tell.
            await world.pass_time(timedelta(minutes=35))
            row = await world.db.pool.fetchrow(
                """select g.status, (select count(*) from usage_refunds r where r.charge_id = g.charge_id) as refunds
                   from generations g where diary_id = $1""",
                started["diaryId"],
            )
            assert row is not None
            asked = [call for call in await world.asked("suno", "/generate") if f"day {boundary}" in str(call["body"])]
            outcomes[boundary] = (died, row["status"], row["refunds"], len(asked))
            if not died:
                break
    *deaths, survived = outcomes.values()
    assert survived == (False, "ready", 0, 1), outcomes
    assert len(deaths) == 12, outcomes
    for died, status, refunds, asked_times in deaths:
        assert died
        assert (status, refunds) in {("ready", 0), ("failed", 1)}, outcomes
        assert asked_times <= 1, outcomes
    # Only a death between noting that Suno is asked and asking it costs the song.
    assert sum(status == "failed" for _, status, _, _ in deaths) <= 2, outcomes
