"""A phone rings once for each call that is due, whatever VAPI or the network does; never more at a time than lines."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from daysong.features.phone_calls.rules import STEPS
from rehearsal.calls.due_calls import insert_due_settings
from rehearsal.calls.phones import ALICES, BOBS, ROOM, answers, has_agreed, rings, until_due, wants_calls
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

FINAL = {status for status, following in STEPS.items() if not following}


async def the_call(person: Person) -> Any:
    """The only call a person has had."""
    [job] = await person.query("callJobs:getCallJobs")
    return job


async def ends(world: World, person: Person) -> Any:
    """The person's only call, when all that could still happen to it has."""
    await until_due(world)
    for _ in range(3):
        await world.pass_time(timedelta(minutes=40))
    job = await the_call(person)
    assert job["status"] in FINAL, job
    return job


async def test_a_due_call_rings_and_ends(world: World, alice: Person) -> None:
    """With our ids on it, at the number of the settings."""
    await wants_calls(alice)
    await has_agreed(world)
    await until_due(world)
    job = await the_call(alice)
    assert job["status"] == "completed"
    [asked] = await world.asked("vapi", "/call")
    assert asked["body"]["customer"] == {"number": ALICES, "numberE164CheckEnabled": True, "externalId": job["_id"]}
    assert asked["body"]["assistant"]["metadata"] == {"jobId": job["_id"], "userId": job["userId"]}
    assert asked["body"]["assistant"]["server"]["backoffPlan"]["maxRetries"] >= 3
    assert [ring["jobId"] for ring in await rings(world)] == [job["_id"]]


@pytest.mark.parametrize(
    ("faults", "times"),
    [
        ({"status": 500}, 1),
        ({"status": 503}, None),
        ({"status": 429, "retryAfter": 30}, 2),
        ({"status": 429}, None),
        ({"drop": True}, 1),
        ({"drop": True}, None),
        ({"answer": "garbage"}, 1),
        ({"status": 400}, None),
        ({"status": 401}, None),
        ({"status": 402}, None),
    ],
)
async def test_f35_f34_no_failure_of_vapis_rings_twice(
    world: World, alice: Person, faults: dict[str, Any], times: int | None
) -> None:
    """A lost answer is looked up, a refusal that may pass is tried again, and every call ends in a named state."""
    await wants_calls(alice)
    await has_agreed(world)
    await world.fault("vapi", path="/call", **faults, **({} if times is None else {"times": times}))
    job = await ends(world, alice)
    assert len(await rings(world)) <= 1
    placed = [call for call in await world.asked("vapi", "/call") if call["method"] == "POST"]
    if "status" in faults and faults["status"] == 429:
        assert len(placed) <= 3
    else:
        assert len(placed) == 1, "what may have been done is not asked for again"
    if faults.get("drop") and times == 1:
        assert job["status"] == "completed", "the call took place, and was found"
    if faults == {"status": 429, "retryAfter": 30}:
        assert job["status"] == "completed", "the third try came through"
        assert placed[1]["time"] - placed[0]["time"] >= 30_000


@pytest.mark.parametrize("over", ["blocked", "refused"])
@pytest.mark.parametrize("lost", [False, True])
async def test_f34_a_call_for_which_vapi_has_no_line_is_made_later(
    world: World, alice: Person, over: str, lost: bool
) -> None:
    """VAPI may say so, or take the call and drop it; either way no phone rang, and it rings once in the end.

    If the answer is lost as well, it cannot be told from a call that was placed: it has failed, and rings not at all.
    """
    await wants_calls(alice)
    await has_agreed(world)
    await world.steer("vapi", "limits", concurrency=0, over=over)
    if lost:
        await world.fault("vapi", path="/call", drop=True, times=1)
    await until_due(world, longer=timedelta(0))
    assert await rings(world) == []
    await world.steer("vapi", "limits", concurrency=10)
    await world.pass_time(timedelta(minutes=24))
    job = await the_call(alice)
    if lost:
        assert (job["status"], len(await rings(world))) == ("failed", 0)
    else:
        assert (job["status"], len(await rings(world))) == ("completed", 1)
    assert len(await alice.query("callJobs:getCallSessions")) <= 1


async def test_f34_with_fewer_lines_at_vapi_than_we_think_each_call_waits_its_turn(world: World) -> None:
    """Calls that find no line are not used up by trying: they are made later, one by one, each once."""
    await insert_due_settings(world.db.pool, 12, world.clock.now())
    await world.steer("vapi", "people", answers="busy")
    await world.steer("vapi", "limits", concurrency=2, over="refused")
    for _ in range(14):
        await world.pass_time(timedelta(minutes=2))
    statuses = await world.db.pool.fetch("select status, count(*) from call_jobs group by 1")
    assert [tuple(row) for row in statuses] == [("failed", 12)]
    assert len(await rings(world)) == 12
    placed = [call for call in await world.asked("vapi", "/call") if call["method"] == "POST"]
    assert len(placed) < 12 * 12, "nor is VAPI asked over and over"


async def test_a_call_waits_for_vapi_that_is_down_without_using_up_attempts(database_url: str, data_dir: Path) -> None:
    """However often it is looked at while the breaker is open; then its first attempt rings."""
    async with World(database_url, data_dir, NOW, {"DAYSONG_TEST_LIMITS": "1"}) as world:
        alice = await world.person("alice")
        await wants_calls(alice)
        await has_agreed(world)
        breaker = world.app.limits.breakers["vapi"]
        await world.settle()
        world.clock.move_to(NOW.replace(hour=20, minute=0) - timedelta(seconds=1))
        for _ in range(5):
            breaker.begin().failed()
        for pause in (5, 10, 20, 40):
            await world.pass_time(timedelta(seconds=pause - 1))
            world.clock.forward(timedelta(seconds=1))
            breaker.begin().failed()
        assert ((await the_call(alice))["attempts"], await rings(world)) == (0, [])
        await world.pass_time(timedelta(minutes=3))
        job = await the_call(alice)
        assert (job["status"], job["attempts"], len(await rings(world))) == ("completed", 1, 1)


async def test_f34_what_is_refused_for_good_says_why(world: World, alice: Person) -> None:
    """In words the person understands."""
    await wants_calls(alice)
    await has_agreed(world)
    await world.fault("vapi", path="/call", status=402)
    job = await ends(world, alice)
    assert job["status"] == "failed"
    assert job["errorMessage"].endswith(".")
    stats = await alice.query("callJobs:getCallJobStats")
    assert (stats["failed"], stats["lastError"]) == (1, job["errorMessage"])


async def test_a_refused_try_is_not_counted_against_the_number(world: World, alice: Person) -> None:
    """No phone has rung, so no try is counted."""
    await wants_calls(alice)
    await world.fault("vapi", path="/call", status=400)
    await until_due(world)
    number = await world.db.pool.fetchrow("select tries, dials from phone_numbers")
    assert number is not None
    assert tuple(number) == (0, 0)


async def test_an_answer_that_is_lost_finds_its_call(world: World, alice: Person) -> None:
    """By the id of the job, which the call carries."""
    await wants_calls(alice)
    await has_agreed(world)
    await world.steer("vapi", "hold", hold=True)
    await world.fault("vapi", path="/call", drop=True, times=1)
    await until_due(world)
    job = await the_call(alice)
    assert job["status"] == "scheduled"
    assert job["vapiCallId"] == (await rings(world))[0]["callId"]


async def test_f06_nobody_dials_but_from_a_job(world: World, alice: Person, charlie: Person, anonymous: Person) -> None:
    """The functions that dial are internal, and take no number."""
    await wants_calls(alice)
    await until_due(world)
    job = await the_call(alice)
    for stranger in (alice, charlie, anonymous):
        for name in (f"{ROOM}:processCallJob", "integrations/vapi/integration:scheduleVapiCall"):
            for args in ({"jobId": job["_id"]}, {"jobId": job["_id"], "phoneNumber": "+19005550123"}):
                with pytest.raises(FunctionError, match="Could not find public function"):
                    await stranger.action(name, **args)
    assert len(await rings(world)) == 1


async def test_a_call_that_is_over_is_not_dialled_again(world: World, alice: Person, admin: Person) -> None:
    """From any account, and however often."""
    await wants_calls(alice)
    await until_due(world)
    job = await the_call(alice)
    for _ in range(3):
        await admin.action(f"{ROOM}:processCallJob", jobId=job["_id"])
    assert len(await rings(world)) == 1


async def test_f34_no_more_calls_at_once_than_lines(world: World) -> None:
    """A hundred due in one minute, ten lines: each waits its turn, and none is lost."""
    await insert_due_settings(world.db.pool, 100, world.clock.now())
    await world.steer("vapi", "limits", concurrency=1000)
    await world.steer("vapi", "people", answers="busy")
    await world.pass_time(timedelta(minutes=1))
    for _ in range(12):
        await world.pass_time(timedelta(seconds=90))
    statuses = await world.db.pool.fetch("select status, count(*) from call_jobs group by 1")
    limits = (await world.http.get("/sandbox/vapi/limits")).json()
    assert limits["mostInFlight"] == world.settings.vapi.max_concurrent_calls == 10
    found = {row["status"]: row["count"] for row in statuses}
    assert found.keys() <= FINAL
    assert sum(found.values()) == 100
    rung = await rings(world)
    assert len({ring["jobId"] for ring in rung}) == len(rung) == found["failed"]


async def test_f31_a_call_that_waited_for_a_line_too_long_is_called_off(world: World) -> None:
    """Half an hour after it was due, it is too late."""
    await insert_due_settings(world.db.pool, 15, world.clock.now())
    await world.steer("vapi", "hold", hold=True)
    await world.pass_time(timedelta(minutes=32))
    found = await world.db.pool.fetch("select status, error_code, count(*) from call_jobs group by 1, 2 order by 1")
    assert [tuple(row) for row in found] == [("canceled", "missed", 5), ("scheduled", None, 10)]


async def test_f31_nobody_is_called_in_the_quiet_hours_but_who_chose_them(
    world: World, alice: Person, bob: Person
) -> None:
    """A call due at 20:55 that finds a line at 21:05 is called off; one due at 21:30 is made."""
    await wants_calls(alice, at="20:55")
    await wants_calls(bob, BOBS, at="21:30")
    await world.db.pool.execute("update call_settings set consent = 'granted', consent_at = $1", world.clock.now())
    await world.fault("vapi", path="/call", status=429, retryAfter=600, times=1)
    await until_due(world, "20:55")
    await until_due(world, "21:10")
    await until_due(world, "21:30")
    alices, bobs = await the_call(alice), await the_call(bob)
    assert (alices["status"], alices["errorCode"]) == ("canceled", "quiet_hours")
    assert bobs["status"] == "completed"


async def test_a_number_is_dialled_three_times_a_day_at_most(world: World, alice: Person) -> None:
    """Test calls and calls that were due together."""
    await wants_calls(alice)
    await has_agreed(world)
    await answers(world, "no_answer")
    for _ in range(3):
        await alice.mutation("callSettings:sendTestCall")
        await world.pass_time(timedelta(minutes=1))
    await until_due(world)
    job, *_ = await alice.query("callJobs:getCallJobs")
    assert (job["status"], job["errorCode"]) == ("canceled", "number_busy")
    assert len(await rings(world)) == 3
    await until_due(world)
    assert len(await rings(world)) == 4


async def test_g06_a_number_that_another_account_has_proved_is_not_dialled(
    world: World, alice: Person, bob: Person
) -> None:
    """Not for an account that only names it; the reason is that of a number without consent."""
    await wants_calls(alice, active=False)
    await has_agreed(world)
    await wants_calls(bob)
    await until_due(world)
    job = await the_call(bob)
    assert (job["status"], job["errorCode"]) == ("canceled", "no_consent")
    assert (await bob.query("users:getUserProfile"))["callSettings"]["pausedReason"] == "no_consent"
    assert await rings(world) == []


async def test_g06_two_accounts_that_name_a_number_share_its_tries(world: World, alice: Person, bob: Person) -> None:
    """One try a day and three in all, from all accounts; the account whose call is agreed to owns the number."""
    await wants_calls(alice)
    await wants_calls(bob)
    await answers(world, "no_answer")
    for _ in range(2):
        await until_due(world)
    assert len(await rings(world)) == 2
    await answers(world, "talks")
    await until_due(world)
    assert len(await rings(world)) == 3
    found = [(await person.query("users:getUserProfile"))["callSettings"]["consent"] for person in (alice, bob)]
    assert sorted(found) == ["granted", "unknown"]
