"""What is due in a minute becomes call jobs: each occurrence once, none lost, none in the middle of the night."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daysong.features.phone_calls.schedule import planner
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.declarations import NoArgs
from daysong.kernel.time.clock import to_ms
from rehearsal.calls.due_calls import insert_due_settings, summary
from rehearsal.calls.phones import ALICES, BOBS, ROOM, has_agreed, until_due, wants_calls
from rehearsal.library import nodes, plan
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

DUE = datetime(2026, 11, 23, 20, 0, tzinfo=UTC)


async def jobs(person: Person) -> list[Any]:
    """Return the user's calls, newest first: due time, status and reason."""
    return [
        (job["scheduledForUTC"], job["status"], job.get("errorCode"))
        for job in await person.query("callJobs:getCallJobs")
    ]


async def next_run(world: World) -> datetime:
    """When the only settings there are are due next."""
    moment: datetime = await world.db.pool.fetchval("select next_run_at from call_settings")
    return moment


async def test_a_call_is_planned_in_its_minute_and_not_before(world: World, alice: Person, admin: Person) -> None:
    """And the next one for tomorrow."""
    await wants_calls(alice)
    world.clock.move_to(DUE - timedelta(seconds=1))
    await admin.action(f"{ROOM}:executeScheduledCalls")
    assert await jobs(alice) == []
    world.clock.move_to(DUE)
    await admin.action(f"{ROOM}:executeScheduledCalls")
    assert await jobs(alice) == [(to_ms(DUE), "queued", None)]
    assert await next_run(world) == DUE + timedelta(days=1)
    await admin.action(f"{ROOM}:executeScheduledCalls")
    assert len(await jobs(alice)) == 1


async def test_f42_f33_many_planners_at_once_plan_every_call_once(world: World, admin: Person) -> None:
    """Thousands due in one minute, four planners, none in the other's way."""
    people = 4 * planner.CLAIMED_AT_ONCE + 7
    await insert_due_settings(world.db.pool, people, DUE)
    world.clock.move_to(DUE)
    await asyncio.gather(*(admin.action(f"{ROOM}:executeScheduledCalls") for _ in range(4)))
    told = await summary(world.db.pool)
    assert tuple(told) == (people, 0, people)


@pytest.mark.parametrize("generic", [True, False])
async def test_f42_the_claim_walks_an_index(world: World, generic: bool) -> None:
    """However many there are, and without a look at those who are not due."""
    await insert_due_settings(world.db.pool, 10_000, DUE)
    for moment, found in ((DUE, planner.CLAIMED_AT_ONCE), (DUE - timedelta(days=1), 0)):
        root = await plan(world, planner.DUE_SQL, (f"'{moment}'", str(planner.CLAIMED_AT_ONCE)), generic=generic)
        scans = [node for node in nodes(root) if "Scan" in node["Node Type"]]
        assert [scan.get("Index Name") for scan in scans] == ["call_settings_due"]
        assert scans[0]["Actual Rows"] == found


async def test_f31_after_hours_of_standstill_nobody_is_called_at_night(world: World, alice: Person) -> None:
    """Due at 20:00, up again at 3:00: missed, and noted as such. The next one is on time."""
    await wants_calls(alice)
    await has_agreed(world)
    world.clock.move_to(DUE + timedelta(hours=7))
    await world.app.runtime.call(world.app.runtime.registry.of(planner.execute_scheduled_calls), NoArgs(), SYSTEM)
    await world.settle()
    assert await jobs(alice) == [(to_ms(DUE), "canceled", "missed")]
    assert await world.asked("vapi", "/call") == []
    await until_due(world)
    assert [status for _, status, _ in await jobs(alice)] == ["completed", "canceled"]
    assert [call["time"] for call in await world.asked("vapi", "/call")] == [to_ms(DUE + timedelta(days=1))]


async def test_f31_after_days_of_standstill_each_call_is_noted(world: World, alice: Person, admin: Person) -> None:
    """And the one that has just come due is made."""
    await wants_calls(alice)
    world.clock.move_to(DUE + timedelta(days=3, minutes=29))
    await admin.action(f"{ROOM}:executeScheduledCalls")
    assert [status for _, status, _ in await jobs(alice)] == ["queued", "canceled", "canceled", "canceled"]
    assert await next_run(world) == DUE + timedelta(days=4)


async def test_f33_a_process_that_dies_after_planning_loses_no_call(world: World, alice: Person) -> None:
    """The next minute finds the job and dials."""
    await wants_calls(alice)
    world.clock.move_to(DUE)
    assert not await world.app.runtime.run_mutation(planner.claim_due_settings, NoArgs(), SYSTEM)
    assert [status for _, status, _ in await jobs(alice)] == ["queued"]
    await world.pass_time(timedelta(minutes=1))
    assert [status for _, status, _ in await jobs(alice)] == ["completed"]


async def test_one_persons_calls_can_be_planned_by_hand(world: World, alice: Person, admin: Person) -> None:
    """As the timetable would."""
    settings_id = await wants_calls(alice)
    world.clock.move_to(DUE)
    for _ in range(2):
        await admin.mutation(f"{ROOM}:calculateAndUpdateNextRun", settingsId=settings_id)
    assert [status for _, status, _ in await jobs(alice)] == ["queued"]
    assert await next_run(world) == DUE + timedelta(days=1)


async def test_switched_off_in_the_last_second_nobody_is_called(world: World, alice: Person, admin: Person) -> None:
    """Planned, then switched off, then it would have been dialled."""
    await wants_calls(alice)
    world.clock.move_to(DUE)
    await world.app.runtime.run_mutation(planner.claim_due_settings, NoArgs(), SYSTEM)
    await wants_calls(alice, active=False)
    await admin.action(f"{ROOM}:executeScheduledCalls")
    await world.settle()
    assert await jobs(alice) == [(to_ms(DUE), "canceled", "switched_off")]
    assert await world.asked("vapi", "/call") == []


async def test_a_time_zone_nobody_knows_any_more_stops_nobody_else(world: World, alice: Person, bob: Person) -> None:
    """Zones leave the time zone database: their people see why they are not called, and choose another."""
    await wants_calls(alice)
    await wants_calls(bob, BOBS)
    forgotten = "update call_settings set timezone = 'US/Pacific-New' where phone_e164 = $1"
    await world.db.pool.execute(forgotten, ALICES)
    await until_due(world)
    assert [status for _, status, _ in await jobs(bob)] == ["completed"]
    assert await jobs(alice) == []
    assert (await alice.query("users:getUserProfile"))["callSettings"]["pausedReason"] == "unknown_timezone"
    assert (await alice.query("callJobs:getDashboardStats"))["totalCalls"] == 0
    await wants_calls(alice)
    await until_due(world)
    assert [status for _, status, _ in await jobs(alice)] == ["completed"]


async def test_a_call_in_a_time_zone_nobody_knows_any_more_is_called_off(world: World, alice: Person) -> None:
    """It was planned before; waiting, it would hold up those behind it."""
    await wants_calls(alice)
    world.clock.move_to(DUE)
    await world.app.runtime.run_mutation(planner.claim_due_settings, NoArgs(), SYSTEM)
    await world.db.pool.execute("update call_settings set timezone = 'US/Pacific-New'")
    await world.pass_time(timedelta(minutes=1))
    assert await jobs(alice) == [(to_ms(DUE), "canceled", "unknown_timezone")]
