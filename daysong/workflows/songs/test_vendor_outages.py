"""While a vendor is down, songs wait for it; they fail only when their time is over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daysong.workflows.songs.song_delivery import TOO_LATE
from rehearsal import memories
from rehearsal.world import World

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """A world with limits, breakers among them."""
    noon = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    async with World(database_url, data_dir, noon, {"DAYSONG_TEST_LIMITS": "1"}) as whole:
        await memories.unread(whole)
        yield whole


async def state_of(world: World) -> tuple[str, str | None, int]:
    """Return the status of the song, why it failed, and how many charges were refunded."""
    row = await world.db.pool.fetchrow("select status, failure_reason from generations")
    return row["status"], row["failure_reason"], await world.db.pool.fetchval("select count(*) from usage_refunds")


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": True}], ids=str)
async def test_a_song_outlasts_an_outage_of_openai(world: World, fault: dict[str, Any]) -> None:
    """After twenty minutes it is made, and is charged once. Meanwhile OpenAI is asked ever more rarely."""
    alice = await world.person("alice")
    await world.fault("openai", **fault)
    await alice.action("music:startDiaryMusicGeneration", content="Rain.")
    await world.pass_time(timedelta(minutes=20))
    assert await state_of(world) == ("writing", None, 0)
    job = await world.db.pool.fetchrow("select * from jobs where function = 'musicActions:requestSunoGeneration'")
    assert (job["status"], job["failures"]) == ("queued", 4)
    assert 10 < len(await world.asked("openai")) < 25
    [state] = {state.vendor: state for state in world.app.limits.breakers.values() if state.state != "closed"}
    assert state == "openai"
    await world.fault("openai")
    await world.pass_time(timedelta(minutes=5))
    assert await state_of(world) == ("ready", None, 0)
    assert world.app.limits.breakers["openai"].state == "closed"


async def test_a_song_of_a_long_outage_is_refunded_within_its_time(world: World) -> None:
    """After an hour it fails, once, and its owner is told that it was not counted; no later job makes it."""
    alice = await world.person("alice")
    await world.fault("openai", status=500)
    await alice.action("music:startDiaryMusicGeneration", content="Rain.")
    await world.pass_time(timedelta(minutes=63))
    assert await state_of(world) == ("failed", TOO_LATE, 1)
    await world.fault("openai")
    await world.pass_time(timedelta(minutes=5))
    assert await state_of(world) == ("failed", TOO_LATE, 1)
    assert await world.asked("suno", "/generate") == []


async def test_orders_are_not_lost_to_a_suno_that_is_down(world: World) -> None:
    """Once the breaker is open no order is sent, so none is in doubt: that song is made after the outage."""
    alice = await world.person("alice")
    breaker = world.app.limits.breakers["suno"]
    for _ in range(5):
        breaker.begin().failed()
    await alice.action("music:startDiaryMusicGeneration", content="Rain.")
    await world.settle()
    assert await state_of(world) == ("writing", None, 0)
    assert await world.db.pool.fetchval("select asked_at from generations") is None
    assert await world.asked("suno", "/api/v1/generate") == []
    await world.pass_time(timedelta(minutes=5))
    assert await state_of(world) == ("ready", None, 0)
    orders = [call for call in await world.asked("suno") if call["path"] == "/api/v1/generate"]
    assert len(orders) == 1


async def test_a_song_that_suno_cannot_be_asked_about_is_refunded_in_time(world: World) -> None:
    """Its callback is lost and Suno is down: polls wait for no vendor, so that the deadline ends it as ever."""
    alice = await world.person("alice")
    await world.fault("suno", callbacks="lost")
    await alice.action("music:startDiaryMusicGeneration", content="Rain.")
    await world.settle()
    assert await state_of(world) == ("composing", None, 0)
    await world.fault("suno", status=503)
    for _ in range(5):
        world.app.limits.breakers["suno"].begin().failed()
    world.clock.forward(timedelta(minutes=25))
    await world.pass_time(timedelta(minutes=2))
    assert await state_of(world) == ("composing", None, 0)
    await world.pass_time(timedelta(minutes=14))
    assert await state_of(world) == ("failed", TOO_LATE, 1)
