"""Accounts are created once, shown in the profile, and never give a second quota."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from daysong.kernel.errors import Unauthorized
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.declarations import Kind
from rehearsal.world import HASH_KEY, FunctionError, Person, World, public_functions

pytestmark = pytest.mark.anyio

FREE = 5


async def left(person: Person) -> float:
    """Return the songs a user has left."""
    remaining: float = (await person.query("users:getUserProfile"))["subscription"]["remainingQuota"]
    return remaining


async def use(person: Person, songs: int) -> None:
    """Make songs."""
    for number in range(songs):
        started = await person.action("music:startDiaryMusicGeneration", content=f"Rain, day {number}")
        assert started["success"], started


async def sign_up(world: World, sub: str, email: str | None, name: str = "Somebody") -> Person:
    """Sign a user in at Clerk, without an account here."""
    token = (await world.steer("clerk", "sign-in", sub=sub, email=email, name=name, ttl=86_400 * 365))["jwt"]
    return Person(world, {"Authorization": f"Bearer {token}"})


async def leave(world: World, person: Person) -> None:
    """Delete a user's account and run the erasure."""
    await person.mutation("users:deleteAccount")
    await world.settle()
    assert await world.db.pool.fetchval("select count(*) from users where deleted_at is not null") == 0


async def test_the_profile_shows_the_person_and_their_plan(world: World, alice: Person) -> None:
    """The profile is read in one statement and agrees with the other functions."""
    await use(alice, 2)
    profile = await alice.query("users:getUserProfile")
    subscription = profile["subscription"]
    assert profile["user"] == {
        "_id": profile["user"]["_id"],
        "name": "Alice",
        "email": "alice@example.test",
    }
    assert profile["callSettings"] is None
    assert set(subscription) == {
        "tier", "productId", "status", "musicGenerationsUsed", "musicLimit", "periodStart", "periodEnd", "isActive",
        "remainingQuota",
    }  # fmt: skip
    assert (subscription["musicGenerationsUsed"], subscription["musicLimit"], subscription["remainingQuota"]) == (
        2,
        5,
        3,
    )
    assert (subscription["tier"], subscription["productId"], subscription["status"]) == ("free", "free-tier", "active")
    assert subscription["isActive"] is True
    assert subscription["periodEnd"] - subscription["periodStart"] == timedelta(days=30) / timedelta(milliseconds=1)


async def test_anonymous_callers_and_strangers_have_no_profile(world: World, anonymous: Person) -> None:
    """The profile is null without a token and without an account."""
    assert await anonymous.query("users:getUserProfile") is None
    stranger = await sign_up(world, "user_stranger", "stranger@example.test")
    assert await stranger.query("users:getUserProfile") is None


async def test_an_account_is_updated_from_the_token(world: World, alice: Person) -> None:
    """A new name or e-mail is stored; what a token leaves out is kept."""
    world.clock.forward(timedelta(seconds=1))
    renamed = await sign_up(world, "user_alice", "new@example.test", "Alice Ames")
    await renamed.mutation("users:ensureCurrentUser")
    user = (await alice.query("users:getUserProfile"))["user"]
    assert (user["name"], user["email"]) == ("Alice Ames", "new@example.test")
    quiet = await sign_up(world, "user_alice", None)
    await quiet.mutation("users:ensureCurrentUser")
    assert (await alice.query("users:getUserProfile"))["user"]["email"] == "new@example.test"


async def test_accounts_can_be_made_and_found_by_others(world: World) -> None:
    """The internal functions create or update an account, and find it by user id and Clerk id."""
    call = world.app.call
    made = await call(
        "users:createUser", {"clerkId": "user_x", "email": "x@example.test", "tags": ["vip"]}, caller=SYSTEM
    )
    again = await call("users:createUser", {"clerkId": "user_x", "name": "Xenia"}, caller=SYSTEM)
    assert made.user_id == again.user_id
    user = await call("users:getUserById", {"userId": made.user_id}, caller=SYSTEM)
    assert (user.clerk_id, user.email, user.name, user.tags) == ("user_x", "x@example.test", "Xenia", ["vip"])
    assert await call("users:getUserIdByClerkId", {"clerkId": "user_x"}, caller=SYSTEM) == made.user_id
    assert await call("users:getUserIdByClerkId", {"clerkId": "user_y"}, caller=SYSTEM) is None
    assert await call("users:getUserById", {"userId": "user_y"}, caller=SYSTEM) is None
    caller = world.acting_as("user_x")
    assert (await call("users:getUserProfile", caller=caller)).subscription.remaining_quota == FREE
    await call("users:deleteAccount", caller=caller)
    assert await call("users:getUserById", {"userId": made.user_id}, caller=SYSTEM) is None
    assert await call("users:getUserIdByClerkId", {"clerkId": "user_x"}, caller=SYSTEM) is None
    with pytest.raises(Unauthorized):
        await call("users:createUser", {"clerkId": "user_x"}, caller=SYSTEM)


async def test_f01_first_calls_at_the_same_moment_make_one_account(world: World) -> None:
    """Many devices make their first call at once."""
    person = await sign_up(world, "user_dora", "dora@example.test")
    made = await asyncio.gather(*(person.mutation("users:ensureCurrentUser") for _ in range(12)))
    assert len({one["userId"] for one in made}) == 1
    assert await world.db.pool.fetchval("select count(*) from subscriptions") == 1


# Names of fields that could carry an identity.
IDENTITIES = ("userId", "clerkId", "email", "subject", "ownerId", "appUserId", "tokenIdentifier", "identity")
# Fields of these names that are none: an address to be notified, and one that is ignored.
NO_IDENTITIES = {("emailNotify:addEmailNotification", "email"), ("featureFlags:getUserFlags", "userId")}


async def test_f07_no_caller_can_choose_an_identity(world: World, alice: Person, bob: Person) -> None:
    """No public function takes an identity, and an extra field with one is refused."""
    bobs = (await bob.query("users:getUserProfile"))["user"]["_id"]
    for function in public_functions():
        for field in IDENTITIES:
            if (function.identifier, field) in NO_IDENTITIES:
                continue
            assert field not in {one.encode_name for one in _fields(function)}, function.identifier
            with pytest.raises(FunctionError) as refused:
                await alice.call(function.kind.value.lower(), function.identifier, {field: bobs})
            assert "ArgumentValidationError" in str(refused.value)
    assert await left(bob) == FREE


def _fields(function: Any) -> Any:
    described = msgspec.inspect.type_info(function.args_type)
    assert isinstance(described, msgspec.inspect.StructType)
    return described.fields


async def test_f07_usage_is_the_callers_and_needs_one(
    world: World, alice: Person, bob: Person, anonymous: Person
) -> None:
    """Anonymous calls are not charged; Alice's calls charge hers."""
    for path in ("music:startDiaryMusicGeneration", "usage:recordCurrentUserMusicGeneration"):
        function = next((one for one in public_functions() if one.identifier == path), None)
        if function is None:
            continue
        args = {"content": "Rain"} if function.kind is Kind.ACTION else {}
        with pytest.raises(FunctionError):
            await anonymous.call(function.kind.value.lower(), path, args)
        await alice.call(function.kind.value.lower(), path, args)
    assert await left(alice) < FREE
    assert await left(bob) == FREE


@pytest.mark.parametrize(
    ("sub", "email"),
    [("user_new", "alice@example.test"), ("user_new", " Alice@Example.TEST"), ("user_alice", "other@example.test")],
    ids=["same address", "same address written otherwise", "same Clerk id"],
)
async def test_f05_deleting_the_account_gives_no_second_quota(
    world: World, alice: Person, sub: str, email: str
) -> None:
    """The next account of the same person in the same period inherits the usage until the period ends."""
    await use(alice, 4)
    before = (await alice.query("users:getUserProfile"))["subscription"]
    world.clock.forward(timedelta(days=2))
    await leave(world, alice)
    world.clock.forward(timedelta(days=1))
    back = await sign_up(world, sub, email)
    await back.mutation("users:ensureCurrentUser")
    after = (await back.query("users:getUserProfile"))["subscription"]
    for same in ("musicGenerationsUsed", "remainingQuota", "periodStart", "periodEnd"):
        assert after[same] == before[same], same
    await use(back, 1)
    refused = await back.action("music:startDiaryMusicGeneration", content="One more")
    assert refused["code"] == "USAGE_LIMIT_REACHED"
    world.clock.forward(timedelta(days=28))
    assert await left(back) == FREE


async def test_f05_usage_is_inherited_by_each_next_account(world: World) -> None:
    """Each next account inherits the usage, whether a token or Clerk's webhook creates it."""
    await world.steer("clerk", "webhooks", automatic=True)
    for turn in range(3):
        person = await sign_up(world, f"user_{turn}", "again@example.test")
        if turn % 2:
            await world.settle()
        else:
            await person.mutation("users:ensureCurrentUser")
            await world.settle()
        assert await left(person) == FREE - 2 * turn
        await use(person, min(2, FREE - 2 * turn))
        await world.settle()
        await leave(world, person)
    last = await sign_up(world, "user_last", "again@example.test")
    await last.mutation("users:ensureCurrentUser")
    assert await left(last) == 0


async def test_f05_an_email_that_arrives_later_counts(world: World, alice: Person) -> None:
    """An account created without an e-mail inherits the usage when the e-mail arrives."""
    await use(alice, 3)
    await leave(world, alice)
    back = await sign_up(world, "user_new", None)
    await back.mutation("users:ensureCurrentUser")
    assert await left(back) == FREE
    await world.steer("clerk", "update", sub="user_new", email="alice@example.test")
    await world.settle()
    assert await left(back) == FREE - 3
    await world.steer("clerk", "redeliver")
    await world.settle()
    assert await left(back) == FREE - 3


async def test_f05_a_song_that_was_stopped_counts(world: World, alice: Person) -> None:
    """Suno may already have been paid for it."""
    await alice.action("music:startDiaryMusicGeneration", content="Rain")
    await leave(world, alice)
    back = await sign_up(world, "user_new", "alice@example.test")
    await back.mutation("users:ensureCurrentUser")
    assert await left(back) == FREE - 1


async def test_f05_usage_of_an_ended_period_is_not_inherited(world: World, alice: Person) -> None:
    """An account created in a new period inherits nothing."""
    await use(alice, 5)
    await leave(world, alice)
    world.clock.forward(timedelta(days=31))
    back = await sign_up(world, "user_new", "alice@example.test")
    await back.mutation("users:ensureCurrentUser")
    assert await left(back) == FREE


async def test_f05_another_persons_quota_is_their_own(world: World, alice: Person) -> None:
    """Only the same e-mail or Clerk id inherits the usage."""
    await use(alice, 5)
    await leave(world, alice)
    other = await sign_up(world, "user_other", "other@example.test")
    await other.mutation("users:ensureCurrentUser")
    assert await left(other) == FREE


async def test_f05_a_token_of_the_deleted_account_makes_no_new_one(world: World, alice: Person) -> None:
    """A token outlives the erasure; only one issued after the deletion creates an account."""
    await leave(world, alice)
    with pytest.raises(FunctionError) as refused:
        await alice.mutation("users:ensureCurrentUser")
    assert refused.value.code == "unauthorized"
    assert await alice.query("users:getUserProfile") is None
    assert await world.db.pool.fetchval("select count(*) from users") == 0
    back = await sign_up(world, "user_alice", "alice@example.test")
    await back.mutation("users:ensureCurrentUser")
    assert await left(back) == FREE


async def test_a_tombstone_has_no_personal_data(world: World, alice: Person) -> None:
    """A tombstone has keyed hashes, whose key is not in the database, so addresses cannot be tried against them."""
    await leave(world, alice)
    row = await world.db.pool.fetchrow("select * from tombstones")
    assert row is not None
    assert len(row["clerk_hash"]) == len(row["email_hash"]) == 36
    dump = await world.db.pool.fetchval("select t::text from tombstones t")
    assert "alice" not in dump
    assert HASH_KEY not in dump
