"""The functions of `billing` and `usage`; accounts of one mailbox share the free songs and minutes."""

from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daysong.features.subscriptions import revenuecat_billing
from daysong.features.subscriptions.quotas import minutes
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.ids import UserId
from rehearsal.billing import MONTHLY, happens, status, use
from rehearsal.calls.phones import has_agreed, wants_calls
from rehearsal.world import ADMIN_KEY, FunctionError, Person, World

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ADDRESSES = ("alice@gmail.com", "a.lice@gmail.com", "alice+songs@googlemail.com", "AL.IC.E+1@gmail.com")


async def test_the_plans_are_those_that_are_sold(anonymous: Person) -> None:
    """Anonymous callers get them too."""
    assert await anonymous.query("billing:getPlans") == [
        {"tier": "free", "musicLimit": 5, "periodDays": 30, "price": 0},
        {"tier": "weekly", "musicLimit": 20, "periodDays": 7, "price": 3.99},
        {"tier": "monthly", "musicLimit": 90, "periodDays": 30, "price": 9.99},
        {"tier": "yearly", "musicLimit": 1200, "periodDays": 365, "price": 99.99},
    ]


async def test_an_anonymous_caller_has_no_quota(world: World, anonymous: Person, admin: Person) -> None:
    """Without a token or an account there is no subscription and no quota."""
    zero = {"canGenerate": False, "tier": "free", "currentUsage": 0, "limit": 0, "remainingQuota": 0}
    somebody = base64.b64encode(json.dumps({"subject": "user_x", "issuer": "https://x"}).encode()).decode()
    acting = Person(world, {"Authorization": f"Convex {ADMIN_KEY}:{somebody}"})
    for person in (anonymous, acting):
        assert await person.query("billing:getCurrentUserStatus") is None
        assert await person.query("usage:getCurrentUserUsage") is None
        assert await person.query("usage:canCurrentUserGenerateMusic") == zero
    for person, kind, message in (
        (anonymous, "unauthorized", "Unauthorized"),
        (acting, "user_not_found", "User not found"),
    ):
        with pytest.raises(FunctionError) as refused:
            await person.action("usage:checkUsageWithReconciliation")
        assert refused.value.data == {"code": kind, "message": message}
    with pytest.raises(FunctionError, match="Unauthorized"):
        await anonymous.mutation("usage:recordCurrentUserMusicGeneration")
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


async def account(world: World, number: int, email: str | None = None) -> Person:
    """An account with an address of Alice's mailbox."""
    who = {"sub": f"user_m{number}", "email": email or ADDRESSES[number % len(ADDRESSES)], "ttl": 365 * 86400}
    token = (await world.http.post("/sandbox/clerk/sign-in", json=who)).raise_for_status().json()["jwt"]
    person = Person(world, {"Authorization": f"Bearer {token}"})
    await person.mutation("users:ensureCurrentUser")
    return person


async def left(person: Person) -> float:
    """Return the songs a user has left."""
    remaining: float = (await status(person))["remainingQuota"]
    return remaining


async def test_g77_live_accounts_of_one_mailbox_share_the_free_songs(world: World) -> None:
    """Whichever address each of them has; another mailbox does not."""
    first, second, third = [await account(world, number) for number in range(3)]
    stranger = await account(world, 9, "alice@outlook.com")
    await use(first, 3)
    assert [await left(person) for person in (first, second, third, stranger)] == [2, 2, 2, 5]
    await use(second, 2)
    assert [await left(person) for person in (first, second, third, stranger)] == [0, 0, 0, 5]
    refused = await third.mutation("usage:recordCurrentUserMusicGeneration")
    assert (refused["success"], refused["code"]) == (False, "USAGE_LIMIT_REACHED")
    started = await third.action("music:startDiaryMusicGeneration", content="Rain")
    assert (started["success"], started["code"]) == (False, "USAGE_LIMIT_REACHED")


async def test_g77_fifty_accounts_at_once_use_one_free_quota(world: World) -> None:
    """All start a song at the same moment."""
    people = [await account(world, number) for number in range(50)]
    started = await asyncio.gather(
        *(person.action("music:startDiaryMusicGeneration", content="Rain") for person in people),
        return_exceptions=True,
    )
    # Too many at once may be told to come back; they get no song.
    assert all(isinstance(each, dict | FunctionError) or "503" in str(each) for each in started)
    assert sum(each["success"] for each in started if isinstance(each, dict)) == 5
    assert await world.db.pool.fetchval("select count(*) from usage_charges") == 5
    assert {await left(person) for person in people[::10]} == {0}


async def test_g77_a_song_that_fails_comes_back_to_all(world: World, admin: Person) -> None:
    """A refund is one of the mailbox as well."""
    first, second = [await account(world, number) for number in range(2)]
    await use(first, 5)
    owner = (await first.mutation("users:ensureCurrentUser"))["userId"]
    assert (await admin.mutation("usage:decrementMusicGeneration", userId=owner))["success"]
    assert (await left(first), await left(second)) == (1, 1)


async def test_g77_what_is_bought_is_its_accounts_alone(world: World) -> None:
    """Paid songs use up nothing of the mailbox's, and the mailbox's nothing of a plan."""
    payer, other = [await account(world, number) for number in range(2)]
    await happens(world, "purchase", "user_m0", productId=MONTHLY)
    await use(payer, 10)
    assert (await left(payer), await left(other)) == (80, 5)
    await use(other, 5)
    assert (await left(payer), await left(other)) == (80, 0)


async def test_g77_no_order_of_deleting_and_opening_accounts_gives_more(world: World) -> None:
    """Songs of a deleted account go on counting, for accounts that are there and for the next one, once."""
    first, second = [await account(world, number) for number in range(2)]
    await use(first, 3)
    await first.mutation("users:deleteAccount")
    assert await left(second) == 2
    await world.settle()
    assert await left(second) == 2
    third = await account(world, 2)
    assert (await left(second), await left(third)) == (2, 2)
    assert (await status(third))["musicGenerationsUsed"] == 3
    await use(second, 2)
    await second.mutation("users:deleteAccount")
    await third.mutation("users:deleteAccount")
    await world.settle()
    fourth = await account(world, 3)
    assert (await left(fourth), (await status(fourth))["musicGenerationsUsed"]) == (0, 5)
    world.clock.forward(timedelta(days=30, seconds=1))
    assert await left(fourth) == 5


async def test_g77_an_account_a_day_gives_one_free_quota_a_month(world: World) -> None:
    """Usage of the other accounts counts for thirty days, in whichever periods."""
    used = 0
    for day in range(30):
        person = await account(world, day)
        while (await person.mutation("usage:recordCurrentUserMusicGeneration"))["success"]:
            used += 1
        world.clock.forward(timedelta(days=1))
    assert used == 5


async def test_g77_a_new_address_neither_refills_nor_takes_along(world: World) -> None:
    """An account keeps what it has used; its songs go on counting for the mailbox they were charged to."""
    first, second = [await account(world, number) for number in range(2)]
    await use(first, 4)
    first = await account(world, 0, "somebody@else.test")
    assert (await left(first), await left(second)) == (1, 1)


async def test_g77_all_of_a_mailbox_see_at_once_what_is_left(world: World) -> None:
    """Live queries of the mailbox's other accounts are updated after a free song."""
    first, second = [await account(world, number) for number in range(2)]
    owner = UserId((await second.mutation("users:ensureCurrentUser"))["userId"])
    notified: asyncio.Queue[str] = asyncio.Queue()
    async with world.db.pool.acquire() as connection:

        def heard(*told: Any) -> None:
            notified.put_nowait(told[-1])

        await connection.add_listener("daysong_live", heard)
        await use(first, 1)
        async with asyncio.timeout(10):
            while await notified.get() != f"mailbox_usage {owner}":
                pass
        await connection.remove_listener("daysong_live", heard)


async def talked(person: Person) -> float:
    """Return the minutes a user has used."""
    used: float = (await person.query("usage:getCurrentUserUsage"))["minutesUsed"]
    return used


async def talks(world: World, person: Person, call_id: str, reserved: int, took: int | None = None) -> int | None:
    """Reserve seconds for a call, None when refused; settle it after `took` seconds, if given."""
    owner = (await person.mutation("users:ensureCurrentUser"))["userId"]
    now = world.clock.now()

    async def work(db: Transaction) -> int | None:
        await db.execute("select from users where id = $1 for no key update", owner)
        seconds = await minutes.reserve(db, owner, {}, now, longest=reserved, vapi_call_id=call_id)
        if took is not None:
            await minutes.settle(db, took, now, vapi_call_id=call_id, reported=True)
        return seconds

    return await world.db.mutate(work)


async def test_g77_live_accounts_of_one_mailbox_share_the_free_minutes(world: World) -> None:
    """What is reserved counts for all of them, then what was talked; what is bought is its account's alone."""
    first, second, payer = [await account(world, number) for number in range(3)]
    stranger = await account(world, 9, "alice@outlook.com")
    assert await talks(world, first, "a", 1200) == 1200
    assert [await talked(person) for person in (first, second, stranger)] == [20, 20, 0]
    assert await talks(world, second, "b", 1200) == 600
    assert await talks(world, first, "c", 600) is None
    assert await talks(world, first, "a", 1200, took=300) == 1200
    assert [await talked(person) for person in (first, second, payer)] == [15, 15, 15]
    await happens(world, "purchase", "user_m2", productId=MONTHLY)
    assert await talks(world, payer, "d", 3600, took=3600) == 3600
    assert [await talked(person) for person in (first, second, payer)] == [15, 15, 60]
    world.clock.forward(timedelta(days=30, seconds=1))
    assert await talked(second) == 0


async def test_g77_accounts_that_are_called_at_once_use_one_half_hour(world: World) -> None:
    """Eight accounts ring in at the same moment, and each call may take ten minutes."""
    await world.steer("vapi", "hold", hold=True)
    numbers = [f"+120255501{number:02}" for number in range(30, 38)]
    people = [await account(world, number) for number in range(len(numbers))]
    for person, number in zip(people, numbers, strict=True):
        await wants_calls(person, number, active=False)
        await has_agreed(world, number)
    said = await asyncio.gather(*(world.steer("vapi", "ring-in", number=number) for number in numbers))
    assert sum("error" not in each for each in said) == 3
    assert {await talked(person) for person in people} == {30}


async def test_g77_no_order_of_deleting_accounts_gives_more_minutes(world: World) -> None:
    """Minutes of a deleted account go on counting, once: for accounts that are there, and for the next one."""
    first, second = [await account(world, number) for number in range(2)]
    await talks(world, first, "a", 600, took=300)
    await talks(world, first, "b", 600, took=600)
    await talks(world, second, "c", 600, took=120)
    await first.mutation("users:deleteAccount")
    assert await talked(second) == 17
    await world.settle()
    assert await talked(second) == 17
    third = await account(world, 2)
    assert (await talked(second), await talked(third)) == (17, 17)
    await second.mutation("users:deleteAccount")
    await third.mutation("users:deleteAccount")
    await world.settle()
    fourth = await account(world, 3)
    assert await talked(fourth) == 17
    assert await talks(world, fourth, "d", 1200) == 780


async def test_g77_an_order_given_again_on_a_plan_is_none_of_the_mailboxs(world: World) -> None:
    """A refused order was settled with nothing, and is reserved anew, by then from what was bought."""
    payer, other = [await account(world, number) for number in range(2)]
    owner = (await payer.mutation("users:ensureCurrentUser"))["userId"]

    async def refused(db: Transaction) -> None:
        await minutes.settle(db, 0, world.clock.now(), vapi_call_id="a")

    assert await talks(world, payer, "a", 600) == 600
    await world.db.mutate(refused)
    assert (await talked(payer), await talked(other)) == (0, 0)
    await happens(world, "purchase", "user_m0", productId=MONTHLY)
    assert await talks(world, payer, "a", 600, took=540) == 600
    assert (await talked(payer), await talked(other)) == (9, 0)
    assert await world.db.pool.fetchval("select count(*) from call_minutes where user_id = $1", owner) == 1
