"""A first call whose report does not tell what was said about being called: it is read before it counts as unclear."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from daysong.workflows.calls.call_reports import UnreadAnswer, read_answer
from rehearsal.calls.phones import answers, until_due, wants_calls
from rehearsal.processes.killing import schedule
from rehearsal.world import Person, World

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("unread_entries")]

SOON, A_WHILE = timedelta(seconds=20), timedelta(minutes=5)


async def shown(person: Person) -> Any:
    """What the person sees of their call settings."""
    return (await person.query("users:getUserProfile"))["callSettings"]


async def readings(world: World) -> int:
    """How often the model was asked what a person said about being called."""
    asked = await world.asked("openai", "/chat/completions")
    return sum(call["body"]["response_format"]["json_schema"]["name"] == "answer" for call in asked)


async def looked_up(world: World) -> int:
    """How often VAPI was asked for a call."""
    return sum(call["method"] == "GET" for call in await world.asked("vapi", "/call/"))


async def answered(world: World, person: Person, how: str, analysis: str = "missing") -> Any:
    """A first call that was answered like this, and reported without an analysis; its session."""
    await wants_calls(person)
    await answers(world, how)
    await world.fault("vapi", analysis=analysis)
    await until_due(world, longer=timedelta(0))
    for _ in range(12):
        await world.pass_time(SOON)
        sessions = await person.query("callJobs:getCallSessions")
        if sessions and "outcome" in sessions[0]:
            break
    return sessions[0]


async def test_g24_an_analysis_that_comes_late_is_waited_for(world: World, alice: Person) -> None:
    """VAPI is asked once more after a minute; no model is asked, and nothing was kept here meanwhile."""
    session = await answered(world, alice, "talks", "late")
    assert session["outcome"] == "answer to be read"
    assert "transcript" not in session
    assert (await alice.query("callJobs:getCallJobs"))[0]["status"] == "completed"
    assert await looked_up(world) == 0
    await world.pass_time(A_WHILE)
    assert (await shown(alice))["consent"] == "granted"
    [diary] = await alice.query("diaries:listDiaries")
    assert diary["primaryMusic"]["status"] == "ready"
    assert (await looked_up(world), await readings(world)) == (1, 0)


@pytest.mark.parametrize(
    ("how", "consent", "paused", "entries"),
    [("talks", "granted", None, 1), ("refuses", "refused", "refused", 0), ("stop", "refused", "refused", 0),
     ("unclear", "unknown", None, 0), ("screened_talks", "granted", None, 1)],
)  # fmt: skip
async def test_g24_without_any_analysis_the_model_reads_the_answer(
    world: World, alice: Person, how: str, consent: str, paused: str | None, entries: int
) -> None:
    """Once; its cost is written down, and what was reserved for it is free again."""
    await answered(world, alice, how)
    await world.pass_time(A_WHILE)
    assert ((await shown(alice))["consent"], (await shown(alice)).get("pausedReason")) == (consent, paused)
    assert len(await alice.query("diaries:listDiaries")) == entries
    assert (await looked_up(world), await readings(world)) == (1, 1)
    costs = await world.db.pool.fetch("select amount, account from vendor_costs where function = 'answer'")
    assert [row["amount"] > 0 and row["account"] is not None for row in costs] == [True]
    assert await world.db.pool.fetchval("select count(*) from budget_reservations where vendor = 'openai'") == 0
    # Who did not agree has no words kept, here or at VAPI.
    deleted = [call for call in await world.asked("vapi", "/call/") if call["method"] == "DELETE"]
    assert len(deleted) == (entries == 0)
    tries = await world.db.pool.fetchval("select tries from phone_numbers")
    assert tries == (how not in {"talks", "screened_talks"})


@pytest.mark.parametrize("answer", ["refusal", "garbage", "wrong_shape", "truncated"])
async def test_g24_an_answer_nobody_can_use_is_paid_for_once_and_unclear(
    world: World, alice: Person, answer: str
) -> None:
    """And the talk is deleted."""
    await world.fault("openai", answer=answer)
    await answered(world, alice, "talks")
    await world.pass_time(timedelta(hours=1))
    assert (await shown(alice))["consent"] == "unknown"
    [session] = await alice.query("callJobs:getCallSessions")
    assert session["outcome"] == "no consent"
    assert await readings(world) == 1


async def test_g24_a_model_that_was_away_is_asked_again(world: World, alice: Person) -> None:
    """A refused request costs nothing, so that it may be repeated."""
    await world.fault("openai", status=503, times=2)
    await answered(world, alice, "talks")
    await world.pass_time(timedelta(minutes=20))
    assert (await shown(alice))["consent"] == "granted"
    assert await world.db.pool.fetchval("select count(*) from vendor_costs where function = 'answer'") == 1


async def test_g24_a_lost_answer_of_the_model_is_not_asked_for_again(world: World, alice: Person) -> None:
    """It may have been paid for."""
    await world.fault("openai", drop=True, times=1)
    await answered(world, alice, "talks")
    await world.pass_time(timedelta(hours=1))
    assert (await shown(alice))["consent"] == "unknown"
    assert await readings(world) == 1


async def test_g24_vapi_that_is_away_is_asked_again_and_at_last_given_up(world: World, alice: Person) -> None:
    """The answer stays unclear then, and the call is to be deleted there."""
    await answered(world, alice, "talks")
    await world.fault("vapi", path="/call/", status=500, analysis="missing")
    await world.pass_time(timedelta(hours=1))
    [session] = await alice.query("callJobs:getCallSessions")
    assert (session["outcome"], session["state"]) == ("no consent", "completed")
    assert await readings(world) == 0
    await world.fault("vapi")
    await world.pass_time(timedelta(hours=2))
    assert [call["method"] for call in await world.asked("vapi", "/call/")][-1] == "DELETE"


async def test_g24_at_a_cap_of_the_day_no_model_is_asked(database_url: str, tmp_path: Path) -> None:
    """The try counts as unclear: a person is not called again and again for want of money to read the answer."""
    environ = {"DAYSONG_TEST_LIMITS": "1", "LIMIT_COST_OPENAI": "0.001"}
    async with World(database_url, tmp_path, NOW, environ) as world:
        alice = await world.person("alice")
        await answered(world, alice, "talks")
        await world.pass_time(A_WHILE)
        assert await readings(world) == 0
        [session] = await alice.query("callJobs:getCallSessions")
        assert session["outcome"] == "no consent"


async def test_g24_the_money_for_an_answer_is_reserved_and_free_again(database_url: str, tmp_path: Path) -> None:
    """Where caps hold."""
    async with World(database_url, tmp_path, NOW, {"DAYSONG_TEST_LIMITS": "1"}) as world:
        alice = await world.person("alice")
        await answered(world, alice, "unclear")
        await world.pass_time(A_WHILE)
        assert await readings(world) == 1
        assert await world.db.pool.fetchval("select count(*) from budget_reservations") == 0


async def test_g24_however_often_the_job_runs_it_is_paid_and_decided_once(world: World, alice: Person) -> None:
    """Side by side, and again when all is decided; redelivered reports change nothing either."""
    session = await answered(world, alice, "talks")
    one = UnreadAnswer(session_id=session["_id"], vapi_call_id=session["vapiCallId"])
    for _ in range(3):
        await schedule(world, read_answer, one)
    await world.steer("vapi", "redeliver", times=2)
    await world.pass_time(A_WHILE)
    await schedule(world, read_answer, one)
    await world.settle()
    assert await readings(world) == 1
    assert len(await alice.query("diaries:listDiaries")) == 1


async def test_g24_deleting_the_words_in_that_minute_undoes_no_refusal(world: World, alice: Person) -> None:
    """The call is deleted at VAPI when its answer was read."""
    session = await answered(world, alice, "stop")
    await alice.mutation("callJobs:deleteCallSession", sessionId=session["_id"])
    await world.pass_time(A_WHILE)
    assert (await shown(alice))["pausedReason"] == "refused"
    deleted = [call for call in await world.asked("vapi", "/call/") if call["method"] == "DELETE"]
    assert len(deleted) == 1
