"""What a call costs its account: minutes of the plan, reserved before it is made and settled by its report."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from daysong.features.phone_calls.dialing import DueCall, take_line
from daysong.features.phone_calls.rules import LONGEST_CALL, country_forbids
from daysong.kernel.functions.context import SYSTEM
from rehearsal.calls.due_calls import insert_due_settings
from rehearsal.calls.phones import ALICES, answers, has_agreed, rings, until_due, wants_calls
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio


async def minutes(person: Person) -> tuple[float, float]:
    """What a person has talked, and may talk."""
    settings = (await person.query("users:getUserProfile"))["callSettings"]
    usage = await person.query("usage:getCurrentUserUsage")
    assert (settings["minutesUsed"], settings["minutesLimit"]) == (usage["minutesUsed"], usage["minutesLimit"])
    return settings["minutesUsed"], settings["minutesLimit"]


async def has_talked(world: World, seconds: int) -> None:
    """The only account has talked that long in this period."""
    await world.db.pool.execute(
        """insert into call_minutes (id, user_id, reserved_at, seconds, settled_at)
           select 'minutes_x', id, $1, $2, $1 from users""",
        world.clock.now(), seconds,
    )  # fmt: skip


async def the_call(person: Person) -> Any:
    """The newest call a person has had."""
    return (await person.query("callJobs:getCallJobs"))[0]


async def test_g02_a_talk_takes_what_it_lasted(world: World, alice: Person) -> None:
    """While it goes on, what it may take."""
    await wants_calls(alice)
    assert await minutes(alice) == (0, 30)
    await world.steer("vapi", "hold", hold=True)
    await until_due(world)
    assert await minutes(alice) == (10, 30)
    await world.steer("vapi", "hold", hold=False)
    await world.settle()
    [session] = await alice.query("callJobs:getCallSessions")
    used, _ = await minutes(alice)
    assert used == pytest.approx(session["durationSec"] / 60, abs=0.02)
    await world.steer("vapi", "redeliver", times=2)
    await world.settle()
    assert (await minutes(alice))[0] == used


async def test_g02_a_call_lasts_no_longer_than_what_is_left(world: World, alice: Person) -> None:
    """VAPI gets the limit; without minutes no call is made, with the reason."""
    await wants_calls(alice)
    await has_agreed(world)
    await has_talked(world, 30 * 60 - 90)
    await answers(world, "too_long")
    await until_due(world)
    [asked] = [call for call in await world.asked("vapi", "/call") if call["method"] == "POST"]
    assert asked["body"]["assistant"]["maxDurationSeconds"] == 90
    assert await minutes(alice) == (30, 30)
    await until_due(world)
    job = await the_call(alice)
    assert (job["status"], job["errorCode"]) == ("canceled", "no_minutes")
    assert job["errorMessage"] == "You have used all your minutes of this period."
    assert len(await rings(world)) == 1


@pytest.mark.parametrize("how", ["no_answer", "busy", "voicemail", "daily_limit", "carrier"])
async def test_g02_no_talk_takes_nothing(world: World, alice: Person, how: str) -> None:
    """No person was reached."""
    await wants_calls(alice)
    await answers(world, how)
    await until_due(world)
    assert await minutes(alice) == (0, 30)


@pytest.mark.parametrize("faults", [{"status": 402}, {"status": 500, "times": 1}, {"status": 429}])
async def test_g02_an_order_that_is_refused_or_lost_takes_nothing(
    world: World, alice: Person, faults: dict[str, Any]
) -> None:
    """In the end; and one that comes through after a refusal takes its own."""
    await wants_calls(alice)
    await has_agreed(world)
    await world.fault("vapi", path="/call", **faults)
    await until_due(world)
    await world.pass_time(timedelta(minutes=25))
    assert (await the_call(alice))["status"] == "failed"
    assert await minutes(alice) == (0, 30)


async def test_g02_a_call_without_a_report_takes_what_is_known_of_it(world: World, alice: Person) -> None:
    """Nothing without a sign of an answer; what was reserved, when the length is unknown."""
    await wants_calls(alice)
    await has_agreed(world)
    await world.fault("vapi", webhooks="lost")
    await world.steer("vapi", "hold", hold=True)
    await until_due(world)
    await world.pass_time(LONGEST_CALL + timedelta(minutes=10))
    assert (await the_call(alice))["errorCode"] == "no_report"
    assert await minutes(alice) == (0, 30)
    await world.fault("vapi")
    await world.steer("vapi", "advance", to="in-progress")
    await world.settle()


async def test_g02_who_rings_in_takes_minutes_too(world: World, alice: Person) -> None:
    """Reserved when the call is answered; without any left, a sentence is said."""
    await wants_calls(alice, active=False)
    await has_agreed(world)
    await world.steer("vapi", "hold", hold=True)
    await world.steer("vapi", "ring-in", number=ALICES)
    assert await minutes(alice) == (10, 30)
    await world.steer("vapi", "hold", hold=False)
    await world.settle()
    used, _ = await minutes(alice)
    assert 0 < used < 10
    await has_talked(world, 30 * 60)
    said = await world.steer("vapi", "ring-in", number=ALICES)
    assert "minutes" in said["error"]


async def test_g02_a_caller_whose_report_never_comes_gets_the_minutes_back(world: World, alice: Person) -> None:
    """VAPI is asked, and when it does not know the call either, nothing was talked."""
    await wants_calls(alice, active=False)
    await has_agreed(world)
    await world.steer("vapi", "hold", hold=True)
    call = await world.steer("vapi", "ring-in", number=ALICES)
    assert await minutes(alice) == (10, 30)
    await world.fault("vapi", webhooks="lost")
    key = {"Authorization": f"Bearer {world.settings.vapi.api_key}"}
    (await world.http.delete(f"/sandbox/vapi/call/{call['callId']}", headers=key)).raise_for_status()
    await world.pass_time(timedelta(minutes=26))
    assert await minutes(alice) == (0, 30)


async def test_g02_unproved_numbers_are_called_in_the_country_of_the_line_alone(world: World, alice: Person) -> None:
    """Which VAPI tells; a number that has agreed is called anywhere."""
    british = "+442079460123"
    await wants_calls(alice, british)
    await until_due(world)
    job = await the_call(alice)
    assert (job["status"], job["errorCode"]) == ("canceled", "country_not_called")
    assert await minutes(alice) == (0, 30)
    await has_agreed(world, british)
    await until_due(world)
    assert (await the_call(alice))["status"] == "completed"


def test_g02_countries_are_named_or_all() -> None:
    """`*` is all of them; a number of no country is called only then."""
    assert country_forbids("CA", ("US", "CA")) is None
    assert country_forbids("GB", ("US", "CA")) == "country_not_called"
    assert country_forbids(None, ("US",)) == country_forbids(None, ("",)) == "country_not_called"
    assert country_forbids(None, ("*",)) is None


async def test_g02_a_day_has_so_many_calls_over_all_accounts(world: World) -> None:
    """Also of takers at once, and of those that are gone; what did not ring is not counted."""
    await insert_due_settings(world.db.pool, 6, world.clock.now())
    day = world.clock.now().date()
    await world.db.pool.execute("insert into call_days (day, dials) values ($1, $2)", day, 1998)
    await world.steer("vapi", "people", answers="busy")
    await world.pass_time(timedelta(minutes=5))
    found = await world.db.pool.fetch("select status, error_code, count(*) from call_jobs group by 1, 2 order by 1")
    assert [tuple(row) for row in found] == [("canceled", "all_calls_made", 4), ("failed", "busy", 2)]
    assert await world.db.pool.fetchval("select dials from call_days where day = $1", day) == 2000


async def test_g02_of_two_takers_of_the_last_line_one_gets_it(world: World) -> None:
    """And of two takers of one call, one; under READ COMMITTED, with nothing to run again."""
    await insert_due_settings(world.db.pool, 24, world.clock.now())
    await world.db.pool.execute(
        """insert into call_jobs (id, user_id, settings_id, scheduled_for, created_at, updated_at)
           select 'call_' || id, user_id, id, $1, $1, $1 from call_settings""",
        world.clock.now(),
    )
    ids = [row["id"] for row in await world.db.pool.fetch("select id from call_jobs order by id")]
    runtime = world.app.runtime
    taken = await asyncio.gather(
        *(runtime.run_mutation(take_line, DueCall(job_id=job_id), SYSTEM) for job_id in [*ids, *ids[:6]])
    )
    assert sum(one.order is not None for one in taken) == world.settings.vapi.max_concurrent_calls == 10
    assert await world.db.pool.fetchval("select count(*) from call_jobs where asked_at is not null") == 10
    assert await world.db.pool.fetchval("select max(attempts) from call_jobs") == 1


@pytest.mark.parametrize("how", ["daily_limit", "international", "credits", "vapi_fault", "carrier"])
async def test_g20_what_did_not_ring_is_no_try(world: World, alice: Person, how: str) -> None:
    """However often it happens, the number is not paused, and is reached when all is well again."""
    await wants_calls(alice)
    await answers(world, how)
    for _ in range(4):
        await until_due(world)
    settings = (await alice.query("users:getUserProfile"))["callSettings"]
    assert (settings["consent"], settings.get("pausedReason")) == ("unknown", None)
    number = await world.db.pool.fetchrow("select tries, dials from phone_numbers")
    assert number is not None
    assert tuple(number) == (0, 0)
    await answers(world, "talks")
    await until_due(world)
    assert (await alice.query("users:getUserProfile"))["callSettings"]["consent"] == "granted"


async def test_g20_it_is_given_back_once_whoever_tells_of_it(world: World, alice: Person) -> None:
    """By a status, by its report, twice: a try that did ring is not given back with it."""
    await wants_calls(alice)
    await answers(world, "no_answer")
    await until_due(world)
    await answers(world, "carrier")
    await world.fault("vapi", webhooks="duplicated")
    await until_due(world)
    await world.steer("vapi", "redeliver", times=2)
    await world.settle()
    assert await world.db.pool.fetchval("select tries from phone_numbers") == 1


async def test_g20_a_number_that_does_not_exist_is_paused_with_that_reason(world: World, alice: Person) -> None:
    """At once, and until the settings are saved anew."""
    await wants_calls(alice)
    await answers(world, "misdialed")
    await until_due(world)
    assert (await alice.query("users:getUserProfile"))["callSettings"]["pausedReason"] == "misdialed"
    await wants_calls(alice)
    assert "pausedReason" not in (await alice.query("users:getUserProfile"))["callSettings"]
