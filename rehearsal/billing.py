"""Short helpers that change subscriptions and read them."""

from __future__ import annotations

from typing import Any

from daysong.kernel.time.clock import to_ms
from rehearsal.world import ADMIN_KEY, Person, World

MONTHLY, YEARLY, WEEKLY = "eveokee_premium_monthly", "eveokee_premium_annual", "eveokee_premium_weekly"
ALICE = "user_alice"
# RevenueCat is reachable and returns an error, so only its events count.
DOWN = {"status": 503}


def admin_of(world: World) -> Person:
    """Return a person who holds the admin key."""
    return Person(world, {"Authorization": f"Convex {ADMIN_KEY}"})


async def status(person: Person) -> dict[str, Any]:
    """Return the subscription status of a person."""
    found: dict[str, Any] = await person.query("billing:getCurrentUserStatus")
    return found


async def brief(person: Person) -> tuple[str, str, float]:
    """Return tier, status, and songs left."""
    found = await status(person)
    return found["tier"], found["status"], found["remainingQuota"]


async def use(person: Person, songs: int) -> None:
    """Use this many songs of the quota."""
    for _ in range(songs):
        assert (await person.mutation("usage:recordCurrentUserMusicGeneration"))["success"]


async def happens(world: World, act: str, who: str = ALICE, **more: Any) -> None:
    """Perform an act at RevenueCat and deliver its webhooks."""
    await world.buys(act, who, **more)
    await world.settle()


async def tell(world: World, **event: Any) -> None:
    """Deliver a RevenueCat event, whatever RevenueCat's API returns."""
    now = int(to_ms(world.clock.now()))
    known = {
        "id": f"event at {now} {event}", "event_timestamp_ms": now, "app_user_id": ALICE, "store": "APP_STORE",
        "environment": "PRODUCTION", "product_id": MONTHLY, "entitlement_ids": ["premium"],
    }  # fmt: skip
    (await world.http.post("/sandbox/revenuecat/send", json={"event": known | event})).raise_for_status()
    await world.settle()
