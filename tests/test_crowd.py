"""People who share nothing never wait for each other, fail each other or undo each other's work."""

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
# Of one function, how many transactions may be undone for each call that succeeds.
ROLLBACKS_EACH = 0.5


def crowd(world: World) -> list[Person]:
    """Different people, each called for by the holder of the admin key, who needs no sign-in for them."""
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
    """Choose when to be called, each on a number of their own."""
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
    """How many transactions of this database were rolled back so far."""
    async with world.db.pool.acquire() as connection:
        # What other connections have counted is seen a second after their last transaction at the latest.
        await connection.execute("select pg_stat_clear_snapshot()")
        count: int = await connection.fetchval(
            "select xact_rollback from pg_stat_database where datname = current_database()"
        )
    return count


async def test_g71_people_who_share_no_row_do_not_undo_each_other(world: World) -> None:
    """64 people at once in each step from sign-up to leaving: nobody fails, next to nothing is undone."""
    people = crowd(world)
    steps: list[Callable[[Person, int], Coroutine[Any, Any, Any]]] = [ensure, write, sing, settle_calls, leave]
    for step in steps:
        before = await undone(world)
        done = await asyncio.gather(*[step(person, number) for number, person in enumerate(people)])
        # A connection counts what it has rolled back when it goes.
        await world.db.pool.expire_connections()
        after = await _settled(world)
        assert len(done) == PEOPLE, step.__name__
        assert after - before < ROLLBACKS_EACH * PEOPLE, step.__name__
        if step is sing:
            assert all(answer["success"] for answer in done)


async def _settled(world: World) -> int:
    """The count of rollbacks once it no longer grows."""
    before, after = -1, await undone(world)
    while after != before:
        before, after = after, await undone(world)
    return after


async def test_g71_a_crowd_of_one_mutation_leaves_connections_for_others(world: World) -> None:
    """One account that calls 100 times at once holds two connections of the pool; another account has the others."""
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
