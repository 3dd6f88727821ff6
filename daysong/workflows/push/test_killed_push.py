"""A worker process is killed between any two steps of a notification; sending.py says what follows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daysong.workflows.push.sending import LookForReceipts, OneOccasion, read_receipts, send_notification
from rehearsal import memories
from rehearsal.processes.killing import Mortals, let_another_worker_finish, mortals, schedule
from rehearsal.world import World, free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SENDER, READER = "pushNotifications:sendNotification", "pushNotifications:readReceipts"
# Two around each of two transactions and one request; the last shows that none was missed.
BOUNDARIES = range(1, 8)

OCCASION = """
    insert into push_occasions (id, user_id, kind, subject, created_at)
    select $2, u.id, 'video_ready', $2, $3 from users u where u.clerk_id = $1"""
SENT = """
    insert into push_deliveries (occasion_id, token_id, state, ticket, sent_at, updated_at)
    select $2, t.id, 'sent', $3, $4, $4 from push_tokens t where t.token = $1"""


@pytest.fixture(scope="module")
def workers() -> Iterator[Mortals]:
    """Workers that are to die."""
    with mortals() as found:
        yield found


@pytest.fixture
async def world(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """A world that other processes are part of."""
    async with World(database_url, data_dir, datetime.now(UTC), port=free_port()) as world:
        await memories.unread(world)
        yield world


def phone(name: object) -> str:
    return f"ExponentPushToken[phone-of-{name}]"


async def has_news(world: World, who: int, name: str = "") -> OneOccasion:
    """A person with a device, and something to tell."""
    person = await world.person(f"alice{who}")
    token = name or phone(f"alice{who}")
    await person.mutation("pushNotifications:registerPushToken", token=token, platform="ios")
    one = OneOccasion(occasion_id=f"occasion_{who}")
    await world.db.pool.execute(OCCASION, f"user_alice{who}", one.occasion_id, datetime.now(UTC))
    return one


async def test_a_killed_worker_never_shows_a_notification_twice(world: World, workers: Mortals) -> None:
    """At each boundary: shown at most once, and lost only where it is not known whether Expo was asked."""
    for boundary in BOUNDARIES:
        one = await has_news(world, boundary)
        await schedule(world, send_notification, one)
        assert await workers.die(world.environ(), boundary, SENDER) is (boundary < BOUNDARIES[-1])
    await let_another_worker_finish(world)
    requests = [message["to"] for call in await world.asked("expo", "/send") for message in call["body"]]
    assert len(requests) == len(set(requests))
    world.clock.move_to(world.clock.now() + timedelta(minutes=16))
    await world.settle()
    rows = await world.db.pool.fetch("select state from push_deliveries order by occasion_id")
    states = [(row["state"], phone(f"alice{who}") in requests) for who, row in zip(BOUNDARIES, rows, strict=True)]
    assert states == [
        ("delivered", True),  # before the devices were chosen
        ("lost", False),  # after, before Expo was asked
        ("lost", False),
        ("lost", True),  # after Expo was asked, before its tickets were recorded
        ("lost", True),
        ("delivered", True),  # after
        ("delivered", True),  # not killed
    ]


async def test_a_killed_reader_of_receipts_loses_none(world: World, workers: Mortals) -> None:
    """Whenever it dies, each receipt is read, and a token that is gone goes."""
    count = 6
    for boundary in range(1, count + 1):
        one = await has_news(world, boundary, f"ExponentPushToken[receipt-DeviceNotRegistered-{boundary}]")
        now, token = datetime.now(UTC), f"ExponentPushToken[receipt-DeviceNotRegistered-{boundary}]"
        headers = {"Authorization": f"Bearer {world.settings.expo.access_token}"}
        sent = await world.http.post("/sandbox/expo/--/api/v2/push/send", json=[{"to": token}], headers=headers)
        await world.db.pool.execute(SENT, token, one.occasion_id, sent.json()["data"][0]["id"], now)
        await schedule(world, read_receipts, LookForReceipts(occasion_id=one.occasion_id))
        await workers.die(world.environ(), boundary, READER)
    await let_another_worker_finish(world)
    assert await world.db.pool.fetchval("select count(*) from push_tokens") == 0
