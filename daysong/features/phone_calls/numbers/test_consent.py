"""Numbers are phoned with consent alone: what a person says on the phone binds every account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rehearsal.calls.phones import ALICES, BOBS, answers, has_agreed, rings, until_due, wants_calls
from rehearsal.owned_rows import traces
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio


async def shown(person: Person) -> Any:
    """What the person sees of their call settings."""
    return (await person.query("users:getUserProfile"))["callSettings"]


async def reasons(person: Person) -> list[Any]:
    """Why the person's calls came to nothing, the newest first."""
    return [job.get("errorCode") for job in await person.query("callJobs:getCallJobs")]


async def said(world: World) -> set[str]:
    """Return the sentences of called people in VAPI's messages that are long enough to be recognized."""
    told = (await world.http.get("/sandbox/vapi/webhooks")).raise_for_status().json()
    turns = [turn for one in told for turn in one["message"].get("artifact", {}).get("messages", ())]
    return {turn["message"] for turn in turns if turn["role"] == "user" and len(turn["message"]) > 12}


async def nothing_is_kept(world: World, person: Person) -> bool:
    """Whether nothing of a call is kept: no entry, no transcript, no report, no event, and no word in any table."""
    assert await person.query("diaries:listDiaries") == []
    for session in await person.query("callJobs:getCallSessions"):
        assert "transcript" not in session
        assert "endOfCallReport" not in session
    bodies = await world.db.pool.fetch("select body from webhook_events where vendor = 'vapi'")
    assert all(row["body"] == "{}" for row in bodies)
    assert await world.db.pool.fetchval("select count(*) from music") == 0
    return not await traces(world.db.pool, await said(world))


async def test_the_first_call_asks_and_the_talk_goes_on_when_agreed(world: World, alice: Person) -> None:
    """Granted: recorded with time and call, and the talk is kept."""
    await wants_calls(alice)
    assert (await shown(alice))["consent"] == "unknown"
    await until_due(world)
    assert (await shown(alice))["consent"] == "granted"
    row = await world.db.pool.fetchrow(
        """select c.id, s.consent_session_id, s.consent_at from call_settings s, call_sessions c"""
    )
    assert row is not None
    assert row["id"] == row["consent_session_id"]
    assert row["consent_at"] is not None
    assert len(await alice.query("diaries:listDiaries")) == 1
    [asked] = await world.asked("vapi", "/call")
    assert "AI" in asked["body"]["assistant"]["firstMessage"]


async def test_words_that_are_kept_would_be_found(world: World, alice: Person) -> None:
    """The search that finds nothing without consent finds what was said with it."""
    await wants_calls(alice)
    await until_due(world)
    words = await said(world)
    assert len(words) > 2
    assert "call_sessions" in await traces(world.db.pool, words)


async def test_who_has_agreed_is_not_asked_again(world: World, alice: Person) -> None:
    """The second call begins otherwise."""
    await wants_calls(alice)
    await until_due(world)
    await until_due(world)
    first, second = await world.asked("vapi", "/call")
    assert first["body"]["assistant"]["firstMessage"] != second["body"]["assistant"]["firstMessage"]
    assert len(await alice.query("diaries:listDiaries")) == 2


async def test_f32_a_refusal_ends_calls_at_once_and_for_every_account(world: World, alice: Person, bob: Person) -> None:
    """Switched off, nothing kept, and no other account can have the number called."""
    await wants_calls(alice)
    await answers(world, "refuses")
    await until_due(world)
    settings = await shown(alice)
    assert (settings["active"], settings["consent"], settings["pausedReason"]) == (False, "refused", "refused")
    assert await nothing_is_kept(world, alice)
    for person in (alice, bob):
        with pytest.raises(FunctionError):
            await wants_calls(person)
        with pytest.raises(FunctionError):
            await person.mutation("callSettings:sendTestCall")
    for _ in range(3):
        await until_due(world)
    assert len(await rings(world)) == 1


async def test_f32_a_refusal_holds_for_calls_that_are_planned_already(world: World, alice: Person, bob: Person) -> None:
    """From the next second on: what another account has waiting for that number is not dialled."""
    await wants_calls(alice)
    await wants_calls(bob, BOBS)
    await answers(world, "stop", BOBS)
    await has_agreed(world, BOBS)
    await until_due(world)
    # The same number in another account, as it might have been before the number was found to refuse.
    await world.db.pool.execute("update call_settings set phone_e164 = '+12025550199' where phone_e164 = $1", BOBS)
    await world.db.pool.execute("update call_settings set phone_e164 = $1 where phone_e164 = $2", BOBS, ALICES)
    await until_due(world)
    assert (await reasons(alice))[0] == "refused"
    assert (await shown(alice))["pausedReason"] == "refused"
    assert [ring["number"] for ring in await rings(world)].count(BOBS) == 1


async def test_stop_calling_me_is_heard_on_any_later_call(world: World, alice: Person) -> None:
    """The last talk, which was agreed to, is kept; there is no other."""
    await wants_calls(alice)
    await until_due(world)
    await answers(world, "stop")
    await until_due(world)
    assert (await shown(alice))["pausedReason"] == "refused"
    await until_due(world)
    assert len(await rings(world)) == 2


@pytest.mark.parametrize("how", ["unclear", "no_answer", "voicemail", "busy", "hangs_up", "silent"])
async def test_f32_without_an_answer_it_is_one_try_a_day_and_three_in_all(
    world: World, alice: Person, how: str
) -> None:
    """Then the user sees why no call is made, and none of the words are kept."""
    await wants_calls(alice)
    await answers(world, how)
    await until_due(world)
    await wants_calls(alice, at="20:30")
    await until_due(world, "20:30")
    assert len(await rings(world)) == 1, "there is no second try on the same day"
    for _ in range(4):
        await until_due(world, "20:30")
    assert len(await rings(world)) == 3
    settings = await shown(alice)
    assert (settings["consent"], settings["pausedReason"]) == ("unknown", "no_consent")
    assert await nothing_is_kept(world, alice)


async def test_f32_a_new_account_begins_no_new_count(world: World, alice: Person, bob: Person) -> None:
    """Tries count for the number, from any account, and outlive the account that made them."""
    await wants_calls(alice)
    await answers(world, "no_answer")
    for _ in range(3):
        await until_due(world)
    await alice.mutation("users:deleteAccount")
    await world.settle()
    await wants_calls(bob)
    assert (await shown(bob))["pausedReason"] == "no_consent"
    for _ in range(3):
        await until_due(world)
    assert len(await rings(world)) == 3


async def test_an_unclear_answer_that_becomes_clear_counts_from_then_on(world: World, alice: Person) -> None:
    """The second try is agreed to: then calls go on, every day."""
    await wants_calls(alice)
    await answers(world, "unclear")
    await until_due(world)
    await answers(world, "talks")
    for _ in range(4):
        await until_due(world)
    assert len(await rings(world)) == 5
    assert len(await alice.query("diaries:listDiaries")) == 4


async def test_what_was_said_without_consent_is_deleted_at_vapi_too(world: World, alice: Person) -> None:
    """A talk without consent is not kept."""
    await wants_calls(alice)
    await answers(world, "unclear")
    await until_due(world)
    await world.settle()
    deleted = [call for call in await world.asked("vapi", "/call/") if call["method"] == "DELETE"]
    assert len(deleted) == 1


async def test_a_changed_number_has_not_agreed(world: World, alice: Person) -> None:
    """The person on it is asked for consent like any other."""
    await wants_calls(alice)
    await until_due(world)
    await wants_calls(alice, "+12025550177")
    assert (await shown(alice))["consent"] == "unknown"
    await answers(world, "refuses", "+12025550177")
    await until_due(world)
    assert (await shown(alice))["pausedReason"] == "refused"
    assert len(await alice.query("diaries:listDiaries")) == 1


async def test_a_number_changed_while_the_phone_rings_is_not_agreed_for_by_the_old_one(
    world: World, alice: Person
) -> None:
    """Consent binds the number that was dialled."""
    await wants_calls(alice)
    await world.steer("vapi", "hold", hold=True)
    await until_due(world)
    await wants_calls(alice, "+12025550177")
    await world.steer("vapi", "hold", hold=False)
    await world.pass_time(timedelta(minutes=2))
    assert (await shown(alice))["consent"] == "unknown"
