"""Which account a number belongs to: the first that proved it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from rehearsal.calls.call_history import (
    NUMBER,
    OTHER,
    agrees,
    refused,
    settings_of,
    standing,
    wants_calls,
    wants_none,
    was_tried,
)
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio


async def verified(world: World, name: str, number: str | None = NUMBER, strategy: str = "phone_code") -> None:
    """Clerk reports a verified number of a user; or with none, that the user has it no more."""
    world.clock.forward(timedelta(seconds=1))
    await world.steer("clerk", "update", sub=f"user_{name}", phone=number, phoneStrategy=strategy)
    await world.app.worker.drain(until=None, clock=world.clock)


async def test_a_proved_number_needs_no_consent(world: World, alice: Person) -> None:
    """The person typed a code that Clerk had sent to it."""
    await verified(world, "alice")
    await wants_calls(alice)
    assert await standing(alice) == ("granted", None, True)


async def test_g04_what_an_administrator_has_verified_is_nobodys_consent(
    world: World, alice: Person, bob: Person
) -> None:
    """It takes no number from another account, none off the do-not-call list, and gives no consent."""
    await wants_calls(alice)
    await verified(world, "bob", strategy="admin")
    await wants_calls(bob)
    assert (await standing(bob))[0] == "unknown"
    await wants_none(world, OTHER)
    await verified(world, "bob", OTHER, strategy="admin")
    assert await refused(bob, phoneE164=OTHER) == "number_refused"
    await verified(world, "bob", OTHER, strategy="unheard_of")
    assert await refused(bob, phoneE164=OTHER) == "number_refused"
    await verified(world, "bob", OTHER)
    await wants_calls(bob, phoneE164=OTHER)
    assert await standing(bob) == ("granted", None, True)


@pytest.mark.parametrize("claim", [True, False, "true"])
async def test_g04_a_token_proves_no_number(world: World, bob: Person, claim: object) -> None:
    """It says that a number is verified, and not how."""
    claims = {"phone_number": OTHER, "phone_number_verified": claim}
    signed_in = await world.steer("clerk", "sign-in", sub="user_bob", claims=claims)
    await wants_calls(Person(world, {"Authorization": f"Bearer {signed_in['jwt']}"}), phoneE164=OTHER)
    assert (await standing(bob))[0] == "unknown"


async def test_g04_a_number_that_was_proved_before_lifts_no_refusal(world: World, alice: Person) -> None:
    """When Clerk sends the same number again, it is not a new one; saving the settings again is what lifts it."""
    await verified(world, "alice")
    await wants_calls(alice)
    assert (await standing(alice))[0] == "granted"
    await agrees(world, "alice", "refused")
    await wants_none(world)
    await verified(world, "alice")
    assert await standing(alice) == ("refused", "refused", False)
    await wants_calls(alice)
    assert await standing(alice) == ("granted", None, True)


async def test_g06_the_first_to_prove_a_number_has_it(world: World, alice: Person, bob: Person) -> None:
    """Which account named it first does not matter; the other sees no change and no refusal."""
    await wants_calls(alice)
    before = await settings_of(alice)
    await verified(world, "bob")
    await wants_calls(bob)
    assert await standing(bob) == ("granted", None, True)
    assert await settings_of(alice) == before
    await wants_calls(alice, phoneE164=OTHER)
    await wants_calls(alice)
    assert await settings_of(alice) == before


async def test_g06_who_proves_a_number_does_not_take_it_from_who_proved_it_before(
    world: World, alice: Person, bob: Person
) -> None:
    """Two people may share a telephone: the one who was asked first keeps it."""
    await wants_calls(alice)
    await agrees(world, "alice")
    await verified(world, "bob")
    await wants_calls(bob)
    assert (await standing(bob))[0] == "unknown"
    assert await standing(alice) == ("granted", None, True)
    await wants_calls(alice, phoneE164=OTHER)
    await wants_calls(bob)
    assert await standing(bob) == ("granted", None, True)


async def test_g06_a_refusal_is_lifted_only_by_who_may_have_the_number(
    world: World, alice: Person, bob: Person
) -> None:
    """Not by an account that has proved it to Clerk after another one had proved it."""
    await wants_calls(alice)
    await agrees(world, "alice")
    await wants_none(world)
    await verified(world, "bob")
    assert await refused(bob) == "number_refused"


async def test_g06_of_many_that_prove_a_number_at_once_one_has_it(world: World) -> None:
    """Concurrent proofs by Clerk: the index allows one, and the others get no hint of it."""
    names = [f"person{number}" for number in range(6)]
    people = [await world.person(name) for name in names]
    await asyncio.gather(*(wants_calls(person) for person in people))
    await asyncio.gather(
        *(world.steer("clerk", "update", sub=f"user_{name}", phone=NUMBER) for name in names),
    )
    await asyncio.gather(*(world.app.worker.drain(until=None, clock=world.clock) for _ in range(2)))
    found = await asyncio.gather(*(standing(person) for person in people))
    assert sorted(consent for consent, _, _ in found) == ["granted", *["unknown"] * 5]
    assert await world.db.pool.fetchval("select count(*) from jobs where status = 'dead'") == 0
    await asyncio.gather(*(wants_calls(person) for person in people))
    found = await asyncio.gather(*(standing(person) for person in people))
    assert sorted(consent for consent, _, _ in found) == ["granted", *["unknown"] * 5]


async def test_only_its_verified_owner_takes_a_number_off_the_list(world: World, alice: Person, bob: Person) -> None:
    """After that it may be called; also by who was refused before, once it is free."""
    await wants_none(world)
    await verified(world, "alice")
    await wants_calls(alice)
    assert await standing(alice) == ("granted", None, True)
    row = await world.db.pool.fetchrow("select refused_at, tries from phone_numbers")
    assert row is not None
    assert tuple(row) == (None, 0)
    await wants_calls(alice, phoneE164=OTHER)
    await wants_calls(bob)
    assert await standing(bob) == ("unknown", None, True)


async def test_verifying_the_number_counts_as_agreeing(world: World, alice: Person) -> None:
    """It is heard from Clerk, with nothing saved anew; also after three tries."""
    await was_tried(world, 3)
    await wants_calls(alice)
    await verified(world, "alice", OTHER)
    assert await standing(alice) == ("unknown", "no_consent", False)
    await verified(world, "alice")
    assert await standing(alice) == ("granted", None, True)
    await verified(world, "alice", None)
    assert await standing(alice) == ("granted", None, True)


async def test_f32_verifying_the_number_switches_nothing_on(world: World, alice: Person) -> None:
    """Who has said "stop calling me" is not called because they prove their number somewhere: they switch it on."""
    await wants_calls(alice)
    await agrees(world, "alice", "refused")
    await wants_none(world)
    await verified(world, "alice")
    assert await standing(alice) == ("granted", None, False)
    assert not (await settings_of(alice))["active"]
    await wants_calls(alice)
    assert await standing(alice) == ("granted", None, True)


async def test_f32_what_was_verified_before_does_not_undo_a_refusal(world: World, alice: Person) -> None:
    """Clerk sends every change of a user; only a new number grants consent."""
    await verified(world, "alice")
    await wants_calls(alice)
    await agrees(world, "alice", "refused")
    await wants_none(world)
    world.clock.forward(timedelta(seconds=1))
    await world.steer("clerk", "update", sub="user_alice", name="Alice Ames")
    await world.app.worker.drain(until=None, clock=world.clock)
    assert await standing(alice) == ("refused", "refused", False)
    assert await world.db.pool.fetchval("select count(*) from phone_numbers where refused_at is not null") == 1
