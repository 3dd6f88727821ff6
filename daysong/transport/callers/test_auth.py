from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import NoArgs, query
from daysong.kernel.functions.registry import module
from daysong.transport.callers.auth import Authenticator
from daysong.transport.conftest import ADMIN_KEY, ISSUER, NOW, App, MakeApp, Token, admin, bearer
from daysong.transport.refusals import Refused
from daysong.vendors.clerk.client import Identity, TokenVerifier

pytestmark = pytest.mark.anyio


@query
async def whoami(ctx: QueryContext, args: NoArgs) -> dict[str, Any]:
    """Return the caller's fields."""
    caller = ctx.caller
    return {
        "subject": caller.subject,
        "tokenIdentifier": caller.token_identifier,
        "email": caller.email,
        "name": caller.name,
        "isAdmin": caller.is_admin,
        "attributes": dict(caller.attributes),
    }


auth = module("auth", public=(whoami,))


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    return await make_app(auth)


async def whoami_with(app: App, headers: dict[str, str]) -> dict[str, Any]:
    answer: dict[str, Any] = (await app.call("query", "auth:whoami", headers=headers))["value"]
    return answer


async def refusal(app: App, *authorization: str | bytes) -> tuple[int, str]:
    headers = [("Authorization", value) for value in authorization]
    answer = await app.client.post("/api/query", json={"path": "auth:whoami"}, headers=headers)  # type: ignore[arg-type]
    assert set(answer.json()) == {"code", "message"}
    return answer.status_code, answer.json()["code"]


async def test_without_credentials_a_caller_is_anonymous(app: App) -> None:
    assert await whoami_with(app, {}) == {
        "subject": None, "tokenIdentifier": None, "email": None, "name": None, "isAdmin": False, "attributes": {}
    }  # fmt: skip


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_token_identifies_alice(app: App, token: Token, scheme: str) -> None:
    signed = token("alice", email="alice@example.org", name="Alice", given_name="A", org_id="choir")
    seen = await whoami_with(app, {"Authorization": f"{scheme} {signed}"})
    assert (seen["subject"], seen["tokenIdentifier"]) == ("alice", f"{ISSUER}|alice")
    assert (seen["email"], seen["name"], seen["isAdmin"]) == ("alice@example.org", "Alice", False)
    assert seen["attributes"]["givenName"] == "A"
    assert seen["attributes"]["org_id"] == "choir"


async def test_an_invalid_token_is_refused_and_never_treated_as_absent(app: App, token: Token) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    bad = {
        "garbage": "not-a-jwt",
        "another's key": token("alice", key=stranger),
        "expired": token("alice", exp=NOW - timedelta(minutes=2)),
        "another audience": token("alice", aud="elsewhere"),
        "another issuer": token("alice", iss="https://evil.example"),
    }
    for reason, signed in bad.items():
        assert await refusal(app, f"Bearer {signed}") == (401, "InvalidAuthHeader"), reason


async def test_a_token_expires_by_the_apps_clock(app: App, token: Token) -> None:
    signed = token("alice")
    assert (await whoami_with(app, bearer(signed)))["subject"] == "alice"
    app.clock.forward(timedelta(minutes=2))
    assert await refusal(app, f"Bearer {signed}") == (401, "InvalidAuthHeader")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "alice", "Convex", "Convex ", b"Bearer \xff\xfe", "Bearer " + "x" * 20_000],
)
async def test_an_invalid_header_is_refused(app: App, header: str | bytes) -> None:
    assert await refusal(app, header) == (401, "InvalidAuthHeader")


async def test_two_authorization_headers_are_refused(app: App, token: Token) -> None:
    assert await refusal(app, f"Bearer {token('alice')}", f"Bearer {token('bob')}") == (401, "InvalidAuthHeader")


@pytest.mark.parametrize(
    "given", [ADMIN_KEY, ADMIN_KEY.partition("|")[2], "dev:other-9|" + ADMIN_KEY.partition("|")[2]]
)
async def test_the_admin_key_works_with_and_without_its_prefix(app: App, given: str) -> None:
    seen = await whoami_with(app, {"Authorization": f"convex {given}"})
    assert (seen["isAdmin"], seen["subject"]) == (True, None)


@pytest.mark.parametrize("key", ["wrong", "prod:daysong|wrong", ADMIN_KEY + "x", ":", "|"])
async def test_a_wrong_admin_key_is_forbidden(app: App, key: str) -> None:
    assert await refusal(app, f"Convex {key}") == (403, "BadDeployKey")


async def test_the_admin_can_act_as_bob(app: App) -> None:
    seen = await whoami_with(app, admin({"issuer": ISSUER, "subject": "bob", "name": "Bøb", "email": "b@example.org"}))
    assert (seen["subject"], seen["tokenIdentifier"], seen["isAdmin"]) == ("bob", f"{ISSUER}|bob", True)
    assert (seen["name"], seen["email"]) == ("Bøb", "b@example.org")
    assert seen["attributes"]["tokenIdentifier"] == f"{ISSUER}|bob"


async def test_the_admin_can_act_as_a_token_identifier(app: App) -> None:
    seen = await whoami_with(app, admin({"tokenIdentifier": f"{ISSUER}|auth0|bob"}))
    assert (seen["subject"], seen["attributes"]["issuer"]) == ("auth0|bob", ISSUER)


@pytest.mark.parametrize(
    "identity",
    [b"not json", b"[]", b"{}", b'{"subject": "bob"}', b'{"issuer": 1, "subject": 2}', b'{"tokenIdentifier": "bob"}'],
)
async def test_an_invalid_identity_is_refused(app: App, identity: bytes) -> None:
    encoded = base64.b64encode(identity).decode()
    assert await refusal(app, f"Convex {ADMIN_KEY}:{encoded}") == (401, "InvalidAuthHeader")


async def test_an_identity_that_is_not_base64_is_refused(app: App) -> None:
    assert await refusal(app, f"Convex {ADMIN_KEY}:%%%") == (401, "InvalidAuthHeader")


async def test_a_wrong_key_cannot_act_as_a_user(app: App) -> None:
    encoded = base64.b64encode(b'{"issuer": "i", "subject": "bob"}').decode()
    assert await refusal(app, f"Convex wrong:{encoded}") == (403, "BadDeployKey")


class Unreachable(TokenVerifier):
    """A verifier whose issuer is unavailable."""

    def __init__(self) -> None:
        pass

    async def verify(self, token: str, now: Any) -> Identity:  # noqa: ARG002
        raise VendorError("clerk", "no keys", permanent=False)


async def test_a_token_that_cannot_be_verified_now_is_a_503(make_app: MakeApp) -> None:
    app = await make_app(auth, verifier=Unreachable())
    assert await refusal(app, "Bearer anything") == (503, "AuthProviderUnavailable")


async def test_without_an_admin_key_in_the_settings_no_key_is_accepted() -> None:
    with pytest.raises(Refused):
        Authenticator(Unreachable(), [""], "").admin("")


async def test_an_admin_key_may_contain_colons_and_bars() -> None:
    key = "a:b|c:d"
    authenticator = Authenticator(Unreachable(), ["another", key], "")
    acting = base64.b64encode(b'{"issuer": "i", "subject": "bob"}').decode()
    for credentials, subject in ((key, None), (f"{key}:{acting}", "bob")):
        scope: Any = {"headers": [(b"authorization", f"Convex {credentials}".encode())]}
        caller = await authenticator.caller(scope, NOW)
        assert (caller.is_admin, caller.subject) == (True, subject)


async def test_a_sign_in_expires_with_its_token(token: Token, app: App) -> None:
    authenticator = Authenticator(TokenVerifier(app.runtime.settings.clerk), [ADMIN_KEY], "")
    sign_in = await authenticator.user(token("alice"), NOW)
    assert (sign_in.caller.subject, sign_in.expires_at) == ("alice", NOW + timedelta(minutes=1))
