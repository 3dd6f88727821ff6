"""Users who share no rows neither block each other nor cause each other's transactions to roll back."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from rehearsal.world import ADMIN_KEY, Person, World

pytestmark = pytest.mark.anyio

PEOPLE = 64
# The most rollbacks per successful call of one function.
ROLLBACKS_EACH = 0.5


def crowd(world: World) -> list[Person]:
    """Return different users, called for with the admin key, so that no sign-in is needed."""
    return [_person(world, f"user_{number}") for number in range(PEOPLE)]


def _person(world: World, subject: str) -> Person:
    identity = {"tokenIdentifier": f"test|{subject}", "subject": subject, "email": f"{subject}@example.test"}
    encoded = base64.b64encode(json.dumps(identity).encode()).decode()
    return Person(world, {"Authorization": f"Convex {ADMIN_KEY}:{encoded}"})


def ensure(person: Person, number: int) -> Coroutine[Any, Any, Any]:
    """Sign in for the first time."""
    return person.mutation("users:ensureCurrentUser")


def write(person: Person, number: int) -> Coroutine[Any, Any, Any]:
    """Write an entry."""
    return person.mutation("diaries:createDiary", content=f"Rain, day {number}.")


def sing(person: Person, number: int) -> Coroutine[Any, Any, Any]:
    """Start a song."""
    return person.action("music:startDiaryMusicGeneration", content=f"Sun, day {number}.")


def settle_calls(person: Person, number: int) -> Coroutine[Any, Any, Any]:
    """Save call settings, each user with a different number."""
    return person.mutation(
        "callSettings:upsertCallSettings",
        phoneE164=f"+1212555{1000 + number}",
        timezone="America/New_York",
        timeOfDay="12:30",
        cadence="daily",
        active=True,
    )


def leave(person: Person, number: int) -> Coroutine[Any, Any, Any]:
    """Delete the account."""
    return person.mutation("users:deleteAccount")


async def undone(world: World) -> int:
    """Return how many transactions of this database were rolled back so far."""
    async with world.db.pool.acquire() as connection:
        # The counts of other connections appear at most a second after their last transaction.
        await connection.execute("select pg_stat_clear_snapshot()")
        count: int = await connection.fetchval(
            "select xact_rollback from pg_stat_database where datname = current_database()"
        )
    return count


async def test_g71_users_who_share_no_row_cause_each_other_no_rollbacks(world: World) -> None:
    """64 users at once take each step from sign-up to deletion: no call fails, almost nothing is rolled back."""
    people = crowd(world)
    steps: list[Callable[[Person, int], Coroutine[Any, Any, Any]]] = [ensure, write, sing, settle_calls, leave]
    for step in steps:
        before = await undone(world)
        done = await asyncio.gather(*[step(person, number) for number, person in enumerate(people)])
        # A connection reports its rollbacks when it closes.
        await world.db.pool.expire_connections()
        after = await _settled(world)
        assert len(done) == PEOPLE, step.__name__
        assert after - before < ROLLBACKS_EACH * PEOPLE, step.__name__
        if step is sing:
            assert all(answer["success"] for answer in done)


async def _settled(world: World) -> int:
    """Return the count of rollbacks once it no longer grows."""
    before, after = -1, await undone(world)
    while after != before:
        before, after = after, await undone(world)
    return after


async def test_g71_a_crowd_of_one_mutation_leaves_connections_for_others(world: World) -> None:
    """An account that sends 100 calls at once uses two connections of the pool; another account gets the rest."""
    alice, bob = _person(world, "user_alice"), _person(world, "user_bob")
    await alice.mutation("users:ensureCurrentUser")
    async with world.db.pool.acquire() as connection, connection.transaction():
        await connection.execute("select from users where clerk_id = 'user_alice' for update")
        waiting = [asyncio.create_task(write(alice, number)) for number in range(100)]
        async with asyncio.timeout(30):
            await bob.mutation("diaries:createDiary", content="Calm.")
            assert len(await bob.query("diaries:listDiaries")) == 1
        assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)
    assert len(await alice.query("diaries:listDiaries")) == 100
