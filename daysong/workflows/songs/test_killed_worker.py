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

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rehearsal import memories
from rehearsal.processes import mortal_worker
from rehearsal.processes.killing import let_another_worker_finish, mortals
from rehearsal.world import World, free_port

pytestmark = pytest.mark.anyio

# Two around each of four transactions and two vendor calls; one more shows that none was missed.
BOUNDARIES = range(1, 14)


@pytest.mark.timeout(300)
async def test_a_worker_killed_between_any_two_steps_loses_nothing(database_url: str, tmp_path: Path) -> None:
    """F20, F21: whatever the moment, the song is there or its charge is back, and Suno was asked at most once."""
    started, deaths, outcomes = {}, {}, {}
    async with World(database_url, tmp_path, datetime.now(UTC), port=free_port()) as world:
        await memories.unread(world)
        with mortals() as parent:
            for boundary in BOUNDARIES:
                person = await world.person(f"alice{boundary}")
                answer = await person.action("music:startDiaryMusicGeneration", content=f"Rain, day {boundary}")
                started[boundary] = answer["diaryId"]
                deaths[boundary] = await parent.die(world.environ(), boundary, mortal_worker.SONG)
                if not deaths[boundary]:
                    break
        await let_another_worker_finish(world)
        await world.settle()
        # Where Suno was to be asked but never was, only the deadline can tell.
        await world.pass_time(timedelta(minutes=35))
        for boundary, diary_id in started.items():
            row = await world.db.pool.fetchrow(
                """select g.status, (select count(*) from usage_refunds r where r.charge_id = g.charge_id) as refunds
                   from generations g where diary_id = $1""",
                diary_id,
            )
            assert row is not None
            # Day 1 is not to be found in day 12.
            day = re.compile(rf"day {boundary}\b")
            asked = [call for call in await world.asked("suno", "/generate") if day.search(str(call["body"]))]
            outcomes[boundary] = (deaths[boundary], row["status"], row["refunds"], len(asked))
    *killed, survived = outcomes.values()
    assert survived == (False, "ready", 0, 1), outcomes
    assert len(killed) == 12, outcomes
    for died, status, refunds, asked_times in killed:
        assert died
        assert (status, refunds) in {("ready", 0), ("failed", 1)}, outcomes
        assert asked_times <= 1, outcomes
    # Only a death between noting that Suno is asked and asking it costs the song.
    assert sum(status == "failed" for _, status, _, _ in killed) <= 2, outcomes
