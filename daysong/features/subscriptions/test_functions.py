"""The functions of `billing` and `usage`."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daysong.features.subscriptions import revenuecat_billing
from rehearsal.billing import use
from rehearsal.world import ADMIN_KEY, FunctionError, Person, World

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def test_the_plans_are_those_that_are_sold(nobody: Person) -> None:
    """Anonymous callers get them too."""
    assert await nobody.query("billing:getPlans") == [
        {"tier": "free", "musicLimit": 5, "periodDays": 30, "price": 0},
        {"tier": "weekly", "musicLimit": 20, "periodDays": 7, "price": 3.99},
        {"tier": "monthly", "musicLimit": 90, "periodDays": 30, "price": 9.99},
        {"tier": "yearly", "musicLimit": 1200, "periodDays": 365, "price": 99.99},
    ]


async def test_an_anonymous_caller_has_no_quota(world: World, nobody: Person, admin: Person) -> None:
    """Without a token or an account there is no subscription and no quota."""
    zero = {"canGenerate": False, "tier": "free", "currentUsage": 0, "limit": 0, "remainingQuota": 0}
    somebody = base64.b64encode(json.dumps({"subject": "user_x", "issuer": "https://x"}).encode()).decode()
    acting = Person(world, {"Authorization": f"Convex {ADMIN_KEY}:{somebody}"})
    for person in (nobody, acting):
        assert await person.query("billing:getCurrentUserStatus") is None
        assert await person.query("usage:getCurrentUserUsage") is None
        assert await person.query("usage:canCurrentUserGenerateMusic") == zero
    for person, kind, message in (
        (nobody, "unauthorized", "Unauthorized"),
        (acting, "user_not_found", "User not found"),
    ):
        with pytest.raises(FunctionError) as refused:
            await person.action("usage:checkUsageWithReconciliation")
        assert refused.value.data == {"code": kind, "message": message}
    with pytest.raises(FunctionError, match="Unauthorized"):
        await nobody.mutation("usage:recordCurrentUserMusicGeneration")
    for path in ("usage:recordMusicGeneration", "usage:decrementMusicGeneration", "billing:createFreeSubscription"):
        with pytest.raises(FunctionError, match="User not found"):
            await admin.mutation(path, userId="user_nobody")


async def test_the_last_song_is_counted_and_the_next_refused(world: World, alice: Person, admin: Person) -> None:
    """The public and the internal function return the quota; a second subscription is never created."""
    user_id = await world.db.pool.fetchval("select id from users")
    await use(alice, 4)
    said = await admin.mutation("usage:recordMusicGeneration", userId=user_id)
    assert said == {"success": True, "currentUsage": 5, "limit": 5, "remainingQuota": 0, "tier": "free"}
    said = await alice.mutation("usage:recordCurrentUserMusicGeneration")
    assert (said["success"], said["code"], said["currentUsage"]) == (False, "USAGE_LIMIT_REACHED", 5)
    opened = await admin.mutation("billing:createFreeSubscription", userId=user_id)
    assert opened == await admin.mutation("billing:createFreeSubscription", userId=user_id)
    assert (await alice.query("usage:canCurrentUserGenerateMusic"))["canGenerate"] is False


async def test_the_charge_of_a_song_in_progress_is_not_refunded(world: World, alice: Person, admin: Person) -> None:
    """The charge of a song in progress is refunded only when the song fails."""
    await alice.action("music:startDiaryMusicGeneration", content="Rain")
    user_id = await world.db.pool.fetchval("select id from users")
    assert not (await admin.mutation("usage:decrementMusicGeneration", userId=user_id))["success"]
    assert (await alice.query("usage:getCurrentUserUsage"))["musicGenerationsUsed"] == 1


@pytest.mark.parametrize(
    "faults", [{"status": 500}, {"hang": True}, {"drop": True}, {"answer": "garbage"}, {"status": 401}]
)
async def test_a_song_can_be_made_while_revenuecat_is_down(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch, faults: dict[str, Any]
) -> None:
    """Neither an error nor a timeout of RevenueCat stops a song."""
    monkeypatch.setattr(revenuecat_billing, "TIMEOUT", 0.2)
    await world.fault("revenuecat", **faults)
    checked = await alice.action("usage:checkUsageWithReconciliation")
    assert (checked["canGenerate"], checked["reconciled"]) == (True, False)
    assert (await alice.action("music:startDiaryMusicGeneration", content="Rain"))["success"]


@pytest.mark.parametrize("unanswered", ["user_alice", "user_bob"])
async def test_a_transfer_with_one_answer_is_applied_to_both_sides(
    world: World, alice: Person, bob: Person, unanswered: str
) -> None:
    """Exactly one side has the subscription."""
    await world.buys("purchase", "user_alice", productId="eveokee_premium_monthly")
    await world.settle()
    world.clock.forward(timedelta(hours=1))
    await world.fault("revenuecat", path=unanswered, status=503)
    await world.buys("transfer", "user_alice", to="user_bob")
    await world.settle()
    for _ in range(2):
        tiers = [(await person.query("billing:getCurrentUserStatus"))["tier"] for person in (alice, bob)]
        assert tiers == ["free", "monthly"]
        await world.fault("revenuecat")
        world.clock.forward(timedelta(minutes=5))
        await world.settle()


async def test_revenuecat_is_asked_once_in_a_quarter_of_an_hour(world: World, alice: Person) -> None:
    """A fresh answer is not requested again."""
    await alice.action("usage:checkUsageWithReconciliation")
    first = len(await world.asked("revenuecat"))
    world.clock.forward(timedelta(minutes=15))
    await asyncio.gather(*(alice.action("usage:checkUsageWithReconciliation") for _ in range(3)))
    assert len(await world.asked("revenuecat")) == first
    world.clock.forward(timedelta(seconds=1))
    assert (await alice.action("usage:checkUsageWithReconciliation"))["reconciled"]
    assert len(await world.asked("revenuecat")) == 2 * first
