"""Clerk: verification of session tokens, and deletion of users.

A token is valid when it is signed with RS256 by a key of the issuer, names that issuer, has the right audience (`aud`
contains "convex" if present), has not expired, and its session has no pending tasks (`sts` is not "pending").
The browser's origin (`azp`) is not checked: native apps have none, and CORS does not protect an API with tokens.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx2
import jwt
import msgspec

from daysong.kernel import logs
from daysong.kernel.errors import DaysongError, VendorError
from daysong.kernel.limits.breakers import Breaker
from daysong.kernel.limits.lines import Line
from daysong.kernel.settings import ClerkSettings
from daysong.kernel.time.clock import Clock, SystemClock, from_ms
from daysong.vendors.clerk.events import is_id, short_text
from daysong.vendors.http import client, retry_after, slug

AUDIENCE = "convex"
LEEWAY = timedelta(seconds=5)
KEYS_TIMEOUT = 5.0
KEYS_LIFE = timedelta(hours=1)
# Anyone can invent key ids; unknown ones cause a fetch at most this often.
COOL_DOWN = timedelta(seconds=30)
COOL_DOWN_AFTER_FAILURE = timedelta(seconds=2)
LONGEST_TOKEN = 16_384
CACHED_TOKENS = 10_000

# Tokens are refreshed every minute: claims that differ between tokens of one session are not part of the identity.
_HOUSEKEEPING = frozenset({"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "fva"})
_RENAMED = {
    "given_name": "givenName",
    "family_name": "familyName",
    "preferred_username": "preferredUsername",
    "profile": "profileUrl",
    "picture": "pictureUrl",
    "website": "websiteUrl",
    "email_verified": "emailVerified",
    "birthdate": "birthday",
    "zoneinfo": "timezone",
    "locale": "language",
    "phone_number": "phoneNumber",
    "phone_number_verified": "phoneNumberVerified",
    "updated_at": "updatedAt",
}

_log = logs.get_logger("clerk")


class InvalidToken(DaysongError):
    """The token is refused. `message` is public and repeats nothing from the token."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The user of a verified token.

    attributes  the token's claims under their OpenID Connect names in camelCase, without nulls
    """

    subject: str
    issuer: str
    token_identifier: str
    email: str | None
    name: str | None
    expires_at: datetime
    issued_at: datetime | None = None
    attributes: dict[str, Any]


class _Verified(msgspec.Struct, frozen=True):
    identity: Identity
    not_before: datetime | None


class TokenVerifier:
    """Verifies session tokens.

    Verified tokens are cached until they expire, since clients send the same one repeatedly.
    """

    def __init__(
        self,
        settings: ClerkSettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        audience: str = AUDIENCE,
        cached_tokens: int = CACHED_TOKENS,
    ) -> None:
        self._issuer = settings.issuer
        self._audience = audience
        self._keys = _Keys(settings, transport)
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._room = cached_tokens

    async def close(self) -> None:
        """Release the connections."""
        await self._keys.close()

    async def verify(self, token: str, now: datetime) -> Identity:
        """Return the identity of `token` at `now`. Errors: InvalidToken; VendorError when no keys are available."""
        if len(token) > LONGEST_TOKEN:
            raise InvalidToken("Token malformed")
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = self._verified.get(digest)
        if found is None:
            found = self._judged(await self._claims(token, now))
            self._verified[digest] = found
            if len(self._verified) > self._room:
                self._verified.popitem(last=False)
        if found.identity.expires_at <= now - LEEWAY:
            del self._verified[digest]
            raise InvalidToken("Token expired")
        if found.not_before is not None and found.not_before > now + LEEWAY:
            raise InvalidToken("Token not yet valid")
        self._verified.move_to_end(digest)
        return found.identity

    async def _claims(self, token: str, now: datetime) -> dict[str, Any]:
        """Return the claims of a token after checking its signature; the claims themselves are unchecked."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, UnicodeError, RecursionError):
            raise InvalidToken("Token malformed") from None
        kid = header.get("kid")
        if header.get("alg") != "RS256" or not isinstance(kid, str):
            raise InvalidToken("Token not signed with RS256")
        key = await self._keys.get(kid, now)
        if key is None:
            raise InvalidToken("Token signed with an unknown key")
        try:
            # PyJWT would use the system clock: claims are checked by `_judged` and `verify`, against `now`.
            options: dict[str, Any] = {"verify_signature": True, "enforce_minimum_key_length": True}
            signed: bytes = jwt.PyJWS().decode(token, key, algorithms=["RS256"], options=options)  # type: ignore[arg-type]
            claims = msgspec.json.decode(signed)
        except (jwt.PyJWTError, msgspec.DecodeError, UnicodeError, RecursionError):
            raise InvalidToken("Token signature invalid") from None
        if not isinstance(claims, dict):
            raise InvalidToken("Token malformed")
        return claims

    def _judged(self, claims: dict[str, Any]) -> _Verified:
        """Return the identity in signed claims; the caller checks the times. Errors: InvalidToken."""
        issuer, subject = claims.get("iss"), claims.get("sub")
        if issuer != self._issuer:
            raise InvalidToken("Token issuer not accepted")
        if not is_id(subject):
            raise InvalidToken("Token without a subject")
        audience = claims.get("aud")
        if audience is not None and self._audience not in (audience if isinstance(audience, list) else [audience]):
            raise InvalidToken("Token audience not accepted")
        if claims.get("sts") == "pending":
            raise InvalidToken("Session has tasks to finish")
        expires_at = _moment(claims.get("exp"))
        if expires_at is None:
            raise InvalidToken("Token without an expiry")
        not_before = claims.get("nbf")
        if not_before is not None and _moment(not_before) is None:
            raise InvalidToken("Token malformed")
        return _Verified(
            Identity(
                subject=subject,
                issuer=self._issuer,
                token_identifier=f"{self._issuer}|{subject}",
                email=short_text(claims.get("email")),
                name=short_text(claims.get("name")),
                expires_at=expires_at,
                issued_at=_moment(claims.get("iat")),
                attributes=_attributes(claims, self._issuer, subject),
            ),
            _moment(not_before),
        )


class _Keys:
    """The issuer's public keys, fetched on first use, hourly, and when a token names an unknown key.

    One fetch runs at a time. While the issuer is unreachable, cached keys stay in use.
    """

    def __init__(self, settings: ClerkSettings, transport: httpx2.AsyncBaseTransport | None) -> None:
        self._url = f"{settings.issuer.rstrip('/')}/.well-known/jwks.json"
        self._file = settings.jwks_file
        self._http = client("clerk", base_url=settings.issuer, timeout=KEYS_TIMEOUT, transport=transport)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetch = asyncio.Lock()
        self._asked_at: datetime | None = None
        self._failure: str | None = None

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, kid: str, now: datetime) -> jwt.PyJWK | None:
        """Return the key; None when the issuer has no such key. Errors: VendorError when the issuer is unreachable."""
        key = self._keys.get(kid)
        if key is not None and (self._fetch.locked() or not self._due(now, KEYS_LIFE)):
            return key
        async with self._fetch:
            # The previous holder of the lock may have fetched the key.
            pause = COOL_DOWN_AFTER_FAILURE if self._failure else KEYS_LIFE if kid in self._keys else COOL_DOWN
            if self._due(now, pause):
                await self._refetch(now)
        key = self._keys.get(kid)
        if key is None and self._failure is not None:
            raise _no_keys(self._failure)
        return key

    def _due(self, now: datetime, pause: timedelta) -> bool:
        """Return whether the last fetch is at least `pause` old; True also when the clock was turned back."""
        return self._asked_at is None or not timedelta(0) <= now - self._asked_at < pause

    async def _refetch(self, now: datetime) -> None:
        self._asked_at = now
        try:
            self._keys = _usable_keys(await self._document())
            self._failure = None
        except VendorError as error:
            self._failure = str(error)
            _log.warning("keys could not be fetched", detail=self._failure, keys_known=len(self._keys))

    async def _document(self) -> bytes:
        if self._file is not None:
            try:
                return await asyncio.to_thread(self._file.read_bytes)
            except OSError as error:
                raise _no_keys(f"the key file cannot be read ({type(error).__name__})") from error
        answer = await self._http.get(self._url)
        if answer.status_code != httpx2.codes.OK:
            raise _no_keys(f"the issuer answered {answer.status_code}")
        return answer.content


class ClerkUsers:
    """The users of a Clerk instance, through its Backend API."""

    def __init__(
        self,
        settings: ClerkSettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        timeout: float = 30.0,
        clock: Clock | None = None,
        line: Line | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._has_key = settings.secret_key is not None
        self._http = client(
            "clerk",
            base_url=settings.base_url,
            headers={"Authorization": f"Bearer {settings.secret_key}"},
            timeout=timeout,
            transport=transport,
            line=line,
            breaker=breaker,
        )

    async def close(self) -> None:
        """Release the connections."""
        await self._http.aclose()

    async def delete_user(self, clerk_id: str) -> None:
        """Delete a user; 404 counts as deleted. Clerk then sends user.deleted."""
        if not self._has_key:
            raise VendorError("clerk", "CLERK_SECRET_KEY is not set", permanent=True, code="not_configured")
        answer = await self._http.delete(f"/v1/users/{quote(clerk_id, safe='')}")
        status = answer.status_code
        if status in {httpx2.codes.OK, httpx2.codes.NOT_FOUND}:
            return
        if status in {httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN}:
            _log.error("Clerk needs attention", status=status)
        raise VendorError(
            "clerk",
            f"deleting a user answered {status}, code {_code(answer.content)}",
            permanent=status < httpx2.codes.INTERNAL_SERVER_ERROR and status not in {408, 409, 425, 429},
            retry_after=retry_after(answer.headers, self._clock.now()),
            code=f"http_{status}",
        )


def _code(content: bytes) -> str | None:
    """Return Clerk's own code of its first error, if there is one."""
    try:
        body = msgspec.json.decode(content)
        return slug(body["errors"][0]["code"])
    except (msgspec.DecodeError, RecursionError, LookupError, TypeError):
        return None


def _usable_keys(document: bytes) -> dict[str, jwt.PyJWK]:
    """Return the RSA signing keys of a key set by id. Errors: VendorError when there is none."""
    try:
        found = msgspec.json.decode(document)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _no_keys("the key set is not JSON") from error
    keys: dict[str, jwt.PyJWK] = {}
    entries = found.get("keys") if isinstance(found, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or entry.get("kty") != "RSA" or entry.get("use", "sig") != "sig":
            continue
        try:
            keys[str(entry["kid"])] = jwt.PyJWK(entry, algorithm="RS256")
        except (jwt.PyJWTError, KeyError, ValueError, TypeError):
            continue
    if not keys:
        raise _no_keys("the key set holds no usable key")
    return keys


def _no_keys(detail: str) -> VendorError:
    return VendorError("clerk", detail, permanent=False, code="keys_unavailable")


def _attributes(claims: dict[str, Any], issuer: str, subject: str) -> dict[str, Any]:
    found = {_RENAMED.get(claim, claim): value for claim, value in claims.items() if claim not in _HOUSEKEEPING}
    if isinstance(address := found.get("address"), dict):
        found["address"] = address.get("formatted")
    kept = {name: value for name, value in found.items() if value is not None}
    return kept | {"tokenIdentifier": f"{issuer}|{subject}", "issuer": issuer, "subject": subject}


def _moment(value: Any) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return from_ms(value * 1000)
    except (OverflowError, ValueError):
        return None
