"""Regression tests of subscriptions, with and without RevenueCat's answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daysong.features.subscriptions.quotas import usage
from daysong.kernel.ids import UserId
from daysong.kernel.time.clock import to_ms
from rehearsal.billing import ALICE, DOWN, MONTHLY, WEEKLY, YEARLY, brief, happens, status, tell, use
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BOTH_WAYS = pytest.mark.parametrize("faults", [{}, DOWN], ids=["asked", "by events alone"])


@BOTH_WAYS
async def test_f45_a_cancelled_plan_is_good_until_it_ends_and_toggling_renewal_refills_nothing(
    world: World, alice: Person, faults: dict[str, Any]
) -> None:
    """The paid period lasts to its end, and usage is never reset."""
    await world.fault("revenuecat", **faults)
    await happens(world, "purchase", productId=MONTHLY)
    await use(alice, 8)
    world.clock.forward(timedelta(days=10))
    for act, shown in (("cancel", "canceled"), ("uncancel", "active"), ("cancel", "canceled")):
        await happens(world, act)
        assert await brief(alice) == ("monthly", shown, 82)
        world.clock.forward(timedelta(minutes=1))
    world.clock.move_to(NOW + timedelta(days=30) - timedelta(seconds=1))
    assert await brief(alice) == ("monthly", "canceled", 82)
    world.clock.move_to(NOW + timedelta(days=30))
    assert await brief(alice) == ("free", "expired", 5)  # a new period


async def test_f45_losing_and_regaining_a_plan_refills_nothing(world: World, alice: Person) -> None:
    """A plan is refunded and bought again five times in one period."""
    for _ in range(5):
        await happens(world, "purchase", productId=MONTHLY)
        world.clock.forward(timedelta(hours=1))
        await use(alice, 4)
        await happens(world, "refund")
        assert (await status(alice))["tier"] == "free"
        world.clock.forward(timedelta(hours=1))
    assert await brief(alice) == ("free", "expired", 0)
    await happens(world, "purchase", productId=MONTHLY)
    assert await brief(alice) == ("monthly", "active", 70)


@BOTH_WAYS
async def test_f46_a_late_expiration_of_an_older_period_ends_nothing(
    world: World, alice: Person, faults: dict[str, Any]
) -> None:
    """Neither a late delivery nor a late event ends the newer period."""
    await world.fault("revenuecat", **faults)
    await happens(world, "purchase", productId=MONTHLY)
    world.clock.forward(timedelta(days=30))
    await happens(world, "renew")
    began, ends = int(to_ms(NOW)), int(to_ms(NOW + timedelta(days=30)))
    for made in (ends, ends + 1, ends + 3_600_000):
        world.clock.forward(timedelta(hours=1))
        await tell(
            world, type="EXPIRATION", event_timestamp_ms=made, purchased_at_ms=began, expiration_at_ms=ends,
            expiration_reason="BILLING_ERROR",
        )  # fmt: skip
        assert await brief(alice) == ("monthly", "active", 90)


@BOTH_WAYS
@pytest.mark.parametrize(
    "kind",
    ["SUBSCRIPTION_EXTENDED", "SUBSCRIPTION_PAUSED", "NON_RENEWING_PURCHASE", "INVOICE_ISSUANCE", "TEST", "NEW_TYPE"],
)
async def test_f47_informational_events_change_nothing(
    world: World, alice: Person, kind: str, faults: dict[str, Any]
) -> None:
    """A paid plan stays paid, and a free plan stays free."""
    await world.fault("revenuecat", **faults)
    await happens(world, "purchase", productId=MONTHLY)
    bob = await world.person("bob")
    ends = int(to_ms(NOW + timedelta(days=30)))
    for who in (ALICE, "user_bob"):
        world.clock.forward(timedelta(minutes=1))
        await tell(
            world, type=kind, app_user_id=who, purchased_at_ms=int(to_ms(NOW)),
            expiration_at_ms=ends if kind != "INVOICE_ISSUANCE" else None, entitlement_ids=None,
            auto_resume_at_ms=ends + 1,
        )  # fmt: skip
    assert await brief(alice) == ("monthly", "active", 90)
    if kind != "SUBSCRIPTION_EXTENDED" or not faults:  # an extension alone implies a purchase
        assert await brief(bob) == ("free", "active", 5)


@BOTH_WAYS
async def test_f48_grants_reversed_refunds_experiments_and_transfers_are_understood(
    world: World, alice: Person, faults: dict[str, Any]
) -> None:
    """Each of these events is handled."""
    bob = await world.person("bob")
    await world.fault("revenuecat", **faults)
    await happens(world, "grant", productId=MONTHLY, store="PLAY_STORE")
    assert (await status(alice))["tier"] == "monthly"
    world.clock.forward(timedelta(days=1))
    assert (await status(alice))["tier"] == "free"
    await happens(world, "purchase", productId=YEARLY)
    world.clock.forward(timedelta(hours=1))
    await happens(world, "refund")
    assert (await status(alice))["tier"] == "free"
    world.clock.forward(timedelta(hours=1))
    await happens(world, "reverse-refund")
    assert (await status(alice))["tier"] == "yearly"
    await tell(world, type="EXPERIMENT_ENROLLMENT", product_id=None)
    world.clock.forward(timedelta(hours=1))
    await happens(world, "transfer", to="user_bob")
    assert ((await status(alice))["tier"], (await status(bob))["tier"]) == ("free", "yearly")
    answers = (await world.http.get("/sandbox/revenuecat/webhooks")).json()
    assert {answer["status"] for answer in answers[:-2]} == {200}


@BOTH_WAYS
async def test_f49_a_purchase_in_a_stores_sandbox_grants_nothing(
    database_url: str, data_dir: Path, faults: dict[str, Any]
) -> None:
    """Neither an event nor an answer grants it, unless ACCEPT_SANDBOX is on."""
    for environ, tier in (({}, "free"), ({"ACCEPT_SANDBOX": "1"}, "yearly")):
        async with World(database_url, data_dir, NOW, dict(environ)) as world:
            await world.db.empty()
            alice = await world.person("alice")
            await world.fault("revenuecat", **faults)
            await happens(world, "purchase", productId=YEARLY, environment="SANDBOX")
            assert (await status(alice))["tier"] == tier
            await world.fault("revenuecat")
            world.clock.forward(timedelta(hours=1))
            assert (await alice.action("usage:checkUsageWithReconciliation"))["tier"] == tier


async def test_f50_a_lost_purchase_and_a_lost_expiration_are_recovered(world: World, alice: Person) -> None:
    """An answer finds the plan and product; an ended plan has the limit of the free plan."""
    await world.fault("revenuecat", webhooks="lost")
    await happens(world, "purchase", productId=MONTHLY)
    assert await brief(alice) == ("free", "active", 5)
    checked = await alice.action("usage:checkUsageWithReconciliation")
    assert (checked["tier"], checked["limit"], checked["reconciled"]) == ("monthly", 90, True)
    assert await world.db.pool.fetchval("select product_id from subscriptions") == MONTHLY
    world.clock.forward(timedelta(days=2))
    await happens(world, "refund")
    assert await brief(alice) == ("monthly", "active", 90)
    checked = await alice.action("usage:checkUsageWithReconciliation")
    assert (checked["tier"], checked["limit"]) == ("free", 5)
    assert await brief(alice) == ("free", "expired", 5)


async def test_f50_a_song_refreshes_the_entitlements(world: World, alice: Person) -> None:
    """The webhook is lost and the free songs are used, and the song is still made."""
    await use(alice, 5)
    await world.fault("revenuecat", webhooks="lost")
    await happens(world, "purchase", productId=WEEKLY)
    started = await alice.action("music:startDiaryMusicGeneration", content="Rain")
    assert (started["success"], started["remainingQuota"]) == (True, 14)


async def test_f51_a_grace_period_ends_by_itself_and_a_free_plan_does_not_expire(
    world: World, alice: Person, admin: Person
) -> None:
    """A grace period needs no event to end, and no event expires a free plan."""
    bob = await world.person("bob")
    await happens(world, "purchase", productId=MONTHLY)
    world.clock.forward(timedelta(days=30))
    await happens(world, "billing-issue", days=16)
    assert await brief(alice) == ("monthly", "in_grace", 90)
    world.clock.forward(timedelta(days=16) - timedelta(milliseconds=1))
    assert await brief(alice) == ("monthly", "in_grace", 90)
    world.clock.forward(timedelta(milliseconds=1))
    assert await brief(alice) == ("free", "expired", 5)
    for _ in range(2):
        await admin.action("revenueCatBilling:reconcileStaleSubscriptions")
        await world.settle()
        world.clock.forward(timedelta(days=1))
    assert await brief(bob) == ("free", "active", 5)
    assert await world.db.pool.fetchval("select count(*) from subscription_log where tier = 'free'") <= 1


async def test_f53_all_functions_return_the_same_numbers(world: World, alice: Person, admin: Person) -> None:
    """All functions agree during a yearly plan's thirty-day period and after it."""
    user_id = await world.db.pool.fetchval("select id from users")
    for act in (None, "purchase", "cancel"):
        if act is not None:
            await happens(world, act, productId=YEARLY)
        await use(alice, 2)
        for _ in range(3):
            shown = await status(alice)
            assert shown["periodEnd"] - shown["periodStart"] == timedelta(days=30) / timedelta(milliseconds=1)
            used = await alice.query("usage:getCurrentUserUsage")
            can = await alice.query("usage:canCurrentUserGenerateMusic")
            inside = await admin.query("usage:getUsageSnapshot", userId=user_id)
            profile = (await alice.query("users:getUserProfile"))["subscription"]
            assert {name: profile[name] for name in shown} == shown
            checked = await alice.action("usage:checkUsageWithReconciliation")
            quota = await usage.quota_of(world.db.one_statement(), UserId(user_id), world.clock.now())
            assert {
                (shown["tier"], shown["musicGenerationsUsed"], shown["musicLimit"], shown["remainingQuota"]),
                (used["tier"], used["musicGenerationsUsed"], used["musicLimit"], used["remainingQuota"]),
                (can["tier"], can["currentUsage"], can["limit"], can["remainingQuota"]),
                (inside["tier"], inside["currentUsage"], inside["limit"], inside["remainingQuota"]),
                (checked["tier"], checked["currentUsage"], checked["limit"], checked["remainingQuota"]),
                (quota.tier, quota.used, quota.limit, quota.remaining),
            } == {(shown["tier"], shown["musicGenerationsUsed"], shown["musicLimit"], shown["remainingQuota"])}
            assert (used["periodStart"], used["periodEnd"]) == (shown["periodStart"], shown["periodEnd"])
            world.clock.forward(timedelta(days=10))


async def test_f54_refunds_count_in_their_period_periods_do_not_drift_and_custom_limits_stay(
    world: World, alice: Person, admin: Person
) -> None:
    """A song charged in one period and refunded in the next does not add to the next."""
    user_id = UserId(await world.db.pool.fetchval("select id from users"))
    await world.db.pool.execute("update subscriptions set custom_music_limit = 3")
    charge = await world.db.mutate(lambda tx: usage.charge(tx, user_id, world.clock.now()))
    assert charge is not None
    for period in range(1, 8):
        # Never read exactly at the start of a period.
        world.clock.move_to(NOW + timedelta(days=30 * period, hours=5 * period))
        assert (await status(alice))["periodStart"] == to_ms(NOW + timedelta(days=30 * period))
    await use(alice, 2)
    for _ in range(3):
        await world.db.mutate(lambda tx: usage.refund(tx, charge, "late", world.clock.now()))
    assert (await status(alice))["remainingQuota"] == 1
    assert await world.db.pool.fetchval("select count(*) from usage_refunds") == 1
    await happens(world, "purchase", productId=YEARLY)
    assert await brief(alice) == ("yearly", "active", 1)
    decremented = [await admin.mutation("usage:decrementMusicGeneration", userId=user_id) for _ in range(4)]
    assert [each["success"] for each in decremented] == [True, True, False, False]
    assert decremented[-1]["remainingQuota"] == 3


ANONYMOUS = "$RCAnonymousID:00000000000000000000000000000001"


@BOTH_WAYS
async def test_f55_purchases_before_the_account_are_claimed(world: World, faults: dict[str, Any]) -> None:
    """Bought under the Clerk id, or under an alias that is matched with the account."""
    await world.fault("revenuecat", **faults)
    await world.buys("purchase", ANONYMOUS, productId=MONTHLY)
    await world.buys("purchase", "user_carol", productId=YEARLY, store="PLAY_STORE")
    await world.settle()
    assert await world.db.pool.fetchval("select count(*) from parked_customers") == 2
    world.clock.forward(timedelta(minutes=1))
    await happens(world, "alias", "user_dave", to=ANONYMOUS)
    assert await world.db.pool.fetchval("select count(*) from parked_customers") == 2
    for name, tier in (("carol", "yearly"), ("dave", "monthly"), ("erin", "free")):
        assert (await status(await world.person(name)))["tier"] == tier
    assert await world.db.pool.fetchval("select count(*) from parked_customers") == 0


@BOTH_WAYS
async def test_f55_an_unknown_customer_is_matched_when_an_alias_arrives(
    world: World, alice: Person, faults: dict[str, Any]
) -> None:
    """The alias is remembered; and an event with the user id is about that account."""
    await world.fault("revenuecat", **faults)
    await happens(world, "purchase", ANONYMOUS, productId=MONTHLY)
    world.clock.forward(timedelta(minutes=1))
    await happens(world, "alias", ALICE, to=ANONYMOUS)
    assert (await status(alice))["tier"] == "monthly"
    world.clock.forward(timedelta(minutes=1))
    await happens(world, "cancel", ANONYMOUS)
    assert (await status(alice))["status"] == "canceled"
    bob = await world.person("bob")
    await happens(world, "purchase", "user_bob", productId=YEARLY, store="PLAY_STORE")
    await happens(world, "expire", "user_bob", store="PLAY_STORE")
    world.clock.forward(timedelta(minutes=1))
    bobs = await world.db.pool.fetchval("select id from users where clerk_id = 'user_bob'")
    await happens(world, "purchase", bobs, productId=WEEKLY)
    assert (await status(bob))["tier"] == "weekly"
    assert await world.db.pool.fetchval("select count(*) from parked_customers") == 0


async def test_f55_a_transfer_to_an_unknown_customer_is_claimed_later(world: World, alice: Person) -> None:
    """A transfer to an unclaimed customer takes effect at once, and is claimed with the account."""
    await world.fault("revenuecat", **DOWN)
    await happens(world, "purchase", productId=MONTHLY)
    world.clock.forward(timedelta(minutes=1))
    await happens(world, "transfer", to=ANONYMOUS)
    assert (await status(alice))["tier"] == "free"
    bob = await world.person("bob")
    world.clock.forward(timedelta(minutes=1))
    await happens(world, "alias", "user_bob", to=ANONYMOUS)
    assert (await status(bob))["tier"] == "monthly"
