"""Calls that machines answer, without VAPI's analysis: no entry, no song, and no refusal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from daysong.features.phone_calls.rules import MOST_SCREENED, MOST_TRIES
from rehearsal.calls.phones import ALICES, answers, has_agreed, rings, until_due, wants_calls
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio


async def shown(person: Person) -> Any:
    """What the person sees of their call settings."""
    return (await person.query("users:getUserProfile"))["callSettings"]


async def tries(world: World) -> int:
    """How many calls were tries at the only number there is."""
    count: int = await world.db.pool.fetchval("select tries from phone_numbers")
    return count


@pytest.mark.parametrize(
    ("how", "state", "code"),
    [
        ("mailbox", "voicemail", "voicemail"),
        ("screened", "no-answer", "screened"),
        ("on_hold", "no-answer", "no-answer"),
    ],
)
@pytest.mark.parametrize("language", ["en", "de"])
async def test_g22_a_machine_becomes_no_entry_and_no_song(
    world: World, alice: Person, how: str, state: str, code: str, language: str
) -> None:
    """No person was reached: no minutes are counted, and no song is charged."""
    await wants_calls(alice, language=language)
    await has_agreed(world)
    await answers(world, how)
    await world.fault("vapi", analysis="missing")
    await until_due(world)
    [session] = await alice.query("callJobs:getCallSessions")
    [job] = await alice.query("callJobs:getCallJobs")
    assert (session["state"], session["outcome"]) == (state, state)
    assert (job["status"], job["errorCode"]) == ("failed", code)
    assert await alice.query("diaries:listDiaries") == []
    assert (await alice.query("billing:getCurrentUserStatus"))["musicGenerationsUsed"] == 0
    assert await world.db.pool.fetchval("select sum(seconds) from call_minutes") == 0


async def test_g22_a_screened_call_that_is_taken_is_an_entry(world: World, alice: Person) -> None:
    """The assistant said who is calling and waited, then Alice spoke about her day."""
    await wants_calls(alice)
    await has_agreed(world)
    await answers(world, "screened_talks")
    await world.fault("vapi", analysis="missing")
    await until_due(world)
    [session] = await alice.query("callJobs:getCallSessions")
    [diary] = await alice.query("diaries:listDiaries")
    assert (session["outcome"], session["diaryId"]) == ("diary", diary["_id"])


@pytest.mark.parametrize("analysis", [None, "missing", "late"])
async def test_g22_a_screened_phone_is_not_paused_by_that(world: World, alice: Person, analysis: str | None) -> None:
    """It is no try, with an analysis and without one; and one day Alice takes the call."""
    await wants_calls(alice)
    await answers(world, "screened")
    await world.fault("vapi", **({"analysis": analysis} if analysis else {}))
    for _ in range(MOST_TRIES + 1):
        await until_due(world)
        assert await tries(world) == 0
    assert "pausedReason" not in await shown(alice)
    assert (await shown(alice))["consent"] == "unknown"
    assert len(await rings(world)) == MOST_TRIES + 1
    await answers(world, "screened_talks")
    await until_due(world)
    await world.pass_time(timedelta(minutes=5))
    assert (await shown(alice))["consent"] == "granted"
    assert len(await alice.query("diaries:listDiaries")) == 1


async def test_g22_a_screened_phone_is_called_once_a_day_and_not_for_ever(world: World, alice: Person) -> None:
    """A test call on the same day is not made; after seven days each call is a try, and then Alice reads why."""
    await wants_calls(alice)
    await answers(world, "screened")
    for day in range(MOST_SCREENED + MOST_TRIES + 2):
        await until_due(world)
        if day == 0:
            await alice.mutation("callSettings:sendTestCall")
            await world.settle()
            [test] = [job for job in await alice.query("callJobs:getCallJobs") if job["status"] == "canceled"]
            assert test["errorCode"] == "tried_today"
    assert len(await rings(world)) == MOST_SCREENED + MOST_TRIES
    assert (await shown(alice))["pausedReason"] == "screened"


@pytest.mark.parametrize("how", ["mailbox", "on_hold"])
async def test_g22_a_machine_agrees_to_nothing(world: World, alice: Person, how: str) -> None:
    """It counts as an unanswered try, and its words are deleted at VAPI."""
    await wants_calls(alice)
    await answers(world, how, number=ALICES)
    await world.fault("vapi", analysis="missing")
    await until_due(world)
    assert (await shown(alice))["consent"] == "unknown"
    assert await tries(world) == 1
    found = await world.asked("vapi", "/call/")
    assert [call["method"] for call in found] == ["DELETE"]
