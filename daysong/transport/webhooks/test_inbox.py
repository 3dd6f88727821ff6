"""The inbox: failed events are listed and replayed; old ones are deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from daysong.features.subscriptions import accounts
from daysong.kernel import inbox
from daysong.kernel.inbox import Event, NoSuchEvent
from daysong.workflows.vendor_events import handle_clerk_event
from rehearsal.calls.phones import until_due, wants_calls
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio


async def statuses(world: World) -> list[str]:
    """The statuses of the events, newest first."""
    return [row["status"] for row in await inbox.listed(world.db.pool, vendor=None, status=None, limit=50)]


async def received(world: World, number: int = 1, body: str | None = None) -> str:
    """Receive an event of Clerk's; return its id. It is not handled yet."""
    body = body or f'{{"type":"user.created","data":{{"id":"user_{number}"}},"timestamp":1795161600000}}'
    event = Event(vendor="clerk", event_id=f"msg_{number}", type="user.created", body=body, subject=f"user_{number}")
    assert await inbox.receive(world.app.runtime, event, handle_clerk_event)
    found: str = await world.db.pool.fetchval("select id from webhook_events where event_id = $1", event.event_id)
    return found


async def drain(world: World, until: timedelta | None = None) -> None:
    """Run the due jobs."""
    await world.app.worker.drain(until=None if until is None else world.clock.now() + until, clock=world.clock)


async def run_retention(world: World) -> None:
    """Move the clock over the next 03:30, when the retention job runs."""
    world.clock.forward((timedelta(hours=27, minutes=29) - since_midnight(world)) % timedelta(days=1))
    await world.pass_time(timedelta(minutes=2))


def since_midnight(world: World) -> timedelta:
    """The time since midnight, UTC."""
    now = world.clock.now()
    return now - now.replace(hour=0, minute=0, second=0, microsecond=0)


async def test_an_event_waits_and_is_handled(world: World) -> None:
    """Both statuses are listed."""
    await received(world)
    assert await statuses(world) == ["waiting"]
    await drain(world)
    assert await statuses(world) == ["handled"]
    assert await world.db.pool.fetchval("select clerk_id from users") == "user_1"


async def test_a_dead_letter_is_listed_and_replayed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handling fails until the retries are used up; later it is replayed once, by hand."""
    event_id = await received(world)
    real = accounts.apply_clerk_update

    async def broken(*_: Any) -> str:
        raise OSError("the moon is in the way")

    monkeypatch.setattr(accounts, "apply_clerk_update", broken)
    await drain(world, timedelta(hours=2))
    [row] = await inbox.listed(world.db.pool, vendor="clerk", status="dead", limit=10)
    assert row["id"] == event_id
    assert row["failures"] == 8
    assert row["last_error"].startswith("OSError in broken")

    monkeypatch.setattr(accounts, "apply_clerk_update", real)
    assert await inbox.replay(world.app.runtime, event_id)
    assert await statuses(world) == ["waiting"]
    assert not await inbox.replay(world.app.runtime, event_id)
    await drain(world)
    assert await statuses(world) == ["handled"]
    assert await world.db.pool.fetchval("select count(*) from users") == 1
    assert await world.db.pool.fetchval("select count(*) from jobs where status = 'dead'") == 0


async def test_replaying_a_handled_event_changes_nothing(world: World) -> None:
    """Handlers are idempotent."""
    event_id = await received(world)
    await drain(world)
    before = dict(await world.db.pool.fetchrow("select * from users"))
    for _ in range(3):
        assert await inbox.replay(world.app.runtime, event_id)
        await drain(world)
    assert dict(await world.db.pool.fetchrow("select * from users")) == before
    row = await inbox.one(world.db.pool, event_id)
    assert (row["status"], row["outcome"], row["replays"]) == ("handled", "nothing new", 3)


async def test_an_event_whose_job_is_gone_is_stranded_and_can_be_replayed(world: World) -> None:
    """This should not happen; the status shows it."""
    event_id = await received(world)
    await world.db.pool.execute("delete from jobs")
    assert await statuses(world) == ["stranded"]
    assert await inbox.replay(world.app.runtime, event_id)
    await drain(world)
    assert await statuses(world) == ["handled"]


async def test_an_event_without_a_handler_cannot_be_replayed(world: World) -> None:
    """Neither an event that was only stored, nor one that does not exist."""
    noted = Event(vendor="clerk", event_id="msg_1", type="moon.risen", body="{}")
    assert await inbox.receive(world.app.runtime, noted, None, outcome="not used")
    [row] = await inbox.listed(world.db.pool, vendor=None, status="handled", limit=10)
    for event_id in (row["id"], "event_nothing"):
        with pytest.raises(NoSuchEvent):
            await inbox.replay(world.app.runtime, event_id)


async def test_g28_bodies_with_transcripts_or_lyrics_are_removed_once_handled(world: World, alice: Person) -> None:
    """The event stays without its body; a replay is refused with the reason."""
    await wants_calls(alice)
    await until_due(world)
    rows = await world.db.pool.fetch("select id, vendor, body from webhook_events where vendor in ('suno', 'vapi')")
    assert {row["vendor"] for row in rows} == {"suno", "vapi"}
    assert {row["body"] for row in rows} == {"{}"}
    for row in rows:
        with pytest.raises(NoSuchEvent, match="was not kept"):
            await inbox.replay(world.app.runtime, row["id"])


async def test_events_are_deleted_thirty_days_after_they_were_handled(world: World) -> None:
    """Unhandled and newer events stay. The cron deletes in batches."""
    await received(world, 1)
    await drain(world)
    await world.db.pool.execute(
        """insert into webhook_events (id, vendor, event_id, type, body, received_at, handled_at)
           select 'old ' || n, 'suno', 'old ' || n, 'text', '', $1, $1 from generate_series(1, 1200) n""",
        world.clock.now() - timedelta(days=31),
    )
    await world.db.pool.execute(
        """insert into webhook_events (id, vendor, event_id, type, body, received_at)
           values ('unhandled', 'suno', 'unhandled', 'text', '', $1)""",
        world.clock.now() - timedelta(days=60),
    )
    await run_retention(world)
    left = await world.db.pool.fetch("select id from webhook_events order by received_at")
    assert len(left) == 2
    assert left[0]["id"] == "unhandled"
    await world.db.pool.execute("update webhook_events set handled_at = $1", world.clock.now() - timedelta(days=40))
    await run_retention(world)
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0


async def test_tombstones_are_deleted_after_a_year(world: World) -> None:
    """Not earlier."""
    await (await world.person("alice")).mutation("users:deleteAccount")
    await run_retention(world)
    assert await world.db.pool.fetchval("select count(*) from tombstones") == 1
    world.clock.forward(timedelta(days=366) - timedelta(minutes=2))
    await run_retention(world)
    assert await world.db.pool.fetchval("select count(*) from tombstones") == 0
