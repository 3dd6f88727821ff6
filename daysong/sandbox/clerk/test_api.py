"""The real Clerk clients against the one that runs here: signing in, changing keys, deleting people."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from daysong.sandbox.conftest import NOW, World, failure, recorded, shape
from daysong.vendors.clerk.client import InvalidToken

pytestmark = pytest.mark.anyio


async def test_somebody_signs_in_and_is_known(world: World) -> None:
    """The token is one of the template "convex"."""
    token = await world.sign_in(email="alice@example.com", name="Alice Ames")
    identity = await world.tokens.verify(token, world.clock.now())
    assert (identity.subject, identity.email, identity.name) == ("user_alice", "alice@example.com", "Alice Ames")
    assert identity.attributes["familyName"] == "Ames"
    assert identity.expires_at == NOW + timedelta(hours=1)


async def test_the_claims_are_those_of_the_recorded_template(world: World) -> None:
    """The same names, none missing."""
    token = await world.sign_in(email="alice@example.com", name="Alice Ames")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert shape(claims) == shape(recorded("clerk/jwt-claims-template-convex"))


async def test_tokens_run_out_with_the_sandboxs_clock(world: World) -> None:
    """`ttl` seconds after signing in."""
    token = await world.sign_in(ttl=60)
    world.clock.forward(timedelta(seconds=66))
    with pytest.raises(InvalidToken, match="expired"):
        await world.tokens.verify(token, world.clock.now())


@pytest.mark.parametrize(
    "claims", [{"iss": "https://evil.example"}, {"aud": "other"}, {"sts": "pending"}, {"exp": None}]
)
async def test_tokens_that_should_be_refused_can_be_made(world: World, claims: dict[str, Any]) -> None:
    """Claims are laid over the template."""
    token = await world.sign_in(claims=claims)
    with pytest.raises(InvalidToken):
        await world.tokens.verify(token, world.clock.now())


async def test_keys_can_change_and_outlive_a_restart(world: World, tmp_path: Path) -> None:
    """Old tokens stay good while their key is still published; a restart signs with the same key."""
    old = await world.sign_in()
    assert await world.tokens.verify(old, world.clock.now())
    await world.steer("clerk/rotate-keys")
    world.clock.forward(timedelta(seconds=31))
    assert await world.tokens.verify(await world.sign_in(), world.clock.now())
    assert await world.tokens.verify(old, world.clock.now())

    restarted = World(tmp_path)
    assert await restarted.tokens.verify(old, world.clock.now())
    await restarted.steer("clerk/rotate-keys", {"keep_old": False})
    await restarted.close()
    stranger = World(tmp_path)
    with pytest.raises(InvalidToken, match="unknown key"):
        await stranger.tokens.verify(old, world.clock.now())
    await stranger.close()
    assert (tmp_path / "sandbox" / "clerk-keys.json").stat().st_mode & 0o077 == 0


async def test_people_are_deleted_once_and_that_is_enough(world: World) -> None:
    """Gone already is gone."""
    await world.sign_in()
    assert set(world.sandbox.clerk.users) == {"user_alice"}
    await world.users.delete_user("user_alice")
    await world.users.delete_user("user_alice")
    assert set(world.sandbox.clerk.users) == set()


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 429, "retryAfter": 10}, {"answer": "garbage"}, {"drop": True}]
)
async def test_an_issuer_that_fails_is_no_bad_token(world: World, fault: dict[str, Any]) -> None:
    """VendorError, not InvalidToken."""
    token = await world.sign_in()
    await world.steer("clerk/faults", fault)
    assert not (await failure(world.tokens.verify(token, world.clock.now()))).permanent


async def test_a_deletion_can_be_rate_limited(world: World) -> None:
    """With Retry-After, as the real one."""
    await world.sign_in()
    await world.steer("clerk/faults", {"status": 429, "retryAfter": 10, "path": "/v1/users"})
    error = await failure(world.users.delete_user("user_alice"))
    assert (error.permanent, error.retry_after) == (False, 10.0)
    assert set(world.sandbox.clerk.users) == {"user_alice"}


async def test_a_session_has_short_tokens_until_it_ends(world: World) -> None:
    """As Clerk's script gets them. Who is unknown, as after a restart, has a session; who is deleted has none."""

    async def asked(sub: str) -> tuple[int, Any]:
        answer = await world.steering.post("clerk/token", json={"sub": sub})
        return answer.status_code, answer.json()

    await world.sign_in(email="alice@example.com", name="Alice Ames")
    status, said = await asked("user_alice")
    identity = await world.tokens.verify(said["jwt"], world.clock.now())
    assert (status, identity.email, identity.name) == (200, "alice@example.com", "Alice Ames")
    assert identity.expires_at == world.clock.now() + timedelta(minutes=1)
    await world.steer("clerk/sign-out", {"sub": "user_alice"})
    assert (await asked("user_alice"))[0] == 401
    assert (await asked("user_bob"))[0] == 200
    await world.users.delete_user("user_bob")
    assert (await asked("user_bob"))[0] == 401
