"""What people see of their calls."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from daysong.features.phone_calls.history import JOBS_SQL, SESSIONS_SQL, get_dashboard_stats
from daysong.kernel.functions.context import Notes
from daysong.kernel.functions.declarations import NoArgs
from daysong.kernel.time.clock import to_ms
from rehearsal import library
from rehearsal.calls.call_history import had_calls, has_talked, wants_calls
from rehearsal.calls.phones import until_due
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

QUERIES = ("getCallJobs", "getCallJobStats", "getCallSessions", "getDashboardStats")
NOTHING = {"total": 0, "queued": 0, "scheduled": 0, "started": 0, "completed": 0, "failed": 0, "canceled": 0}


async def ask(person: Person, name: str, **args: Any) -> Any:
    """What a query of the room answers."""
    return await person.query(f"callJobs:{name}", **args)


async def wrote(world: World, person: str, *moments: datetime) -> None:
    """Insert entries of those moments."""
    for moment in moments:
        await world.db.pool.execute(
            """insert into diaries (id, user_id, content, date, created_at, updated_at)
               select 'diary_' || md5($1 || $2::timestamptz), id, 'Rain', $2, $2, $2 from users where clerk_id = $1""",
            f"user_{person}", moment,
        )  # fmt: skip


@pytest.mark.parametrize("name", QUERIES)
async def test_nobody_has_no_calls(world: World, alice: Person, anonymous: Person, name: str) -> None:
    """Nor has an account that is gone, nor one that never was."""
    await wants_calls(alice)
    await had_calls(world, "alice", 1)
    stranger = await world.steer("clerk", "sign-in", sub="user_stranger")
    for person in (anonymous, Person(world, {"Authorization": f"Bearer {stranger['jwt']}"})):
        with pytest.raises(FunctionError) as refused:
            await ask(person, name)
        assert refused.value.data == {"code": "unauthorized", "message": "Unauthorized"}
    await ask(alice, name)
    await alice.mutation("users:deleteAccount")
    for _ in ("closed", "erased"):
        with pytest.raises(FunctionError) as refused:
            await ask(alice, name)
        assert refused.value.code == "unauthorized"
        await world.settle()


async def test_who_was_never_called_has_nothing(alice: Person) -> None:
    """Empty lists and noughts."""
    assert [await ask(alice, name) for name in QUERIES] == [
        [], NOTHING, [], {"totalCalls": 0, "activeDaysThisMonth": 0}
    ]  # fmt: skip


async def test_calls_are_listed_the_newest_first(world: World, alice: Person, bob: Person) -> None:
    """The caller's own calls, without absent fields."""
    settings = await wants_calls(alice)
    await wants_calls(bob, phoneE164="+442079460123")
    await had_calls(world, "alice", 60)
    await had_calls(world, "alice", 2, "failed")
    await had_calls(world, "bob", 3)
    jobs = await ask(alice, "getCallJobs")
    assert len(jobs) == 50
    due = [job["scheduledForUTC"] for job in jobs]
    assert due == sorted(due, reverse=True)
    completed, failed = (next(job for job in jobs if job["status"] == status) for status in ("completed", "failed"))
    now = to_ms(world.clock.now())
    common = {
        "_creationTime": now,
        "userId": (await alice.query("users:getUserProfile"))["user"]["_id"],
        "callSettingsId": settings["settingsId"],
        "kind": "scheduled",
        "attempts": 0,
        "updatedAt": now,
    }
    assert completed == common | {
        "_id": completed["_id"], "status": "completed", "vapiCallId": "vapi user_alicecompleted1",
        "scheduledForUTC": now - 3_600_000,
    }  # fmt: skip
    assert failed == common | {
        "_id": failed["_id"], "status": "failed", "vapiCallId": "vapi user_alicefailed1", "errorCode": "busy",
        "errorMessage": "The line was busy (1).", "scheduledForUTC": now - 3_660_000,
    }  # fmt: skip
    assert len(await ask(alice, "getCallJobs", limit=500)) == 62
    assert [job["_id"] for job in await ask(alice, "getCallJobs", status="failed", limit=1)] == [failed["_id"]]
    assert await ask(alice, "getCallJobs", status="queued") == []
    assert len(await ask(bob, "getCallJobs")) == 3


async def test_calls_are_counted_by_status(world: World, alice: Person, bob: Person) -> None:
    """With the newest failure; a call that was called off is none."""
    await wants_calls(alice)
    for count, status in ((5, "completed"), (3, "failed"), (2, "canceled"), (1, "started"), (1, "scheduled")):
        await had_calls(world, "alice", count, status)
    assert await ask(alice, "getCallJobStats") == NOTHING | {
        "total": 12, "scheduled": 1, "started": 1, "completed": 5, "failed": 3, "canceled": 2,
        "lastError": "The line was busy (1).", "lastErrorAt": to_ms(world.clock.now()),
    }  # fmt: skip
    newest = await ask(alice, "getCallJobStats", limit=5)
    assert (newest["total"], newest["completed"]) == (5, 1)
    assert await ask(bob, "getCallJobStats") == NOTHING


async def test_talks_are_listed_the_newest_first(world: World, alice: Person, bob: Person) -> None:
    """The caller's own sessions, with the transcript."""
    await has_talked(world, "alice", 60)
    await has_talked(world, "bob", 1)
    talks = await ask(alice, "getCallSessions")
    assert len(talks) == 50
    now = to_ms(world.clock.now())
    assert talks[0] == {
        "_id": talks[0]["_id"],
        "_creationTime": now - 3_600_000,
        "userId": (await alice.query("users:getUserProfile"))["user"]["_id"],
        "vapiCallId": "talk user_alice1",
        "direction": "outbound",
        "state": "completed",
        "startedAt": now - 3_600_000,
        "endedAt": now - 3_600_000 + 90_000,
        "durationSec": 90,
        "endedReason": "customer-ended-call",
        "transcript": [{"role": "user", "message": "Secret talk 1"}],
        "outcome": "diary",
    }
    assert [talk["vapiCallId"] for talk in talks[:3]] == [f"talk user_alice{number}" for number in (1, 2, 3)]
    assert len(await ask(alice, "getCallSessions", limit=100)) == 60
    assert len(await ask(bob, "getCallSessions")) == 1


async def test_f65_every_call_is_counted(world: World, alice: Person, bob: Person) -> None:
    """1,200 are 1,200."""
    await has_talked(world, "alice", 1200)
    await wants_calls(alice)
    await had_calls(world, "alice", 1200)
    assert (await ask(alice, "getDashboardStats"))["totalCalls"] == 1200
    assert (await ask(alice, "getCallJobStats", limit=2000))["completed"] == 1200
    assert (await ask(alice, "getCallJobStats"))["total"] == 500
    assert (await ask(bob, "getDashboardStats"))["totalCalls"] == 0


@pytest.mark.parametrize(
    ("timezone", "days"),
    [
        # Of the entries below, in UTC: on the 1st, the 2nd (two), the 10th and the 30th.
        (None, 4),
        ("UTC", 4),
        # The first hours of the month are still the month before.
        ("America/Los_Angeles", 3),
        # The last hours of October are November already; the end of the 30th is December.
        ("Pacific/Kiritimati", 4),
        ("Asia/Tokyo", 5),
    ],
)
async def test_f65_months_and_days_are_those_where_somebody_is(
    world: World, alice: Person, timezone: str | None, days: int
) -> None:
    """By the time zone of their call settings; without any, by UTC."""
    if timezone is not None:
        await wants_calls(alice, timezone=timezone, active=False)
    await wrote(
        world, "alice",
        datetime(2026, 10, 10, 12, tzinfo=UTC),
        datetime(2026, 10, 31, 16, tzinfo=UTC),
        datetime(2026, 11, 1, 3, tzinfo=UTC),
        datetime(2026, 11, 2, 9, tzinfo=UTC),
        datetime(2026, 11, 2, 18, tzinfo=UTC),
        datetime(2026, 11, 10, 12, tzinfo=UTC),
        datetime(2026, 11, 30, 12, tzinfo=UTC),
        datetime(2026, 12, 1, 12, tzinfo=UTC),
    )  # fmt: skip
    assert (await ask(alice, "getDashboardStats"))["activeDaysThisMonth"] == days


async def test_the_month_changes_where_somebody_is(world: World, alice: Person) -> None:
    """In Auckland it is December while it is still November here."""
    await wants_calls(alice, timezone="Pacific/Auckland")
    await wrote(world, "alice", datetime(2026, 11, 20, 12, tzinfo=UTC))
    assert (await ask(alice, "getDashboardStats"))["activeDaysThisMonth"] == 1
    world.clock.move_to(datetime(2026, 11, 30, 11, 30, tzinfo=UTC))
    assert (await ask(alice, "getDashboardStats"))["activeDaysThisMonth"] == 0


async def test_the_days_of_a_month_hold_until_midnight_where_the_user_is(world: World, alice: Person) -> None:
    """A subscribed query is rerun then, and the month may be another."""
    await wants_calls(alice, timezone="Pacific/Auckland")
    world.clock.move_to(datetime(2026, 11, 30, 10, 30, tzinfo=UTC))
    query, notes = world.app.runtime.registry.of(get_dashboard_stats), Notes()
    await world.app.runtime.call(query, NoArgs(), world.acting_as("user_alice"), notes)
    assert notes.until == datetime(2026, 11, 30, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("getCallJobs", {"limit": 0}), ("getCallJobs", {"limit": 501}), ("getCallJobs", {"limit": 1.5}),
        ("getCallJobs", {"status": "ringing"}), ("getCallJobStats", {"limit": 0}),
        ("getCallJobStats", {"limit": 10_001}), ("getCallSessions", {"limit": 501}), ("getCallSessions", {"limit": -1}),
    ],
    ids=str,
)  # fmt: skip
async def test_lists_have_an_end(alice: Person, name: str, args: dict[str, Any]) -> None:
    """The argument is named."""
    with pytest.raises(FunctionError, match="ArgumentValidationError") as refused:
        await ask(alice, name, **args)
    assert next(iter(args)) in str(refused.value)


async def test_a_page_of_calls_walks_the_index(world: World, alice: Person, bob: Person) -> None:
    """However many calls everybody else has had."""
    await wants_calls(alice)
    await wants_calls(bob, phoneE164="+442079460123")
    await had_calls(world, "bob", 3000)
    await had_calls(world, "alice", 300)
    await has_talked(world, "bob", 3000)
    await has_talked(world, "alice", 300)
    await library.crowd(world, 500)
    for sql, args, index in (
        (JOBS_SQL, ("'user_alice'", "50", "null"), "call_jobs_by_user"),
        (SESSIONS_SQL, ("'user_alice'", "50"), "call_sessions_by_user"),
    ):
        found = library.nodes(await library.plan(world, sql, args, generic=False))
        assert index in {node.get("Index Name") for node in found}
        assert max(node["Actual Rows"] for node in found) <= 51


async def test_a_talk_of_long_ago_is_still_there(world: World, alice: Person) -> None:
    """Nothing is forgotten but with the account."""
    await has_talked(world, "alice", 1)
    # Two nights, with what is cleared away in them at 03:30.
    for _ in range(2):
        await until_due(world, "03:29")
    assert (await ask(alice, "getDashboardStats"))["totalCalls"] == 1
