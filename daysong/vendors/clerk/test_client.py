"""Verification of session tokens: signature, issuer, audience, times and claims."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from daysong.kernel.errors import VendorError
from daysong.kernel.settings import ClerkSettings
from daysong.kernel.time.clock import from_ms
from daysong.vendors.clerk.client import InvalidToken, TokenVerifier
from daysong.vendors.conftest import Answerer, fixture, fixtures

pytestmark = pytest.mark.anyio

ISSUER = "https://clerk.diary.example"
USER = "user_2aaaaaaaaaaaaaaaaaaaaaaaaa1"
KID = "ins_2aaaaaaaaaaaaaaaaaaaaaaaaa1"
ISSUED = from_ms(1795161600000)
SETTINGS = ClerkSettings(issuer=ISSUER, secret_key="sk_secret", base_url="http://clerk.test")
KEY = generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = generate_private_key(public_exponent=65537, key_size=2048)
SMALL_KEY = generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - to be refused


def claims_of(name: str = "template-convex") -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(fixture(f"clerk/jwt-claims-{name}.json").read_bytes())
    return claims


def token(claims: dict[str, Any] | None = None, *, key: RSAPrivateKey = KEY, kid: str = KID, **changes: Any) -> str:
    content = (claims or claims_of()) | changes
    content = {claim: value for claim, value in content.items() if value is not ...}
    header = json.loads(fixture("clerk/jwt-header.json").read_bytes()) | {"kid": kid}
    return jwt.encode(content, key, algorithm="RS256", headers=header)


def key_set(**keys: RSAPrivateKey) -> dict[str, Any]:
    entries = [json.loads(RSAAlgorithm.to_jwk(key.public_key())) for key in keys.values()]
    return {
        "keys": [entry | {"kid": kid, "use": "sig", "alg": "RS256"} for kid, entry in zip(keys, entries, strict=True)]
    }


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.fixture
async def verifier(answerer: Answerer) -> AsyncIterator[TokenVerifier]:
    answerer.will_answer(200, key_set(**{KID: KEY}))
    verifier = TokenVerifier(SETTINGS, transport=answerer.transport)
    yield verifier
    await verifier.close()


async def refusal(verifier: TokenVerifier, text: str, now: datetime = ISSUED) -> str:
    with pytest.raises(InvalidToken) as caught:
        await verifier.verify(text, now)
    assert caught.value.__cause__ is None
    assert len(text) < 20 or text not in str(caught.value)
    return caught.value.message


async def test_a_token_of_the_template_identifies_its_user(verifier: TokenVerifier, answerer: Answerer) -> None:
    """OpenID claims with camelCase names, without nulls and without claims that change at each refresh."""
    identity = await verifier.verify(token(), ISSUED)
    assert (identity.subject, identity.issuer) == (USER, ISSUER)
    assert identity.token_identifier == f"{ISSUER}|{USER}"
    assert (identity.email, identity.name) == ("sample.person@example.com", "Sample Person")
    assert identity.expires_at == ISSUED + timedelta(seconds=60)
    assert identity.attributes == {
        "tokenIdentifier": f"{ISSUER}|{USER}",
        "issuer": ISSUER,
        "subject": USER,
        "azp": "https://app.diary.example",
        "email": "sample.person@example.com",
        "emailVerified": True,
        "familyName": "Person",
        "givenName": "Sample",
        "name": "Sample Person",
        "pictureUrl": "https://img.example.com/user.png",
        "updatedAt": "2026-11-20T08:00:00Z",
    }
    assert answerer.asked[0].path == "/.well-known/jwks.json"


@pytest.mark.parametrize("name", fixtures("clerk", "jwt-claims-*"))
async def test_each_recorded_token_is_accepted_or_refused(verifier: TokenVerifier, name: str) -> None:
    """Template, native app and customized session tokens are accepted; a session with open tasks is refused."""
    text = token(claims_of(name.removeprefix("jwt-claims-")))
    if "pending" in name:
        assert await refusal(verifier, text) == "Session has tasks to finish"
    else:
        assert (await verifier.verify(text, ISSUED)).subject == USER


async def test_every_openid_claim_has_its_convex_name(verifier: TokenVerifier) -> None:
    """An address is its formatted text, and custom claims cannot override the identity."""
    names = {
        "preferred_username": "preferredUsername",
        "profile": "profileUrl",
        "website": "websiteUrl",
        "gender": "gender",
        "birthdate": "birthday",
        "zoneinfo": "timezone",
        "locale": "language",
        "phone_number": "phoneNumber",
        "phone_number_verified": "phoneNumberVerified",
        "nickname": "nickname",
        "plan": "plan",
    }
    claims: dict[str, Any] = {claim: f"<{claim}>" for claim in names}
    claims |= {"address": {"formatted": "Street 1"}, "subject": "mallory", "tokenIdentifier": "x|y", "fva": [1, -1]}
    attributes = (await verifier.verify(token(**claims), ISSUED)).attributes
    assert {name: attributes[name] for name in names.values()} == {name: f"<{claim}>" for claim, name in names.items()}
    assert attributes["address"] == "Street 1"
    assert (attributes["subject"], attributes["tokenIdentifier"]) == (USER, f"{ISSUER}|{USER}")
    assert not {"aud", "exp", "iat", "nbf", "jti", "fva", "iss", "sub"} & set(attributes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iss": "https://clerk.evil.example"}, "Token issuer not accepted"),
        ({"iss": f"{ISSUER}/"}, "Token issuer not accepted"),
        ({"iss": ...}, "Token issuer not accepted"),
        ({"aud": "other"}, "Token audience not accepted"),
        ({"aud": ["other", "another"]}, "Token audience not accepted"),
        ({"aud": "convexity"}, "Token audience not accepted"),
        ({"sub": ...}, "Token without a subject"),
        ({"sub": ""}, "Token without a subject"),
        ({"sub": "user\0"}, "Token without a subject"),
        ({"sub": "u" * 10_000}, "Token without a subject"),
        ({"sub": "user one"}, "Token without a subject"),
        ({"exp": ...}, "Token without an expiry"),
        ({"exp": True}, "Token without an expiry"),
        ({"exp": 10**400}, "Token without an expiry"),
        ({"exp": 10**15}, "Token without an expiry"),
        ({"nbf": "soon"}, "Token malformed"),
        ({"sts": "pending"}, "Session has tasks to finish"),
    ],
)
async def test_wrong_claims_are_refused(verifier: TokenVerifier, changes: dict[str, Any], message: str) -> None:
    """Each refusal has a short public reason."""
    assert await refusal(verifier, token(**changes)) == message


async def test_g79_odd_claims_are_cleaned(verifier: TokenVerifier) -> None:
    """NUL is removed, and a long name is cut."""
    identity = await verifier.verify(token(email="a\0@example.test", name="x" * 10_000), ISSUED)
    assert (identity.email, len(identity.name or "")) == ("a@example.test", 500)


@pytest.mark.parametrize("audience", [..., None, "convex", ["other", "convex"]])
async def test_an_audience_is_checked_if_present(verifier: TokenVerifier, audience: object) -> None:
    """Session tokens have none unless customized."""
    assert await verifier.verify(token(aud=audience), ISSUED)


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (-16, "Token not yet valid"),
        (-15, None),
        (0, None),
        (64.9, None),
        (65, "Token expired"),
        (10_000, "Token expired"),
    ],
)
@pytest.mark.parametrize("seen_before", [False, True])
async def test_a_token_is_valid_until_five_seconds_after_its_expiry(
    verifier: TokenVerifier,
    seconds: float,
    message: str | None,
    seen_before: bool,
) -> None:
    """By the `now` argument, also when the verified token is cached."""
    text = token()
    if seen_before:
        await verifier.verify(text, ISSUED)
    now = ISSUED + timedelta(seconds=seconds)
    if message is None:
        assert await verifier.verify(text, now)
    else:
        assert await refusal(verifier, text, now) == message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc",
        "a.b.c",
        "ä.ö.ü",
        "\ud800",
        "x" * 20_000,
        part({"alg": "none", "kid": KID}) + "." + part(claims_of()) + ".",
        part([]) + "." + part([]) + ".",
        part({"alg": "RS256"}) + "." + part(claims_of()) + ".AAAA",
        part({"alg": "RS256", "kid": 5}) + "." + part(claims_of()) + ".AAAA",
        part({"alg": "RS256", "kid": KID}) + "." + part(claims_of()) + ".AAAA",
        part({"alg": "RS256", "kid": KID, "crit": ["b64"], "b64": False}) + "." + part(claims_of()) + ".AAAA",
    ],
)
async def test_text_without_a_valid_signature_is_refused(verifier: TokenVerifier, text: str) -> None:
    """Unsigned, malformed and oversized tokens."""
    assert (await refusal(verifier, text)).startswith("Token ")


async def test_a_signature_by_another_key_is_refused(verifier: TokenVerifier) -> None:
    """Also with the right key id, or with the public key used as a shared secret."""
    assert await refusal(verifier, token(key=OTHER_KEY)) == "Token signature invalid"
    shared = jwt.encode(claims_of(), "x" * 64, algorithm="HS256", headers={"kid": KID})
    assert await refusal(verifier, shared) == "Token not signed with RS256"
    header, _, signature = token().split(".")
    assert await refusal(verifier, f"{header}.{part(claims_of() | {'sub': 'user_else'})}.{signature}")


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_key_that_is_too_small_is_refused(answerer: Answerer) -> None:
    """An attacker can break 1024 bits."""
    answerer.will_answer(200, key_set(**{KID: SMALL_KEY}))
    verifier = TokenVerifier(SETTINGS, transport=answerer.transport)
    assert await refusal(verifier, token(key=SMALL_KEY)) == "Token signature invalid"
    await verifier.close()


@given(st.text())
def test_any_text_is_refused_without_a_crash(text: str) -> None:
    """Only InvalidToken is raised."""

    async def show() -> None:
        answerer = Answerer()
        answerer.will_answer(200, key_set(**{KID: KEY}))
        verifier = TokenVerifier(SETTINGS, transport=answerer.transport)
        await refusal(verifier, text)
        await verifier.close()

    anyio.run(show)


async def test_keys_are_fetched_once_for_many_tokens(verifier: TokenVerifier, answerer: Answerer) -> None:
    """Also for concurrent tokens."""
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(verifier.verify, token(jti=str(number)), ISSUED)
    await verifier.verify(token(jti="later"), ISSUED + timedelta(seconds=60))
    assert len(answerer.asked) == 1


async def test_a_new_key_is_fetched_when_a_token_names_it(verifier: TokenVerifier, answerer: Answerer) -> None:
    """Clerk may change its keys at any time."""
    await verifier.verify(token(), ISSUED)
    answerer.answers = [(200, json.dumps(key_set(**{KID: KEY, "new": OTHER_KEY})).encode(), {})]
    later = ISSUED + timedelta(seconds=31)
    assert await verifier.verify(token(key=OTHER_KEY, kid="new"), later)
    assert len(answerer.asked) == 2


async def test_unknown_key_ids_do_not_flood_the_issuer(verifier: TokenVerifier, answerer: Answerer) -> None:
    """Keys are fetched for unknown ids at most every 30 seconds."""
    for number in range(50):
        assert await refusal(verifier, token(kid=f"made-up-{number}")) == "Token signed with an unknown key"
    assert len(answerer.asked) == 1
    await refusal(verifier, token(kid="made-up"), ISSUED + timedelta(seconds=30))
    assert len(answerer.asked) == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b""), (404, {"keys": []}), (200, b"<html>"), (200, {"keys": []}), (200, {"keys": [5, {}]})],
)
async def test_missing_keys_are_a_vendor_error(answerer: Answerer, status: int, body: object) -> None:
    """An unavailable issuer does not make a token invalid; the next fetch may come soon."""
    answerer.will_answer(status, body)
    verifier = TokenVerifier(SETTINGS, transport=answerer.transport)
    for _ in range(3):
        with pytest.raises(VendorError) as caught:
            await verifier.verify(token(), ISSUED)
        assert (caught.value.permanent, caught.value.code) == (False, "keys_unavailable")
    assert len(answerer.asked) == 1
    answerer.answers = []
    answerer.will_answer(200, key_set(**{KID: KEY}))
    assert await verifier.verify(token(), ISSUED + timedelta(seconds=2))
    await verifier.close()


async def test_cached_keys_keep_working_while_the_issuer_is_down(verifier: TokenVerifier, answerer: Answerer) -> None:
    """A failed hourly renewal keeps the keys; an unknown key is a vendor error."""
    await verifier.verify(token(), ISSUED)
    answerer.answers = [(503, b"", {})]
    later = ISSUED + timedelta(hours=2)
    fresh = claims_of() | {"exp": later.timestamp() + 60, "nbf": later.timestamp()}
    assert await verifier.verify(token(fresh), later)
    assert len(answerer.asked) == 2
    with pytest.raises(VendorError):
        await verifier.verify(token(fresh, kid="new"), later)


async def test_a_revoked_key_stops_working_within_an_hour(verifier: TokenVerifier, answerer: Answerer) -> None:
    """Keys are renewed hourly."""
    await verifier.verify(token(), ISSUED)
    answerer.answers = [(200, json.dumps(key_set(new=OTHER_KEY)).encode(), {})]
    later = ISSUED + timedelta(hours=1)
    fresh = claims_of() | {"exp": later.timestamp() + 60, "nbf": later.timestamp()}
    assert await refusal(verifier, token(fresh), later) == "Token signed with an unknown key"


async def test_a_clock_that_moves_back_does_not_block_fetching(verifier: TokenVerifier, answerer: Answerer) -> None:
    """The interval between fetches does not apply to a time before the last fetch."""
    later = ISSUED + timedelta(days=1)
    fresh = claims_of() | {"exp": later.timestamp() + 60, "nbf": later.timestamp()}
    await verifier.verify(token(fresh), later)
    await refusal(verifier, token(kid="new"))
    assert len(answerer.asked) == 2


async def test_the_cache_of_verified_tokens_is_bounded(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached token needs no signature check; the least recently used is evicted first."""
    answerer.will_answer(200, key_set(**{KID: KEY}))
    verifier = TokenVerifier(SETTINGS, transport=answerer.transport, cached_tokens=2)
    one, two, three = (token(jti=jti) for jti in "123")
    for text in (one, two, one, three):
        await verifier.verify(text, ISSUED)
    checked: list[str] = []
    decode = jwt.PyJWS.decode

    def record_and_decode(self: jwt.PyJWS, text: str, *args: Any, **options: Any) -> Any:
        checked.append(text)
        return decode(self, text, *args, **options)

    monkeypatch.setattr(jwt.PyJWS, "decode", record_and_decode)
    for text in (one, three, two):
        await verifier.verify(text, ISSUED)
    assert checked == [two]
    await verifier.close()


async def test_keys_may_come_from_a_file(tmp_path: Path) -> None:
    """For installations that cannot reach the issuer; a missing file is a vendor error."""
    file = tmp_path / "jwks.json"
    verifier = TokenVerifier(ClerkSettings(issuer=ISSUER, jwks_file=file))
    with pytest.raises(VendorError):
        await verifier.verify(token(), ISSUED)
    file.write_text(json.dumps(key_set(**{KID: KEY})))
    assert await verifier.verify(token(), ISSUED + timedelta(seconds=2))
    await verifier.close()
