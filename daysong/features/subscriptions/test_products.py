"""Which products are which plans, and that each product a customer has stands for itself."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
import structlog

from daysong.features.subscriptions import store, unmapped
from daysong.features.subscriptions.rules import DURATIONS, PRODUCTS, tier_of
from daysong.kernel.time.clock import to_ms
from rehearsal.billing import DOWN, MONTHLY, WEEKLY, YEARLY, brief, happens, tell
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

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
    assert "known" in await unmapped.check(url, settings, now())
    counted = store.UNMAPPED.labels("premium_for_two")
    before = counted._value.get()
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(store, "log", structlog.get_logger())
        for _ in range(2):
            await happens(world, "purchase", productId="premium_for_two", days=30)
    assert await brief(alice) == ("free", "active", 5)
    alarms = [line for line in lines if line.get("product") == "premium_for_two"]
    assert [line["log_level"] for line in alarms] == ["error"]
    assert counted._value.get() == before + 1
    with pytest.raises(unmapped.UnmappedProducts, match=r"premium_for_two \(1 customers\)"):
        await unmapped.check(url, settings, now())
    known = msgspec.structs.replace(settings.revenuecat, products={"premium_for_two": "monthly"})
    await unmapped.check(url, msgspec.structs.replace(settings, revenuecat=known), now())
    world.clock.forward(timedelta(days=31))
    await unmapped.check(url, settings, now())


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
