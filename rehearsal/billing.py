"""Short ways to let things happen to subscriptions, and to look at them."""

from __future__ import annotations

from typing import Any

from daysong.kernel.time.clock import to_ms
from rehearsal.world import ADMIN_KEY, Person, World

MONTHLY, YEARLY, WEEKLY = "eveokee_premium_monthly", "eveokee_premium_annual", "eveokee_premium_weekly"
ALICE = "user_alice"
# RevenueCat can be reached and has no answer: the events alone count.
DOWN = {"status": 503}


def admin_of(world: World) -> Person:
    """Whoever holds the admin key."""
    return Person(world, {"Authorization": f"Convex {ADMIN_KEY}"})


async def status(person: Person) -> dict[str, Any]:
    """How somebody stands."""
    found: dict[str, Any] = await person.query("billing:getCurrentUserStatus")
    return found


async def brief(person: Person) -> tuple[str, str, float]:
    """Tier, status, and songs left."""
    found = await status(person)
    return found["tier"], found["status"], found["remainingQuota"]


async def use(person: Person, songs: int) -> None:
    """Use some of the quota."""
    for _ in range(songs):
        assert (await person.mutation("usage:recordCurrentUserMusicGeneration"))["success"]


async def happens(world: World, act: str, who: str = ALICE, **more: Any) -> None:
    """Something happens at RevenueCat, and is told."""
    await world.buys(act, who, **more)
    await world.settle()


async def tell(world: World, **event: Any) -> None:
    """RevenueCat tells of something, whatever it knows itself."""
    now = int(to_ms(world.clock.now()))
    known = {
        "id": f"event at {now} {event}", "event_timestamp_ms": now, "app_user_id": ALICE, "store": "APP_STORE",
        "environment": "PRODUCTION", "product_id": MONTHLY, "entitlement_ids": ["premium"],
    }  # fmt: skip
    (await world.http.post("/sandbox/revenuecat/send", json={"event": known | event})).raise_for_status()
    await world.settle()
