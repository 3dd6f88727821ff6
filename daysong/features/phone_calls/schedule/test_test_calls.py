"""Calls that people ask for, to try it out: on their own number, a few a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daysong.kernel.functions.registry import Function
from daysong.kernel.time.clock import to_ms
from rehearsal.calls.call_history import wants_calls
from rehearsal.calls.phones import rings
from rehearsal.world import FunctionError, Person, World, functions

pytestmark = pytest.mark.anyio


async def refused(person: Person) -> Any:
    """With what a test call is refused."""
    with pytest.raises(FunctionError) as error:
        await person.mutation("callSettings:sendTestCall")
    return error.value.data


async def stands(world: World, **columns: Any) -> None:
    """The one call settings there are stand so."""
    for column, value in columns.items():
        await world.db.pool.execute(f"update call_settings set {column} = $1", value)  # noqa: S608 - named in tests


async def test_a_test_call_is_made_now(world: World, alice: Person) -> None:
    """On the caller's own number; it is among their calls at once, and moves no other."""
    await wants_calls(alice)
    before = (await alice.query("users:getUserProfile"))["callSettings"]
    sent = await alice.mutation("callSettings:sendTestCall")
    [job] = await alice.query("callJobs:getCallJobs")
    assert sent == {"callJobId": job["_id"]}
    assert (job["kind"], job["callSettingsId"]) == ("test", before["_id"])
    assert job["scheduledForUTC"] == to_ms(world.clock.now())
    assert (await alice.query("users:getUserProfile"))["callSettings"] == before


async def test_the_phone_rings_and_the_person_answers(world: World, alice: Person, bob: Person) -> None:
    """Once, at the number in the caller's settings."""
    await wants_calls(alice)
    await wants_calls(bob, phoneE164="+12025550124")
    await alice.mutation("callSettings:sendTestCall")
    await world.settle()
    assert [ring["number"] for ring in await rings(world)] == ["+12025550123"]
    [job] = await alice.query("callJobs:getCallJobs")
    assert job["status"] == "completed"
    assert (await alice.query("callJobs:getDashboardStats"))["totalCalls"] == 1


async def test_f06_nobody_can_have_another_number_dialled(world: World, alice: Person, anonymous: Person) -> None:
    """A test call takes no number as argument, and the functions that dial are internal."""
    await wants_calls(alice)
    sent = await alice.mutation("callSettings:sendTestCall")
    with pytest.raises(FunctionError, match="ArgumentValidationError"):
        await alice.mutation("callSettings:sendTestCall", phoneE164="+19005551234")
    internal = [function for function in functions() if not function.public and is_of_calls(function)]
    assert {"service/vapi/executor:processCallJob", "integrations/vapi/integration:scheduleVapiCall"} <= {
        function.identifier for function in internal
    }
    user_id = (await alice.query("users:getUserProfile"))["user"]["_id"]
    for function in internal:
        for person in (alice, anonymous):
            with pytest.raises(FunctionError, match="Could not find public function"):
                await person.call(
                    function.kind.value.lower(), function.identifier,
                    {"jobId": sent["callJobId"], "userId": user_id, "phoneNumber": "+19005551234"},
                )  # fmt: skip


def is_of_calls(function: Function) -> bool:
    """Whether a function has to do with phone calls."""
    return any(word in function.identifier for word in ("vapi", "call", "Call"))


async def test_there_must_be_somebody_to_call(world: World, alice: Person, bob: Person) -> None:
    """Each in its own words; nothing is written."""
    await wants_calls(bob)
    assert await refused(alice) == {"code": "call_settings_not_found", "message": "Call settings not found"}
    await bob.mutation("users:deleteAccount")
    await world.settle()
    await wants_calls(alice, active=False)
    assert await refused(alice) == {"code": "calls_switched_off", "message": "Calls are switched off"}
    await wants_calls(alice)
    paused = {"code": "calls_paused", "message": "Calls to this number are paused"}
    await stands(world, next_run_at=None, paused_reason="no_consent")
    assert await refused(alice) == paused
    await stands(world, paused_reason="number_lost", lost_at=world.clock.now())
    assert await refused(alice) == paused
    await world.db.pool.execute(
        "update call_settings set consent = 'refused', consent_at = $1, paused_reason = 'refused', lost_at = null",
        world.clock.now(),
    )
    assert await refused(alice) == paused
    assert await world.db.pool.fetchval("select count(*) from call_jobs") == 0


async def test_f32_three_test_calls_a_day(world: World, alice: Person) -> None:
    """Per day in UTC, whatever their status; each is one call."""
    await wants_calls(alice)
    calls = set()
    for _ in range(3):
        world.clock.forward(timedelta(minutes=5))
        calls.add((await alice.mutation("callSettings:sendTestCall"))["callJobId"])
    assert len(calls) == 3
    world.clock.forward(timedelta(minutes=5))
    assert await refused(alice) == {"code": "too_many_test_calls", "message": "At most 3 test calls a day"}
    world.clock.move_to(datetime(2026, 11, 24, 8, 0, tzinfo=UTC))
    await alice.mutation("callSettings:sendTestCall")


@pytest.mark.parametrize(
    ("hour", "minute", "wakes"), [(7, 59, True), (8, 0, False), (20, 59, False), (21, 0, True), (23, 59, True)]
)
async def test_f32_no_stranger_is_woken(world: World, alice: Person, hour: int, minute: int, wakes: bool) -> None:
    """Before the person on the number has agreed, by the clock there; after that it is theirs to choose."""
    await wants_calls(alice, timezone="Asia/Tokyo")
    tokyo = datetime(2026, 11, 25, hour, minute, tzinfo=UTC) - timedelta(hours=9)
    world.clock.move_to(tokyo)
    if wakes:
        assert (await refused(alice))["code"] == "quiet_hours"
        await world.db.pool.execute("update call_settings set consent = 'granted', consent_at = $1", tokyo)
    await alice.mutation("callSettings:sendTestCall")
