"""From credentials to the caller: a session token, the admin key, or the admin key acting as a person.

A request without credentials is anonymous; bad ones are refused, and never treated as absent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeGuard, cast

import msgspec
from litestar.types import Scope

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import Caller
from daysong.transport.callers.viewers import viewer_of
from daysong.transport.refusals import Refused
from daysong.vendors.clerk.client import InvalidToken, TokenVerifier

LONGEST_HEADER = 20_000
LONGEST_TEXT = 1_000
WRONG_KEY = 403

log = logs.get_logger("auth")


class Session(NamedTuple):
    """A caller whose credentials were verified, and until when they hold; None for as long as they are shown."""

    caller: Caller
    expires_at: datetime | None

    def has_run_out(self, now: datetime) -> bool:
        """Whether it holds no more."""
        return self.expires_at is not None and self.expires_at <= now


class Guard(Protocol):
    """Who slows guesses at the admin key."""

    async def before_guess(self, viewer: str) -> None: ...

    async def wrong_guess(self, viewer: str) -> None: ...


class Authenticator:
    """Tells who is calling."""

    def __init__(self, verifier: TokenVerifier, admin_key: str) -> None:
        self._verifier = verifier
        self._admin_key = _digest(_without_prefix(admin_key)) if admin_key else None
        self._viewers_secret = admin_key
        self.guard: Guard | None = None

    async def caller(self, scope: Scope, now: datetime) -> Caller:
        """Who sent this HTTP request, by its Authorization header; without one, a viewer.

        Refused (401) for a header or token that is no good, (403) for a wrong admin key, (503) when tokens cannot be
        verified for now.
        """
        found = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        if not found:
            client = scope.get("client")
            return self.viewer(client[0] if client else "", now)
        if len(found) > 1 or len(found[0]) > LONGEST_HEADER:
            raise _invalid("more than one Authorization header, or one that is too long")
        scheme, _, credentials = found[0].decode("latin-1").strip().partition(" ")
        credentials = credentials.strip()
        match scheme.lower():
            case "bearer" if credentials:
                return (await self.user(credentials, now)).caller
            case "convex" if credentials:
                client = scope.get("client")
                viewer = self.viewer(client[0] if client else "", now).viewer
                return await self.guarded(viewer, lambda: self._admin_header(credentials))
        raise _invalid("expected 'Bearer <token>' or 'Convex <admin key>'")

    async def guarded(self, viewer: str, admin: Callable[[], Caller]) -> Caller:
        """What `admin` makes of an admin key; a wrong one is answered slowly, and too many of an address not at all."""
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
        """An anonymous caller from that address; "" when it is not known."""
        scope = cast("Scope", {"client": (address, 0) if address else None})
        return Caller(viewer=viewer_of(scope, now, self._viewers_secret))

    async def user(self, token: str, now: datetime) -> Session:
        """The person a session token belongs to; Refused as above."""
        if len(token) > LONGEST_HEADER:
            raise _invalid("a token that is too long")
        try:
            identity = await self._verifier.verify(token, now)
        except InvalidToken as error:
            raise _invalid(error.message) from None
        except VendorError as error:
            log.warning("tokens cannot be verified", error=str(error))
            raise Refused(503, "AuthProviderUnavailable", "Tokens cannot be verified right now.") from error
        return Session(
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
        """The holder of the admin key, who may call internal functions too; perhaps in the name of a person.

        `acting_as` is JSON. Refused (403) for a wrong key, (401) for an identity that is none.
        """
        if not self._is_admin_key(_without_prefix(key)):
            raise Refused(403, "BadDeployKey", "The provided admin key was not accepted.")
        try:
            identity = msgspec.json.decode(acting_as, type=dict[str, Any] | None)
        except (ValueError, RecursionError):
            raise _invalid("the identity to act as is not a JSON object") from None
        return Caller(is_admin=True) if identity is None else _acting_as(identity)

    def _admin_header(self, credentials: str) -> Caller:
        # The whole first: a key of ours may contain a colon itself.
        if self._is_admin_key(_without_prefix(credentials)):
            return Caller(is_admin=True)
        key, colon, encoded = credentials.rpartition(":")
        caller = self.admin(key if colon else credentials)
        return _acting_as(_decoded(encoded)) if encoded else caller

    def _is_admin_key(self, key: str) -> bool:
        # Digests are of one length, so that the time taken tells nothing of the key's.
        return self._admin_key is not None and hmac.compare_digest(_digest(key), self._admin_key)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _without_prefix(key: str) -> str:
    """A deploy key may begin with the deployment's name and `|`, which is no part of the secret."""
    _, bar, secret = key.partition("|")
    return secret if bar else key


def _invalid(why: str) -> Refused:
    return Refused(401, "InvalidAuthHeader", f"Could not authenticate: {why}.")


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
