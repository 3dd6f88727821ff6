"""Accounts of one mailbox share one free quota of songs, also at once; what is bought belongs to its account."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from daysong.kernel.ids import UserId
from rehearsal.billing import MONTHLY, happens, status, use
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

ADDRESSES = ("alice@gmail.com", "a.lice@gmail.com", "alice+songs@googlemail.com", "AL.IC.E+1@gmail.com")


async def account(world: World, number: int, email: str | None = None) -> Person:
    """An account with an address of Alice's mailbox."""
    who = {"sub": f"user_m{number}", "email": email or ADDRESSES[number % len(ADDRESSES)], "ttl": 365 * 86400}
    token = (await world.http.post("/sandbox/clerk/sign-in", json=who)).raise_for_status().json()["jwt"]
    person = Person(world, {"Authorization": f"Bearer {token}"})
    await person.mutation("users:ensureCurrentUser")
    return person


async def left(person: Person) -> float:
    """Songs that are left to somebody."""
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
    """However the accounts' periods lie: what others have used counts for thirty days."""
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
    """Live queries of its other accounts are told of a free song."""
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
