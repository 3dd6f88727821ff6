"""Authentication: credentials to callers. They are a session token, or the admin key, also acting as a user.

A request without credentials is anonymous; invalid ones are refused, and never treated as absent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeGuard, cast

import msgspec
from litestar.types import Scope

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import Caller
from daysong.kernel.keys import is_one_of
from daysong.transport.callers.viewers import viewer_of
from daysong.transport.refusals import Refused
from daysong.transport.server.headers import only_value, values_of
from daysong.vendors.clerk.client import InvalidToken, TokenVerifier

LONGEST_HEADER = 20_000
LONGEST_TEXT = 1_000
KNOWN_TOKENS = 10_000
WRONG_KEY = 403

log = logs.get_logger("auth")


class SignIn(NamedTuple):
    """A caller with verified credentials, and when these expire; None for the admin key."""

    caller: Caller
    expires_at: datetime | None

    def has_expired(self, now: datetime) -> bool:
        """Whether the credentials have expired."""
        return self.expires_at is not None and self.expires_at <= now


class Guard(Protocol):
    """Rate limits of guesses at the admin key."""

    async def before_guess(self, viewer: str) -> None: ...

    async def wrong_guess(self, viewer: str) -> None: ...


class Authenticator:
    """Verifies credentials and returns callers."""

    def __init__(self, verifier: TokenVerifier, admin_keys: Sequence[str], viewers_secret: str) -> None:
        """Accept any of the admin keys; `viewers_secret` keys the pseudonyms of anonymous viewers."""
        self._verifier = verifier
        self._admin_keys = [_without_prefix(key) for key in admin_keys if key]
        self._viewers_secret = viewers_secret
        # Callers by the hash of an Authorization header with a token, and from when until when they are valid.
        self._known: dict[bytes, tuple[Caller, datetime, datetime]] = {}
        self.guard: Guard | None = None

    async def is_admin(self, scope: Scope, now: datetime) -> bool:
        """Return whether an HTTP request has the admin key; False for any other, and for a wrong key."""
        try:
            return (await self.caller(scope, now)).is_admin
        except Refused:
            return False

    def known(self, scope: Any, now: datetime) -> Caller | None:
        """Return the caller of an HTTP request whose token `caller` has verified, as long as it has not expired."""
        header = only_value(scope, b"authorization")
        known = None if header is None else self._known.get(hashlib.sha256(header).digest())
        return known[0] if known is not None and known[1] <= now < known[2] else None

    def _remember(self, header: bytes, sign_in: SignIn, now: datetime) -> None:
        if sign_in.expires_at is not None:
            if len(self._known) >= KNOWN_TOKENS:
                self._known.clear()
            self._known[hashlib.sha256(header).digest()] = (sign_in.caller, now, sign_in.expires_at)

    async def caller(self, scope: Scope, now: datetime) -> Caller:
        """Return the caller of an HTTP request, by its Authorization header; without one, an anonymous viewer.

        Errors: Refused (401) for an invalid header or token, (403) for a wrong admin key, (503) when tokens cannot be
        verified now.
        """
        found = values_of(scope, b"authorization")
        if not found:
            client = scope.get("client")
            return self.viewer(client[0] if client else "", now)
        if len(found) > 1 or len(found[0]) > LONGEST_HEADER:
            raise _invalid("more than one Authorization header, or one that is too long")
        scheme, _, credentials = found[0].decode("latin-1").strip().partition(" ")
        credentials = credentials.strip()
        match scheme.lower():
            case "bearer" if credentials:
                sign_in = await self.user(credentials, now)
                self._remember(found[0], sign_in, now)
                return sign_in.caller
            case "convex" if credentials:
                client = scope.get("client")
                viewer = self.viewer(client[0] if client else "", now).viewer
                return await self.guarded(viewer, lambda: self._admin_header(credentials))
        raise _invalid("expected 'Bearer <token>' or 'Convex <admin key>'")

    async def guarded(self, viewer: str, admin: Callable[[], Caller]) -> Caller:
        """Call `admin` to check an admin key. A wrong key gets a slow answer, too many from one address get none."""
        if self.guard is None:
            return admin()
        await self.guard.before_guess(viewer)
        try:
            return admin()
        except Refused as error:
            if error.status == WRONG_KEY:
                await self.guard.wrong_guess(viewer)
            raise

    def viewer(self, address: str, now: datetime) -> Caller:
        """Return an anonymous caller from that address; "" when it is unknown."""
        scope = cast("Scope", {"client": (address, 0) if address else None})
        return Caller(viewer=viewer_of(scope, now, self._viewers_secret))

    async def user(self, token: str, now: datetime) -> SignIn:
        """Verify a session token. Errors: Refused as for `caller`."""
        if len(token) > LONGEST_HEADER:
            raise _invalid("a token that is too long")
        try:
            identity = await self._verifier.verify(token, now)
        except InvalidToken as error:
            raise _invalid(error.message) from None
        except VendorError as error:
            log.warning("tokens cannot be verified", error=str(error))
            raise Refused(503, "AuthProviderUnavailable", "Tokens cannot be verified right now.") from error
        return SignIn(
            Caller(
                subject=identity.subject,
                token_identifier=identity.token_identifier,
                email=identity.email,
                name=identity.name,
                attributes=identity.attributes,
                issued_at=identity.issued_at,
            ),
            identity.expires_at,
        )

    def admin(self, key: str, acting_as: bytes = b"null") -> Caller:
        """Return the caller with the admin key, who may also call internal functions and may act as a user.

        `acting_as` is JSON. Errors: Refused (403) for a wrong key, (401) for an invalid identity.
        """
        if not self._is_admin_key(_without_prefix(key)):
            raise Refused(403, "BadDeployKey", "The provided admin key was not accepted.")
        try:
            identity = msgspec.json.decode(acting_as, type=dict[str, Any] | None)
        except (ValueError, RecursionError):
            raise _invalid("the identity to act as is not a JSON object") from None
        return Caller(is_admin=True) if identity is None else _acting_as(identity)

    def _admin_header(self, credentials: str) -> Caller:
        # The whole text first, since the key itself may contain a colon.
        if self._is_admin_key(_without_prefix(credentials)):
            return Caller(is_admin=True)
        key, colon, encoded = credentials.rpartition(":")
        caller = self.admin(key if colon else credentials)
        return _acting_as(_decoded(encoded)) if encoded else caller

    def _is_admin_key(self, key: str) -> bool:
        return is_one_of(key, self._admin_keys)


def _without_prefix(key: str) -> str:
    """Return the secret of a deploy key, which may begin with the deployment's name and `|`."""
    _, bar, secret = key.partition("|")
    return secret if bar else key


def _invalid(reason: str) -> Refused:
    return Refused(401, "InvalidAuthHeader", f"Could not authenticate: {reason}.")


def _decoded(encoded: str) -> Mapping[str, Any]:
    try:
        identity = msgspec.json.decode(base64.b64decode(encoded, validate=True), type=dict[str, Any])
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        raise _invalid("the identity to act as is not base64 of a JSON object") from None
    return identity


def _acting_as(identity: Mapping[str, Any]) -> Caller:
    issuer, subject, token_identifier = (identity.get(name) for name in ("issuer", "subject", "tokenIdentifier"))
    if token_identifier is None and _is_text(issuer) and _is_text(subject):
        token_identifier = f"{issuer}|{subject}"
    if not _is_text(token_identifier):
        raise _invalid("the identity to act as needs a tokenIdentifier, or an issuer and a subject")
    if subject is None:
        # An issuer is a URL and contains no bar; a subject may.
        subject = token_identifier.partition("|")[2]
    if not _is_text(subject):
        raise _invalid("the identity to act as has no subject")
    email, name = identity.get("email"), identity.get("name")
    return Caller(
        subject=subject,
        token_identifier=token_identifier,
        email=email if _is_text(email) else None,
        name=name if _is_text(name) else None,
        attributes={
            **{key: value for key, value in identity.items() if value is not None},
            "tokenIdentifier": token_identifier,
            "issuer": issuer if _is_text(issuer) else token_identifier.partition("|")[0],
            "subject": subject,
        },
        is_admin=True,
    )


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and "\0" not in value
