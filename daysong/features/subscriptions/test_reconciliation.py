"""Every night each subscriber is verified once, despite failures and killed workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daysong.features.subscriptions import reconciliation, revenuecat_billing
from daysong.features.subscriptions.revenuecat_billing import Answer, Subscriber
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.time.clock import from_ms
from rehearsal.billing import MONTHLY, admin_of, happens, status
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, 23, 59, tzinfo=UTC)
MANY = 70
PAGE = 20

# Subscriber n was verified n hours before noon, every tenth never. All have an old purchase, except some at the end.
FILL = """
    with numbers as (select n from generate_series(1, $1::int) n),
         made as (
             insert into users (id, clerk_id, created_at, updated_at)
             select 'user_' || n, 'clerk_' || n, $2, $2 from numbers returning id)
    insert into subscriptions (id, user_id, last_reset_at, verified_at, created_at, updated_at, lines)
    select 'sub_' || id, id, $2, case when n % 10 > 0 then $2 - (n + 12) * interval '1 hour' end, $2, $2, $3::jsonb
    from numbers join made on id = 'user_' || n"""


LONG_AGO = {"period": 0, "product": MONTHLY, "tier": "monthly", "expires_at": "2020-01-01T00:00:00Z"}


@pytest.fixture
async def world(database_url: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """The whole app just before midnight, with many users and small pages."""
    monkeypatch.setattr(reconciliation, "PAGE", PAGE)
    async with World(database_url, data_dir, NOW) as whole:
        await whole.db.pool.execute(FILL, MANY, NOW, {f"PRODUCTION/APP_STORE/{MONTHLY}": LONG_AGO})
        yield whole


async def night(world: World) -> None:
    """Run the jobs of midnight and some minutes after it."""
    await world.pass_time(timedelta(minutes=6))


async def unverified(world: World) -> set[str]:
    """Return the users who were not verified tonight."""
    rows = await world.db.pool.fetch(
        "select user_id from subscriptions where verified_at is null or verified_at < $1", NOW
    )
    return {row["user_id"] for row in rows}


async def questions(world: World) -> Counter[str]:
    """Count the requests to RevenueCat by customer."""
    return Counter(call["path"].split("/")[5] for call in await world.asked("revenuecat", "/subscriptions"))


async def test_f52_all_are_verified_and_failures_do_not_block_the_rest(world: World) -> None:
    """Some customers always fail: all others are verified, the oldest verification first."""
    await world.fault("revenuecat", path="clerk_7", status=400)  # 7 and 70
    await night(world)
    assert await unverified(world) == {"user_7", "user_70"}
    asked = [call["path"].split("/")[5] for call in await world.asked("revenuecat", "/subscriptions")]
    order = [name for name in dict.fromkeys(asked) if name.startswith("clerk_")]
    assert len(order) == MANY
    never = {f"clerk_{n}" for n in range(10, MANY + 1, 10)}
    assert set(order[: len(never)]) == never
    hours = [int(name.removeprefix("clerk_")) for name in order[len(never) :]]
    assert hours == sorted(hours, reverse=True)
    assert max((await questions(world)).values()) == 1

    await world.http.delete("/sandbox/revenuecat/log")
    world.clock.move_to(NOW + timedelta(days=1))
    await night(world)
    assert await unverified(world) == {"user_7", "user_70"}
    assert sum((await questions(world)).values()) >= MANY
    await world.fault("revenuecat")
    world.clock.move_to(NOW + timedelta(days=2))
    await night(world)
    assert await unverified(world) == set()


async def test_f52_using_songs_is_no_verification(world: World) -> None:
    """Only RevenueCat's answer verifies: an active subscriber is asked about too."""
    alice = await world.person("alice")
    await world.db.pool.execute(
        """update subscriptions s set lines = $1 from users u where u.id = s.user_id and clerk_id = 'user_alice'""",
        {f"PRODUCTION/APP_STORE/{MONTHLY}": LONG_AGO},
    )
    for _ in range(3):
        assert (await alice.mutation("usage:recordCurrentUserMusicGeneration"))["success"]
    assert await world.db.pool.fetchval("select verified_at from subscriptions s join users u on u.id = s.user_id "
                                        "where clerk_id = 'user_alice'") is None  # fmt: skip
    await world.fault("revenuecat", webhooks="lost")
    await happens(world, "purchase", productId=MONTHLY)
    await night(world)
    assert (await status(alice))["tier"] == "monthly"


async def test_a_killed_run_continues(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is killed in the middle of every page: all are verified, and answered ones are not asked about again."""
    real, asked, answered = revenuecat_billing.fetch, 0, Counter[str]()

    async def fetch(ctx: Any, person: Subscriber) -> Answer:
        nonlocal asked
        asked += 1
        if asked % 11 == 0:
            raise asyncio.CancelledError
        answered[person.user_id] += 1
        return await real(ctx, person)

    monkeypatch.setattr(reconciliation, "fetch", fetch)
    for _ in range(12):
        try:
            await world.pass_time(timedelta(minutes=1))
        except asyncio.CancelledError:
            # The worker is killed; another one takes the job.
            await world.db.pool.execute("update jobs set status = 'queued' where status = 'running'")
    assert await unverified(world) == set()
    assert len(answered) == MANY
    # Requests in flight when the worker was killed are repeated.
    assert sum(count > 1 for count in answered.values()) <= asked // 11 * reconciliation.CONCURRENCY


async def test_a_rate_limited_page_waits_and_continues(world: World) -> None:
    """After a 429 with Retry-After, the page waits that long, and skips the customers already answered."""
    await world.fault("revenuecat", path="clerk_10/", times=1, status=429, retryAfter=60)
    await world.app.worker.drain(until=NOW + timedelta(minutes=1), clock=world.clock)
    first = sum((await questions(world)).values())
    assert first < 2 * PAGE
    await world.app.worker.drain(until=NOW + timedelta(minutes=1, seconds=29), clock=world.clock)
    assert sum((await questions(world)).values()) == first
    await world.pass_time(timedelta(minutes=6))
    assert await unverified(world) == set()
    assert {name for name, count in (await questions(world)).items() if count > 1} == {"clerk_10", "user_10"}


@pytest.mark.parametrize(("faults", "left"), [({"status": 503}, 0), ({"status": 401}, PAGE)])
async def test_a_night_without_revenuecat_is_retried(world: World, faults: dict[str, Any], left: int) -> None:
    """Temporary failures are retried; permanent ones, such as a wrong key, in the next night."""
    await world.fault("revenuecat", **faults)
    await world.app.worker.drain(until=NOW + timedelta(minutes=1), clock=world.clock)
    assert 0 < sum((await questions(world)).values()) <= 2 * PAGE
    assert len(await unverified(world)) == MANY
    await world.fault("revenuecat")
    await world.pass_time(timedelta(minutes=5))
    assert len(await unverified(world)) == left
    assert await world.db.pool.fetchval("select count(*) from jobs where status = 'dead'") == 0


async def test_concurrency_is_limited_and_pages_are_serial(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """RevenueCat's rate limit is shared by all requests."""
    real, running, most = revenuecat_billing.fetch, 0, 0

    async def fetch(ctx: Any, person: Subscriber) -> Answer:
        nonlocal running, most
        running, most = running + 1, max(most, running + 1)
        try:
            await asyncio.sleep(0)
            return await real(ctx, person)
        finally:
            running -= 1

    monkeypatch.setattr(reconciliation, "fetch", fetch)
    await night(world)
    assert 1 < most <= reconciliation.CONCURRENCY
    times = Counter(call["time"] for call in await world.asked("revenuecat", "clerk_"))
    assert len(times) == 4
    pause = reconciliation.PAUSE.total_seconds() * 1000
    assert min(later - sooner for sooner, later in zip(sorted(times), sorted(times)[1:], strict=False)) >= pause


async def test_g33_users_without_purchases_and_events_are_skipped(world: World) -> None:
    """Free accounts cost no requests."""
    await world.db.pool.execute("update subscriptions set lines = '{}' where id <> 'sub_user_5'")
    told = {"events": [{"id": "e", "type": "TRANSFER", "at": 1}]}
    await world.db.pool.execute("update subscriptions set told = $1 where id = 'sub_user_6'", told)
    await night(world)
    assert set(await questions(world)) == {"clerk_5", "user_5", "clerk_6", "user_6"}


async def test_g33_one_run_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second start is refused while a run is in progress; a page of an abandoned run does nothing."""
    real, pages = reconciliation._verify, list[float]()

    async def verify(ctx: Any, page: Any) -> Any:
        running = await world.db.pool.fetch("select args from jobs where status = 'running' and function like '%Page'")
        pages.extend(row["args"]["startedAt"] for row in running)
        assert len(running) == 1
        return await real(ctx, page)

    monkeypatch.setattr(reconciliation, "_verify", verify)
    name = "revenueCatBilling:beginReconciliation"
    begun = await asyncio.gather(*(world.app.call(name, {}, caller=SYSTEM) for _ in range(5)))
    assert sorted(begun) == [False] * 4 + [True]
    await world.app.worker.drain(until=None, clock=world.clock)
    world.clock.forward(timedelta(minutes=1))
    assert not await world.app.call(name, {}, caller=SYSTEM)
    # The worker never returns, and another run starts.
    world.clock.forward(reconciliation.ABANDONED)
    assert await world.app.call(name, {}, caller=SYSTEM)
    await world.pass_time(timedelta(minutes=3))
    first, *others = dict.fromkeys(pages)
    assert len(others) == 1
    assert pages.count(first) == 1
    assert await unverified(world) == set()
    assert await world.db.pool.fetchval("select finished_at is not null from reconciliation_runs")
    assert await world.app.call(name, {}, caller=SYSTEM)


async def test_g33_a_deferred_request_delays_the_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deferred page makes no requests and uses no attempt."""
    real, waits = revenuecat_billing.fetch, 3

    async def fetch(ctx: Any, person: Subscriber) -> Answer:
        nonlocal waits
        if waits:
            waits -= 1
            raise Deferred("revenuecat", 20)
        return await real(ctx, person)

    monkeypatch.setattr(reconciliation, "fetch", fetch)
    await world.pass_time(timedelta(minutes=8))
    assert await unverified(world) == set()
    assert max((await questions(world)).values()) == 1
    assert await world.db.pool.fetchval("select max(failures) from jobs") == 0


async def test_the_internal_functions(world: World) -> None:
    """The internal functions return what they document."""
    admin = admin_of(world)
    stale = await admin.query("revenueCatBilling:getStaleSubscriptions", limit=3)
    assert [each["verifiedAt"] for each in stale] == [None, None, None]
    last = stale[-1]
    following = await admin.query(
        "revenueCatBilling:getStaleSubscriptions",
        after={"verifiedAt": last["verifiedAt"], "subscriptionId": last["subscriptionId"]},
        limit=100,
    )
    assert len(following) == MANY - 3
    await world.buys("purchase", "clerk_5", productId=MONTHLY)
    assert await admin.action("revenueCatBilling:reconcileSubscription", userId="user_5") == {"changed": True}
    assert await admin.action("revenueCatBilling:reconcileSubscription", userId="user_5") == {"changed": False}
    later = int(world.clock.now().timestamp() * 1000) + 1
    # RevenueCat no longer knows the customer: entitlements last until they end.
    world.sandbox.revenuecat.customers = type(world.sandbox.revenuecat.customers)()
    assert await admin.action("revenueCatBilling:reconcileSubscription", userId="user_5") == {"changed": False}
    assert await world.db.pool.fetchval("select status from subscriptions where user_id = 'user_5'") == "active"
    world.clock.forward(timedelta(seconds=1))
    data = {"askedAt": later, "customer": {"purchases": []}}
    assert await admin.mutation("revenueCatBilling:reconcileSingleSubscription", subscriptionId="sub_user_5", **data)
    row = await world.db.pool.fetchrow("select status, verified_at from subscriptions where user_id = 'user_5'")
    assert row is not None
    assert (row["status"], row["verified_at"]) == ("expired", from_ms(later))
    assert not (await admin.mutation("revenueCatBilling:reconcileSubscriptionWithData", userId="user_5", **data))[
        "changed"
    ]
    for kind, path, args in (
        ("action", "reconcileSubscription", {"userId": "user_0"}),
        ("mutation", "reconcileSubscriptionWithData", {"userId": "user_0", **data}),
        ("mutation", "reconcileSingleSubscription", {"subscriptionId": "sub_0", **data}),
    ):
        with pytest.raises(FunctionError, match="User not found"):
            await admin.call(kind, f"revenueCatBilling:{path}", args)


async def test_users_cannot_call_internal_functions(world: World) -> None:
    """Users cannot call the internal functions."""
    alice: Person = await world.person("alice")
    for kind, path in (
        ("mutation", "updateSubscriptionFromWebhook"), ("action", "reconcileSubscription"),
        ("mutation", "reconcileSubscriptionWithData"), ("mutation", "reconcileSingleSubscription"),
        ("query", "getStaleSubscriptions"), ("action", "reconcileStaleSubscriptions"),
    ):  # fmt: skip
        with pytest.raises(FunctionError, match="Could not find"):
            await alice.call(kind, f"revenueCatBilling:{path}", {})
