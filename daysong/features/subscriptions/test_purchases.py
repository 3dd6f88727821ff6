"""Subscribers' histories through the whole app: sandbox, webhooks, inbox, jobs, database and functions.

The oracle is the one of `test_history.py`; what happens to it happens at the sandboxed RevenueCat as well.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from daysong.features.subscriptions import purchases
from daysong.features.subscriptions.rules import DURATIONS, PRODUCTS, tier_of
from daysong.kernel.time.clock import to_ms
from rehearsal.billing import DOWN, MONTHLY, WEEKLY, YEARLY, admin_of, brief, happens, tell
from rehearsal.subscribers import ACTS, DAY, PEOPLE, STORES, Step, Store
from rehearsal.subscribers import PRODUCTS as SOLD
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HISTORIES = 12  # of each kind
STEPS = 7
SANDBOX_ACTS = {"change-now": "change-product", "change-later": "change-product"}


class Life:
    """A history of two customers, played at the sandbox and in the oracle."""

    def __init__(self, world: World, seed: int, people: dict[str, Person]) -> None:
        self.world = world
        self.seed = seed
        self.dice = random.Random(seed)  # noqa: S311 - the same history each time
        self.people = people
        self.store = Store(int(to_ms(world.clock.now())))

    async def step(self, number: int) -> None:
        """Play a random possible step."""
        after = self.dice.choice(
            (self.dice.randint(1, 3_600_000), self.dice.randint(1, DAY), self.dice.randint(1, 40 * DAY))
        )
        self.world.clock.forward(timedelta(milliseconds=after))
        self.store.now += after
        step = Step(
            act=self.dice.choice(ACTS) if number else "purchase",
            after=0,
            who=self.dice.choice((PEOPLE[0], PEOPLE[0], PEOPLE[1])) if number else PEOPLE[0],
            store=self.dice.choice(STORES),
            product=self.dice.choice(sorted(SOLD)),
            days=self.dice.choice((None, 3, 16)),
        )
        told, about = len(self.store.told), self.store.subscription(step)
        if not self.store.happens(step):
            return
        if step.act == "noise":
            for event in self.store.told[told:]:
                await self._send(event)
            return
        details: dict[str, Any] = {"store": step.store, "productId": step.product, "days": step.days}
        if step.act in {"purchase", "renew", "change-now", "pause"}:
            del details["days"]  # as long as the product lasts
        if step.act != "purchase" and about is not None:
            details["of"] = about.product
        if not step.act.startswith(("purchase", "change")):
            del details["productId"]
        if step.act == "transfer":
            details["to"] = self._name(next(each for each in PEOPLE if each != step.who))
        if step.act in SANDBOX_ACTS:
            details["mode"] = "immediate" if step.act == "change-now" else "deferred"
        given = {name: value for name, value in details.items() if value is not None}
        await self.world.buys(SANDBOX_ACTS.get(step.act, step.act), self._name(step.who), **given)

    def _name(self, who: str) -> str:
        return f"{who}_{self.seed}"

    async def _send(self, event: dict[str, Any]) -> None:
        name = self._name(event["app_user_id"])
        named = {
            **event,
            "id": f"{event['id']} {name}",
            "app_user_id": name,
            "aliases": [],
            "original_app_user_id": name,
        }
        (await self.world.http.post("/sandbox/revenuecat/send", json={"event": named})).raise_for_status()

    async def assert_agree(self) -> None:
        """Assert that the app shows each user's plan."""
        for who, person in self.people.items():
            status = await person.query("billing:getCurrentUserStatus")
            assert status["tier"] == self.store.tier(who, self.store.now), (who, self.store)
            assert status["isActive"] == (status["status"] != "expired")

    async def ask_about_who_has_nothing(self) -> None:
        """Refresh the users without entitlements, as a song would: the nightly run skips them."""
        for who, person in self.people.items():
            if await self.world.db.pool.fetchval(
                """select s.lines = '{}' from subscriptions s join users u on u.id = s.user_id where clerk_id = $1""",
                self._name(who),
            ):
                assert (await person.action("usage:checkUsageWithReconciliation"))["reconciled"]

    async def drain(self) -> None:
        """Deliver all webhooks and run the jobs."""
        await self.world.settle()


async def live(world: World, seed: int) -> Life:
    """Start a history with two accounts."""
    life = Life(world, seed, {})
    for who in PEOPLE:
        life.people[who] = await world.person(life._name(who).removeprefix("user_"))
    return life


@pytest.mark.parametrize("seed", range(HISTORIES))
async def test_webhooks_twice_and_shuffled(database_url: str, data_dir: Path, seed: int) -> None:
    """RevenueCat is asked after every event, in any order of events."""
    async with World(database_url, data_dir, NOW) as world:
        life = await live(world, seed)
        await world.fault("revenuecat", webhooks="shuffled")
        for number in range(STEPS):
            await life.step(number)
            if life.dice.random() < 0.6:
                await life.drain()
                await life.assert_agree()
        await life.drain()
        await life.assert_agree()
        await world.http.post("/sandbox/revenuecat/redeliver")
        await life.drain()
        await life.assert_agree()
        assert {row["status"] for row in await world.db.pool.fetch("select status from jobs")} == {"done"}


@pytest.mark.parametrize("seed", range(HISTORIES, 2 * HISTORIES))
async def test_every_webhook_lost(database_url: str, data_dir: Path, seed: int) -> None:
    """Entitlements are refreshed before a song, and every night."""
    async with World(database_url, data_dir, NOW) as world:
        life = await live(world, seed)
        await world.fault("revenuecat", webhooks="lost")
        for number in range(STEPS):
            await life.step(number)
            life.store.now += DAY
            world.clock.forward(timedelta(days=1))
            if number % 2:
                for person in life.people.values():
                    assert (await person.action("usage:checkUsageWithReconciliation"))["reconciled"]
            else:
                await admin_of(world).action("revenueCatBilling:reconcileStaleSubscriptions")
                await world.pass_time(timedelta(minutes=1))
                life.store.now += 60_000
                await life.ask_about_who_has_nothing()
            await life.assert_agree()


@pytest.mark.parametrize("seed", range(2 * HISTORIES, 3 * HISTORIES))
async def test_revenuecat_cannot_be_asked(database_url: str, data_dir: Path, seed: int) -> None:
    """Every request fails, and the events count, repeated and shuffled. Later answers change nothing."""
    async with World(database_url, data_dir, NOW) as world:
        life = await live(world, seed)
        status = life.dice.choice((500, 503, 423, 429, 401))
        await world.fault("revenuecat", webhooks="shuffled", status=status)
        for number in range(STEPS):
            await life.step(number)
            if life.dice.random() < 0.4:
                await life.drain()
                await life.assert_agree()
        await life.drain()
        await life.assert_agree()
        await world.fault("revenuecat")
        world.clock.forward(timedelta(hours=3))
        life.store.now += 3 * 3_600_000
        await life.drain()
        await life.assert_agree()
        for person in life.people.values():
            assert (await person.action("usage:checkUsageWithReconciliation"))["reconciled"]
        await life.assert_agree()


BOTH_WAYS = pytest.mark.parametrize("faults", [{}, DOWN], ids=["asked", "by events alone"])


@pytest.mark.parametrize("duration", DURATIONS)
def test_g31_a_promotion_of_any_duration_is_its_entitlements_plan(duration: str) -> None:
    """Durations of one word and of two; an entitlement with a similar name is another one."""
    products: dict[str, Any] = {"rc_promo_premium": "monthly", "rc_promo_pro_two": "yearly"}
    assert tier_of(f"rc_promo_premium_{duration}", products) == "monthly"
    assert tier_of(f"rc_promo_pro_two_{duration}", products) == "yearly"
    assert tier_of(f"rc_promo_premium_plus_{duration}", products) is None
    assert tier_of(f"rc_promo_pro_{duration}", products) is None


def test_g31_only_a_duration_is_left_out_of_a_promotions_name() -> None:
    """What is configured with its duration is taken as it stands."""
    products: dict[str, Any] = {"rc_promo_premium": "monthly", "rc_promo_premium_yearly": "yearly"}
    assert tier_of("rc_promo_premium_yearly", products) == "yearly"
    assert tier_of("rc_promo_premium_half_day", products) is None
    assert tier_of("rc_promo_premium_", products) is None


def test_g30_a_play_product_is_its_plans_or_what_the_product_alone_is_said_to_be() -> None:
    """With its base plan first."""
    assert tier_of("eveokee_premium:eveokee-premium-monthly", PRODUCTS) == "monthly"
    assert tier_of("eveokee_premium:another", PRODUCTS) is None
    assert tier_of("bare:plan", {"bare": "weekly"}) == "weekly"


async def test_g31_a_paid_product_in_no_map_alarms_and_is_named(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the log and the metrics once, and by `daysong doctor` until the map is mended or it has ended."""
    now, url, settings = world.clock.now, str(world.settings.database_url), world.settings
    assert "known" in await purchases.check_products(url, settings, now())
    counted = purchases.UNMAPPED.labels("premium_for_two")
    before = counted._value.get()
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(purchases, "log", structlog.get_logger())
        for _ in range(2):
            await happens(world, "purchase", productId="premium_for_two", days=30)
    assert await brief(alice) == ("free", "active", 5)
    alarms = [line for line in lines if line.get("product") == "premium_for_two"]
    assert [line["log_level"] for line in alarms] == ["error"]
    assert counted._value.get() == before + 1
    with pytest.raises(purchases.UnmappedProducts, match=r"premium_for_two \(1 customers\)"):
        await purchases.check_products(url, settings, now())
    known = msgspec.structs.replace(settings.revenuecat, products={"premium_for_two": "monthly"})
    await purchases.check_products(url, msgspec.structs.replace(settings, revenuecat=known), now())
    world.clock.forward(timedelta(days=31))
    await purchases.check_products(url, settings, now())


@BOTH_WAYS
@pytest.mark.parametrize("lesser", [WEEKLY, MONTHLY])
async def test_g32_the_end_of_one_subscription_leaves_the_others_of_its_store(
    world: World, alice: Person, faults: dict[str, Any], lesser: str
) -> None:
    """In whichever order they were bought, also when RevenueCat cannot be asked."""
    await world.fault("revenuecat", **faults)
    await happens(world, "purchase", productId=YEARLY)
    world.clock.forward(timedelta(hours=1))
    await happens(world, "purchase", productId=lesser)
    assert (await brief(alice))[:2] == ("yearly", "active")
    for act in ("cancel", "billing-issue", "refund", "expire"):
        world.clock.forward(timedelta(hours=1))
        await happens(world, act, of=lesser)
        assert (await brief(alice))[:2] == ("yearly", "active")
    await happens(world, "expire", of=YEARLY)
    assert (await brief(alice))[:2] == ("free", "expired")


@BOTH_WAYS
@pytest.mark.parametrize("sold_in", ["APP_STORE", "PLAY_STORE"])
async def test_g32_a_change_of_product_ends_the_old_one(
    world: World, alice: Person, faults: dict[str, Any], sold_in: str
) -> None:
    """A change to a lesser plan at once leaves nothing of the greater one."""
    await world.fault("revenuecat", **faults)
    await happens(world, "purchase", productId=YEARLY, store=sold_in)
    world.clock.forward(timedelta(hours=1))
    await happens(world, "change-product", productId=WEEKLY, store=sold_in)
    assert (await brief(alice))[:2] == ("weekly", "active")


async def test_g32_a_change_is_known_by_its_transaction_when_its_announcement_was_lost(
    world: World, alice: Person
) -> None:
    """The renewal has the original transaction of the old product, and ends that one."""
    await world.fault("revenuecat", **DOWN)
    began = int(to_ms(world.clock.now()))
    sold = {"original_transaction_id": "t", "purchased_at_ms": began}
    await tell(world, **sold, type="INITIAL_PURCHASE", product_id=YEARLY, expiration_at_ms=began + 31_536_000_000)
    world.clock.forward(timedelta(days=1))
    renewed = int(to_ms(world.clock.now()))
    sold |= {"purchased_at_ms": renewed, "expiration_at_ms": renewed + 604_800_000}
    await tell(world, **sold, type="RENEWAL", product_id=WEEKLY)
    assert (await brief(alice))[:2] == ("weekly", "active")
