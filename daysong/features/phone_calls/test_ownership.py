"""Whose a number is: its verified owner's before anybody else's."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rehearsal.call_history import (
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


async def verified(world: World, name: str, number: str | None = NUMBER) -> None:
    """Clerk tells that a number is somebody's, verified; or with none, that it is not any more."""
    world.clock.forward(timedelta(seconds=1))
    await world.steer("clerk", "update", sub=f"user_{name}", phone=number)
    await world.app.worker.drain(until=None, clock=world.clock)


async def test_a_verified_number_needs_no_consent(world: World, alice: Person, bob: Person) -> None:
    """Clerk says it is theirs: by a webhook, or in the token. An unverified one proves nothing."""
    await verified(world, "alice")
    await wants_calls(alice)
    assert await standing(alice) == ("granted", None, True)
    for claims, consent in (
        ({"phone_number": OTHER, "phone_number_verified": False}, "unknown"),
        ({"phone_number": "+442079460124", "phone_number_verified": True}, "unknown"),
        ({"phone_number": OTHER, "phone_number_verified": "true"}, "unknown"),
        ({"phone_number": OTHER, "phone_number_verified": True}, "granted"),
    ):
        signed_in = await world.steer("clerk", "sign-in", sub="user_bob", claims=claims)
        await wants_calls(Person(world, {"Authorization": f"Bearer {signed_in['jwt']}"}), phoneE164=OTHER)
        assert (await standing(bob))[0] == consent


async def test_its_verified_owner_takes_a_number_from_who_has_no_consent(
    world: World, alice: Person, bob: Person
) -> None:
    """Who loses it sees that, is called no more, and cannot take it back; with another number all is well again."""
    await wants_calls(alice)
    await verified(world, "bob")
    await wants_calls(bob)
    assert await standing(bob) == ("granted", None, True)
    assert await standing(alice) == ("unknown", "number_lost", False)
    assert await refused(alice) == "number_taken"
    await wants_calls(alice, phoneE164=OTHER)
    assert await standing(alice) == ("unknown", None, True)


async def test_its_verified_owner_does_not_take_a_number_that_has_agreed(
    world: World, alice: Person, bob: Person
) -> None:
    """Two people may share a telephone: who was asked first stays."""
    await wants_calls(alice)
    await agrees(world, "alice")
    await verified(world, "bob")
    assert await refused(bob) == "number_taken"
    assert await standing(alice) == ("granted", None, True)


async def test_a_lost_number_that_is_free_again_starts_anew(world: World, alice: Person, bob: Person) -> None:
    """Nothing is left of the loss."""
    await wants_calls(alice)
    await verified(world, "bob")
    await wants_calls(bob)
    await wants_calls(bob, phoneE164=OTHER)
    await wants_calls(alice)
    assert await standing(alice) == ("unknown", None, True)
    row = await world.db.pool.fetchrow("select lost_at from call_settings where phone_e164 = $1", NUMBER)
    assert row is not None
    assert row["lost_at"] is None


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
    """Clerk tells of any change of a person; only a number that is new is a reason."""
    await verified(world, "alice")
    await wants_calls(alice)
    await agrees(world, "alice", "refused")
    await wants_none(world)
    world.clock.forward(timedelta(seconds=1))
    await world.steer("clerk", "update", sub="user_alice", name="Alice Ames")
    await world.app.worker.drain(until=None, clock=world.clock)
    assert await standing(alice) == ("refused", "refused", False)
    assert await world.db.pool.fetchval("select count(*) from phone_numbers where refused_at is not null") == 1


async def test_who_lost_a_number_and_verifies_it_has_it_again(world: World, alice: Person, bob: Person) -> None:
    """Unless it has agreed to be called by the other, which a verified owner's counts as."""
    await wants_calls(alice)
    await verified(world, "bob")
    await wants_calls(bob)
    await verified(world, "alice")
    assert await standing(alice) == ("unknown", "number_lost", False)
    await world.db.pool.execute(
        "update call_settings set consent = 'unknown', consent_at = null where consent = 'granted'"
    )
    await verified(world, "alice", None)
    await verified(world, "alice")
    assert await standing(alice) == ("granted", None, True)
    assert await standing(bob) == ("unknown", "number_lost", False)
