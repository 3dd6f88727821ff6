"""The money for calls: reserved before one is dialled or answered, and settled or freed by every ending."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from daysong.features.phone_calls.inbound import IncomingCall, answer_call
from daysong.features.phone_calls.rules import LONGEST_CALL
from daysong.kernel.functions.context import SYSTEM
from rehearsal.billing import admin_of
from rehearsal.calls.phones import ALICES, answers, has_agreed, until_due, wants_calls
from rehearsal.world import Person, World

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("unread_entries")]

PRICE = 1_300_000  # micro-dollars, of the ten minutes that a call may last


async def the_call(person: Person) -> Any:
    """The newest call a person has had."""
    return (await person.query("callJobs:getCallJobs"))[0]


async def money_of(world: World) -> tuple[int, int]:
    """What was spent for calls, and what is reserved for them."""
    row = await world.db.pool.fetchrow(
        """select (select coalesce(sum(amount), 0) from vendor_costs where vendor = 'vapi')::int,
                  (select coalesce(sum(amount), 0) from budget_reservations)::int"""
    )
    assert row is not None
    return tuple(row)


@pytest.fixture
async def capped(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A world whose vendors' money is counted."""
    async with World(database_url, tmp_path, NOW, {"DAYSONG_TEST_LIMITS": "1"}) as world:
        yield world


@pytest.mark.parametrize("faults", [{"status": 402}, {"status": 500, "times": 1}, {"status": 429}])
async def test_g03_an_order_that_is_refused_or_lost_leaves_no_money_reserved(
    capped: World, faults: dict[str, Any]
) -> None:
    """Refused for good, after three tries, or never found again."""
    alice = await capped.person("alice")
    await wants_calls(alice)
    await has_agreed(capped)
    await capped.fault("vapi", path="/call", **faults)
    await until_due(capped)
    await capped.pass_time(timedelta(minutes=25))
    assert (await the_call(alice))["status"] == "failed"
    assert await money_of(capped) == (0, 0)


@pytest.mark.parametrize("how", ["carrier", "daily_limit", "international"])
async def test_g03_a_call_that_never_rang_leaves_no_money_reserved(capped: World, how: str) -> None:
    """Its order reached no phone: whatever VAPI sends about it, no money stays reserved or spent."""
    alice = await capped.person("alice")
    await wants_calls(alice)
    await answers(capped, how)
    await until_due(capped)
    assert await money_of(capped) == (0, 0)


async def test_g03_a_call_without_a_report_is_paid_by_its_length(capped: World) -> None:
    """What was reserved is held while it may go on, and then its minutes' price is what is spent."""
    alice = await capped.person("alice")
    await wants_calls(alice)
    await has_agreed(capped)
    await capped.steer("vapi", "hold", hold=True)
    await until_due(capped)
    price = capped.settings.costs.minutes(600)
    assert await money_of(capped) == (0, price)
    await capped.steer("vapi", "advance", to="in-progress")
    await capped.settle()
    await capped.fault("vapi", webhooks="lost")
    await capped.pass_time(LONGEST_CALL + timedelta(minutes=10))
    assert (await the_call(alice))["errorCode"] == "no_report"
    assert await money_of(capped) == (price, 0)


async def test_g03_a_report_that_comes_late_corrects_the_estimate_once(capped: World) -> None:
    """Cost and minutes become what the report says; a second one changes nothing."""
    alice = await capped.person("alice")
    await wants_calls(alice)
    await has_agreed(capped)
    await capped.steer("vapi", "hold", hold=True)
    await until_due(capped)
    await capped.steer("vapi", "advance", to="in-progress")
    await capped.settle()
    await capped.fault("vapi", webhooks="lost")
    await capped.pass_time(LONGEST_CALL + timedelta(minutes=10))
    assert await money_of(capped) == (PRICE, 0)
    assert await talked(alice) == 10
    await capped.fault("vapi")
    await capped.steer("vapi", "hold", hold=False)
    await capped.settle()
    paid, reserved = await money_of(capped)
    assert 0 < paid < PRICE
    assert reserved == 0
    assert 0 < await talked(alice) < 10
    await capped.steer("vapi", "redeliver", times=2)
    await capped.settle()
    assert await money_of(capped) == (paid, 0)


@pytest.mark.parametrize("status", ["canceled", "failed"])
@pytest.mark.parametrize("answered", [False, True])
async def test_g03_a_call_stopped_by_hand_frees_what_was_reserved(capped: World, status: str, answered: bool) -> None:
    """It takes its length until then, and nothing when it was not answered; its report corrects that."""
    alice = await capped.person("alice")
    await wants_calls(alice)
    await has_agreed(capped)
    await capped.steer("vapi", "hold", hold=True)
    await until_due(capped)
    if answered:
        await capped.steer("vapi", "advance", to="in-progress")
        await capped.settle()
        await capped.pass_time(timedelta(minutes=2))
    assert await money_of(capped) == (0, PRICE)
    job = await the_call(alice)
    await admin_of(capped).mutation("callJobs:updateCallJobStatus", jobId=job["_id"], status=status)
    minutes = 2 if answered else 0
    assert await talked(alice) == pytest.approx(minutes, abs=0.1)
    paid, reserved = await money_of(capped)
    assert paid == pytest.approx(capped.settings.costs.minutes(60 * minutes), rel=0.05)
    assert reserved == 0
    await capped.steer("vapi", "hold", hold=False)
    await capped.settle()
    told, reserved = await money_of(capped)
    assert 0 < told < PRICE
    assert told != paid
    assert reserved == 0
    assert 0 < await talked(alice) < 10


async def rings_in(world: World) -> Any:
    """Alice, who has agreed to calls, calls; what VAPI was answered is in it."""
    return await world.steer("vapi", "ring-in", number=ALICES)


async def talked(person: Person) -> float:
    """Minutes that are used or reserved."""
    used: float = (await person.query("usage:getCurrentUserUsage"))["minutesUsed"]
    return used


async def alice_may_call(world: World) -> Person:
    """An account with a number that has agreed to calls; calls stay as they are until they are moved on."""
    alice = await world.person("alice")
    await wants_calls(alice, active=False)
    await has_agreed(world)
    await world.steer("vapi", "hold", hold=True)
    return alice


@pytest.mark.parametrize("cap", ["LIMIT_COST_ACCOUNT", "LIMIT_COST_VAPI", "LIMIT_COST_DAY"])
async def test_g03_an_incoming_call_at_a_reached_cap_is_refused(database_url: str, tmp_path: Path, cap: str) -> None:
    """A sentence is spoken, whichever cap it is, and neither minutes nor money are reserved; until the next day."""
    environ = {"DAYSONG_TEST_LIMITS": "1", cap: "2"}
    async with World(database_url, tmp_path, NOW, environ) as world:
        alice = await alice_may_call(world)
        rung = [await rings_in(world) for _ in range(3)]
        assert "error" not in rung[0]
        assert "limit for today" in rung[1]["error"]
        assert "limit for today" in rung[2]["error"]
        assert await money_of(world) == (0, PRICE)
        assert await talked(alice) == 10
        world.clock.forward(timedelta(days=1))
        assert "error" not in await rings_in(world)


async def test_g03_an_incoming_call_reserves_once_and_its_report_settles_it(capped: World) -> None:
    """VAPI may ask twice about a call, also at the same moment."""
    alice = await alice_may_call(capped)
    rung = await rings_in(capped)
    ringing = IncomingCall(vapi_call_id=rung["callId"], number=ALICES)
    runtime = capped.app.runtime
    asked = await asyncio.gather(*(runtime.run_mutation(answer_call, ringing, SYSTEM) for _ in range(6)))
    assert all("assistant" in one for one in asked)
    assert await money_of(capped) == (0, PRICE)
    assert await talked(alice) == 10
    await capped.steer("vapi", "hold", hold=False)
    await capped.settle()
    paid, reserved = await money_of(capped)
    assert 0 < paid < PRICE
    assert reserved == 0


async def test_g03_incoming_calls_at_once_do_not_pass_a_cap(database_url: str, tmp_path: Path) -> None:
    """Of ten calls at the same moment, two are answered, since the cap allows two. Held by the counters of the day."""
    people = [f"person{number}" for number in range(10)]
    environ = {"DAYSONG_TEST_LIMITS": "1", "LIMIT_COST_VAPI": "3"}
    async with World(database_url, tmp_path, NOW, environ) as world:
        numbers = [f"+120255502{number:02}" for number in range(10)]
        for name, number in zip(people, numbers, strict=True):
            await wants_calls(await world.person(name), number, active=False)
            await has_agreed(world, number)
        runtime = world.app.runtime
        answered = await asyncio.gather(
            *(
                runtime.run_mutation(answer_call, IncomingCall(vapi_call_id=f"call-{number}", number=number), SYSTEM)
                for number in numbers
            )
        )
        assert sum("assistant" in one for one in answered) == 2
        assert await money_of(world) == (0, 2 * PRICE)


async def test_g03_an_incoming_call_without_a_report_leaves_no_money_reserved(capped: World) -> None:
    """VAPI does not know it any more: it has no sign of an answer, so nothing is paid."""
    await alice_may_call(capped)
    rung = await rings_in(capped)
    await capped.fault("vapi", webhooks="lost")
    assert await money_of(capped) == (0, PRICE)
    key = {"Authorization": f"Bearer {capped.settings.vapi.api_key}"}
    (await capped.http.delete(f"/sandbox/vapi/call/{rung['callId']}", headers=key)).raise_for_status()
    await capped.pass_time(timedelta(minutes=26))
    assert await money_of(capped) == (0, 0)


async def test_g03_a_call_whose_account_is_deleted_meanwhile_is_paid(capped: World) -> None:
    """Its report finds no account, and what it cost is a cost all the same; nothing stays reserved."""
    alice = await alice_may_call(capped)
    await rings_in(capped)
    await alice.mutation("users:deleteAccount")
    await capped.settle()
    await capped.steer("vapi", "hold", hold=False)
    await capped.settle()
    paid, reserved = await money_of(capped)
    assert 0 < paid < PRICE
    assert reserved == 0
