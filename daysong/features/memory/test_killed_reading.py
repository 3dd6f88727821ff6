"""A worker process is killed between any two steps of reading an entry.

killed                                     result
before the reading is begun                nothing is stored; the job runs again
before, while or after the model reads     the job runs again; the entry may be read, and paid, twice
after the events are saved                 the job runs again and finds the version read
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daysong.features.memory.extraction import OneEntry, process_diary_entry
from rehearsal.processes.killing import let_another_worker_finish, mortals, schedule
from rehearsal.world import World, free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

AHEAD = timedelta(minutes=5)
# Two around each of two transactions and one request; one more shows that none was missed.
BOUNDARIES = range(1, 8)


@pytest.mark.timeout(300)
async def test_a_worker_killed_between_any_two_steps_reads_an_entry_once(database_url: str, tmp_path: Path) -> None:
    """Whatever the moment, the entry has its events, once; it is asked for at most twice."""
    with mortals() as workers:
        async with World(database_url, tmp_path, datetime.now(UTC) - AHEAD, port=free_port()) as world:
            deaths, entries = [], {}
            for boundary in BOUNDARIES:
                # An account each: killed jobs count as running, and of one account only two run at once.
                alice = await world.person(f"alice{boundary}")
                written = await alice.mutation("diaries:createDiary", content=f"I met Anna, day {boundary}.")
                entries[written["_id"]] = alice
                # The only queued one of its kind, which is run at once.
                await world.db.pool.execute("delete from jobs where status = 'queued'")
                await schedule(world, process_diary_entry, OneEntry(diary_id=written["_id"], version=1))
                died = await workers.die(world.environ(), boundary, "diaries:processDiaryEntry")
                deaths.append(died)
            await let_another_worker_finish(world)
            for entry, alice in entries.items():
                [event] = (await alice.query("diaries:getDiary", diaryId=entry))["events"]
                assert [person["name"] for person in event["people"]] == ["Anna"]
            assert deaths == [True] * 6 + [False]
            # Of three kills after the request began, two come before its answer is stored.
            assert len(await world.asked("openai")) in {len(entries) + 2, len(entries) + 3}
            readings = await world.db.pool.fetch("select done_at from readings")
            assert len(readings) == len(entries)
            assert all(row["done_at"] for row in readings)
