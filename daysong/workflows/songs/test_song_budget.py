"""What songs and calls cost, and what happens when a day's budget is used up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import NOW
from daysong.workflows.songs.song_budget import COMMON_LIMIT, OWN_LIMIT
from rehearsal.world import Person, World

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("unread_entries")]


@pytest.fixture
async def poor(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A world with limits on, and money for three songs a day: two of one account."""
    environ = {"DAYSONG_TEST_LIMITS": "1", "LIMIT_COST_SUNO": "0.18", "LIMIT_COST_ACCOUNT": "0.15"}
    async with World(database_url, tmp_path, NOW, environ) as whole:
        yield whole


@pytest.mark.parametrize("limit", [None, 50])
async def test_g03_no_song_is_begun_beyond_the_days_budget(poor: World, limit: int | None) -> None:
    """The entry is saved, nothing is charged, and the reason is one a person understands; tomorrow there are songs.

    In a transaction, and in one statement, which a limit of one's own allows.
    """
    alice, bob = await poor.person("alice"), await poor.person("bob")
    for person in (alice, bob):
        await person.mutation("users:ensureCurrentUser")
    await poor.db.pool.execute("update subscriptions set custom_music_limit = $1", limit)
    answers = [
        await person.action("music:startDiaryMusicGeneration", content="Rain.")
        for person in (alice, alice, alice, bob, bob)
    ]
    assert [answer.get("code") for answer in answers] == [
        None,
        None,
        "DAILY_LIMIT_REACHED",
        None,
        "DAILY_LIMIT_REACHED",
    ]
    assert (answers[2]["success"], answers[2]["reason"]) == (False, OWN_LIMIT)
    assert (answers[4]["success"], answers[4]["reason"]) == (False, COMMON_LIMIT)
    claimed = "select count(distinct reference) from budget_reservations where expires_at > $1"
    assert await poor.db.pool.fetchval(claimed, poor.clock.now() + timedelta(hours=1)) == 3
    assert len(await alice.query("diaries:listDiaries")) == 3
    assert (await alice.query("usage:getCurrentUserUsage"))["musicGenerationsUsed"] == 2
    poor.clock.move_to(NOW + timedelta(days=1))
    assert (await bob.action("music:startDiaryMusicGeneration", content="Sun."))["success"]


async def test_g03_what_a_song_costs_is_written_down(world: World, alice: Person) -> None:
    """Each request that was paid for, without telling who the person is; it stays when they leave."""
    await alice.song()
    rows = await world.db.pool.fetch("select * from vendor_costs order by vendor")
    assert [(row["vendor"], row["function"]) for row in rows] == [("openai", "song"), ("suno", "song")]
    assert rows[0]["amount"] > 0
    assert rows[1]["amount"] == 60_000
    assert len({row["account"] for row in rows}) == 1
    await alice.mutation("users:deleteAccount")
    await world.settle()
    assert await world.db.pool.fetch("select * from vendor_costs order by vendor") == rows
    assert await world.db.pool.fetchval("select count(*) from users") == 0
