"""Subscribers' histories through the real thing: sandbox, webhooks, inbox, jobs, database, and what the app is told.

The oracle is the one of `test_convergence.py`; what happens to it happens at the sandboxed RevenueCat as well.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daysong.kernel.time.clock import to_ms
from rehearsal.billing import admin_of
from rehearsal.subscribers import ACTS, DAY, PEOPLE, PRODUCTS, STORES, Step, Store
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HISTORIES = 12  # of each kind
STEPS = 7
SANDBOX_ACTS = {"change-now": "change-product", "change-later": "change-product"}


class Life:
    """A history of two people, lived at the sandbox and in the oracle alike."""

    def __init__(self, world: World, seed: int, people: dict[str, Person]) -> None:
        self.world = world
        self.seed = seed
        self.dice = random.Random(seed)  # noqa: S311 - the same history each time
        self.people = people
        self.store = Store(int(to_ms(world.clock.now())))

    async def step(self, number: int) -> None:
        """Let something happen that can."""
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
            product=self.dice.choice(sorted(PRODUCTS)),
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
        """The app shows everybody the plan they have."""
        for who, person in self.people.items():
            status = await person.query("billing:getCurrentUserStatus")
            assert status["tier"] == self.store.tier(who, self.store.now), (who, self.store)
            assert status["isActive"] == (status["status"] != "expired")

    async def ask_about_who_has_nothing(self) -> None:
        """Nightly only those are asked about of whom something is known; the others when they want a song."""
        for who, person in self.people.items():
            if await self.world.db.pool.fetchval(
                """select s.lines = '{}' from subscriptions s join users u on u.id = s.user_id where clerk_id = $1""",
                self._name(who),
            ):
                assert (await person.action("usage:checkUsageWithReconciliation"))["reconciled"]

    async def drain(self) -> None:
        """Deliver what is to be delivered, and run the jobs."""
        await self.world.settle()


async def live(world: World, seed: int) -> Life:
    """The beginning of a history."""
    life = Life(world, seed, {})
    for who in PEOPLE:
        life.people[who] = await world.person(life._name(who).removeprefix("user_"))
    return life


@pytest.mark.parametrize("seed", range(HISTORIES))
async def test_webhooks_twice_and_shuffled(database_url: str, data_dir: Path, seed: int) -> None:
    """RevenueCat is asked after every event, in whatever order they come."""
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
    """Whoever wants to know what is left has it from RevenueCat; for the others there is the night."""
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
    """Every question fails: the events count, twice and shuffled. When it can be asked again, nothing changes."""
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
