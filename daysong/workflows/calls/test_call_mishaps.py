"""Whatever goes wrong around a call: it rings once, it ends, and what was said in it is kept or forgotten as agreed."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daysong import vendors
from daysong.features.phone_calls.rules import LONGEST_CALL
from rehearsal.calls.phones import ALICES, ROOM, answers, has_agreed, rings, until_due, wants_calls
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

REPORT = Path(vendors.__file__).parent / "vapi" / "fixtures" / "eocr-customer-ended.json"


async def the_call(person: Person) -> Any:
    """The only call a person has had."""
    [job] = await person.query("callJobs:getCallJobs")
    return job


async def shown(person: Person) -> Any:
    """What the person sees of their call settings."""
    return (await person.query("users:getUserProfile"))["callSettings"]


async def orders(world: World) -> int:
    """How often VAPI was asked for a call."""
    return sum(call["method"] == "POST" for call in await world.asked("vapi", "/call"))


async def deleted(world: World) -> list[str]:
    """Return the calls that were deleted at VAPI."""
    found = await world.asked("vapi", "/call/")
    return [call["path"].rpartition("/")[2] for call in found if call["method"] == "DELETE"]


async def held(world: World, hold: bool) -> None:
    """Calls stay where they are, or go on."""
    await world.steer("vapi", "hold", hold=hold)


async def test_f35_a_lost_answer_is_not_mistaken_for_the_refusal_before_it(
    world: World, alice: Person, admin: Person
) -> None:
    """The first order found no line, the answer to the second is lost: what VAPI has of the first says nothing."""
    await wants_calls(alice)
    await has_agreed(world)
    await world.steer("vapi", "limits", concurrency=0, over="blocked")
    await until_due(world, longer=timedelta(0))
    assert await orders(world) == 1
    await world.steer("vapi", "limits", concurrency=10)
    await world.fault("vapi", path="/call", status=500, times=1)
    await world.pass_time(timedelta(minutes=1))
    assert await orders(world) == 2
    # A look-up that was begun for the first order comes to its end only now.
    late = {"code": "lines_busy", "reason": "All lines were taken.", "pause": 20.0, "attempt": 1}
    await admin.mutation(f"{ROOM}:recordRefused", jobId=(await the_call(alice))["_id"], **late)
    await world.pass_time(timedelta(minutes=24))
    job = await the_call(alice)
    assert await orders(world) == 2
    assert (job["status"], job["errorCode"], await rings(world)) == ("failed", "lost", [])


async def test_f35_every_lost_answer_is_looked_up(world: World, alice: Person, admin: Person) -> None:
    """Also the second of one call, when the first came before its call was stored."""
    await wants_calls(alice)
    await has_agreed(world)
    await world.fault("vapi", path="/call", status=429, retryAfter=30, times=1)
    await until_due(world, longer=timedelta(0))
    await admin.mutation(f"{ROOM}:scheduleLookUp", jobId=(await the_call(alice))["_id"], attempt=1)
    await world.settle()
    await held(world, True)
    await world.fault("vapi", path="/call", drop=True, times=1)
    await world.pass_time(timedelta(minutes=10))
    job = await the_call(alice)
    assert [ring["callId"] for ring in await rings(world)] == [job["vapiCallId"]]
    assert job["status"] == "scheduled"


async def test_f44_a_call_that_cannot_be_asked_about_is_closed_all_the_same(world: World, alice: Person) -> None:
    """Otherwise its line would stay taken, and in the end no call could be made."""
    await wants_calls(alice)
    await has_agreed(world)
    await world.fault("vapi", webhooks="lost")
    await until_due(world)
    await world.fault("vapi", path="/call/", status=500)
    await world.pass_time(LONGEST_CALL + timedelta(minutes=20))
    job = await the_call(alice)
    assert (job["status"], job["errorCode"]) == ("failed", "no_report")
    waiting = "status in ('queued', 'running') and function like 'callReaper:%'"
    assert await world.db.pool.fetchval(f"select count(*) from jobs where {waiting}") == 0  # noqa: S608 - a constant


async def test_f36_a_report_that_nobody_expected_any_more_is_still_heard(world: World, alice: Person) -> None:
    """The call was given up after an hour and a half; then the talk turns up, and is an entry."""
    await wants_calls(alice)
    await has_agreed(world)
    await held(world, True)
    await until_due(world)
    await world.steer("vapi", "advance", to="in-progress")
    await world.pass_time(LONGEST_CALL + timedelta(minutes=10))
    assert (await the_call(alice))["errorCode"] == "no_report"
    await held(world, False)
    await world.settle()
    [session] = await alice.query("callJobs:getCallSessions")
    [diary] = await alice.query("diaries:listDiaries")
    assert (session["outcome"], session["diaryId"]) == ("diary", diary["_id"])
    await world.steer("vapi", "redeliver", times=2)
    await world.settle()
    assert len(await alice.query("diaries:listDiaries")) == 1


async def test_f32_a_refusal_that_is_reported_late_binds_all_the_same(world: World, alice: Person) -> None:
    """And its words are deleted at VAPI."""
    await wants_calls(alice)
    await answers(world, "refuses")
    await held(world, True)
    await until_due(world)
    await world.steer("vapi", "advance", to="in-progress")
    await world.pass_time(LONGEST_CALL + timedelta(minutes=10))
    await held(world, False)
    await world.settle()
    assert (await shown(alice))["pausedReason"] == "refused"
    assert len(await deleted(world)) == 1


async def test_f32_no_voicemail_agrees_to_anything(world: World, alice: Person) -> None:
    """Whatever is made of its greeting: consent is a person's."""
    await wants_calls(alice)
    await answers(world, "talks", reason="voicemail")
    await until_due(world)
    assert (await shown(alice))["consent"] == "unknown"
    assert await alice.query("diaries:listDiaries") == []
    assert len(await deleted(world)) == 1


async def test_who_agrees_in_the_last_try_is_called_from_then_on(world: World, alice: Person) -> None:
    """Also when the settings were saved, and paused, while that talk went on."""
    await wants_calls(alice)
    await answers(world, "no_answer")
    for _ in range(2):
        await until_due(world)
    await answers(world, "talks")
    await held(world, True)
    await until_due(world)
    await wants_calls(alice)
    assert (await shown(alice))["pausedReason"] == "no_consent"
    await held(world, False)
    await world.settle()
    settings = await shown(alice)
    assert settings["consent"] == "granted"
    assert "pausedReason" not in settings
    await until_due(world)
    assert len(await rings(world)) == 4


async def test_f03_what_is_told_of_somebody_who_is_gone_is_deleted_at_vapi(world: World, alice: Person) -> None:
    """The report of a call that was under way as its account was deleted; other people's calls there are not ours."""
    await wants_calls(alice)
    await has_agreed(world)
    await world.fault("vapi", webhooks="lost")
    await until_due(world)
    job = await the_call(alice)
    await alice.mutation("users:deleteAccount")
    await world.settle()
    assert set(await deleted(world)) == {job["vapiCallId"]}
    body = json.loads(REPORT.read_text())
    for call_id, ours in (("call-of-alice", True), ("call-of-others", False)):
        call = body["message"]["call"] = {"id": call_id, "type": "outboundPhoneCall", "customer": {"number": ALICES}}
        body["message"].pop("assistant", None)
        body["message"].pop("customer", None)
        if ours:
            call["assistant"] = {"metadata": {"jobId": job["_id"], "userId": job["userId"]}}
        await world.steer("vapi", "send", message=body["message"])
        await world.settle()
    assert set(await deleted(world)) == {job["vapiCallId"], "call-of-alice"}
    assert await world.db.pool.fetchval("select count(*) from call_sessions") == 0


async def test_who_rings_in_and_changes_their_number_meanwhile_loses_no_talk(world: World, alice: Person) -> None:
    """It was theirs when it began."""
    await wants_calls(alice)
    await has_agreed(world)
    await held(world, True)
    call = await world.steer("vapi", "ring-in", number=ALICES)
    await world.steer("vapi", "advance", callId=call["callId"], to="in-progress")
    await world.settle()
    await wants_calls(alice, "+12025550177")
    await held(world, False)
    await world.settle()
    [session] = await alice.query("callJobs:getCallSessions")
    assert session["outcome"] == "diary"


@pytest.mark.parametrize(("how", "left"), [("talks", 0), ("no_answer", 1), ("refuses", 1)])
async def test_f03_a_number_is_remembered_only_for_what_it_must_be(
    world: World, alice: Person, how: str, left: int
) -> None:
    """For a refusal, and for tries without consent; else its hash goes as well, some days after the last call."""
    await wants_calls(alice)
    await answers(world, how)
    await until_due(world)
    await alice.mutation("users:deleteAccount")
    for _ in range(3):
        await until_due(world, "03:29")
    assert await world.db.pool.fetchval("select count(*) from phone_numbers") == left


async def test_words_in_an_event_that_could_not_be_handled_are_not_kept_for_ever(world: World) -> None:
    """A dead letter of VAPI's is there for a month, and then no more."""
    await world.db.pool.execute(
        """insert into webhook_events (id, vendor, event_id, type, body, received_at)
           select 'event_' || v, v, 'x', 'y', 'z', $1 from unnest(array['vapi', 'suno']) v""",
        world.clock.now() - timedelta(days=31),
    )  # fmt: skip
    await until_due(world, "03:29")
    assert [row["vendor"] for row in await world.db.pool.fetch("select vendor from webhook_events")] == ["suno"]
