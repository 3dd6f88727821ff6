"""Clerk, running here: signing keys that outlive a restart, session tokens, users, and webhooks about them.

Besides Clerk's own API:

    POST /sandbox/clerk/sign-in      {sub, email?, name?, ttl?, claims?} → {jwt}: a token of the template "convex" for
                                     `ttl` seconds (an hour); `claims` are laid over it, null takes one away. Somebody
                                     new is made
    POST /sandbox/clerk/token        {sub} → {jwt}: a new token of the session, as Clerk's script gets them; 401 once it
                                     has ended. Sessions do not outlive a restart, so unknown users get a new one
    POST /sandbox/clerk/sign-out     {sub}: ends the session
    POST /sandbox/clerk/update       {sub, email?, name?, phone?, phoneStrategy?, banned?, locked?, lockSeconds?}:
                                     what is not given stays, null takes away; a phone is verified by `phone_code` or
                                     another strategy, a lock ends by itself after so many seconds
    POST /sandbox/clerk/delete       {sub}: deletes a user, as the app or the dashboard would
    POST /sandbox/clerk/rotate-keys  {keep_old?} → {kid}: sign with a new key; the old ones stay known unless `keep_old`
                                     is false
    POST /sandbox/clerk/webhooks     {automatic}: whether all this is told to the app by webhooks (in `daysong dev` it
                                     is); without, update and delete tell of it at once, and the rest goes untold
    GET  /sandbox/clerk/webhooks     → every webhook there was, and how it was answered
    POST /sandbox/clerk/send         {type, data} → sends this webhook now
    POST /sandbox/clerk/redeliver    {svixId?} → sends one, or all there were, once more
"""

from __future__ import annotations

import json
import math
import os
import secrets
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import unquote

import httpx2
import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

from daysong.kernel.time.clock import Clock
from daysong.sandbox.clerk.people import Person
from daysong.sandbox.clerk.webhooks import Webhooks
from daysong.sandbox.faults import ClerkFaults, Faults
from daysong.sandbox.vendor import Answer, Call, Vendor, reply

SECRET_KEY = "sk_test_sandbox"  # noqa: S105 - the sandbox's, worth nothing elsewhere
KEYS_FILE = "clerk-keys.json"
NOT_BEFORE_SKEW = 10
# Seconds that a token of a session is valid, as Clerk's.
SESSION_TOKEN = 60


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """Who signs in, and for how long."""

    sub: Annotated[str, msgspec.Meta(min_length=1)]
    email: str | None = None
    name: str | None = None
    ttl: int = 3600
    claims: dict[str, Any] = {}


class Rotate(msgspec.Struct, forbid_unknown_fields=True):
    """Whether tokens signed before remain valid."""

    keep_old: bool = True


class OneSub(msgspec.Struct, forbid_unknown_fields=True):
    """A user's Clerk id."""

    sub: str


class Update(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Changes to a user."""

    sub: str
    email: str | msgspec.UnsetType | None = msgspec.UNSET
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    phone: str | msgspec.UnsetType | None = msgspec.UNSET
    phone_strategy: str | msgspec.UnsetType | None = msgspec.UNSET
    banned: bool | msgspec.UnsetType = msgspec.UNSET
    locked: bool | msgspec.UnsetType = msgspec.UNSET
    lock_seconds: float | msgspec.UnsetType | None = msgspec.UNSET


class StoredKey(msgspec.Struct, frozen=True):
    """A private signing key and its id."""

    kid: str
    pem: str


class SandboxClerk(Vendor):
    """Signs users in and serves Clerk's Backend API."""

    name: ClassVar[str] = "clerk"
    fault_type: ClassVar[type[Faults]] = ClerkFaults

    faults: ClerkFaults

    def __init__(
        self, clock: Clock, origin: str, data_dir: Path, *, http: httpx2.AsyncClient, live: bool = False
    ) -> None:
        super().__init__(clock)
        self.webhooks = Webhooks(clock, http, origin, live=live, faults=lambda: self.faults)
        self.issuer = f"{origin}/sandbox/clerk"
        self._origin = origin
        self._file = data_dir / KEYS_FILE
        self._keys = self._stored() or [new_key()]
        self._private = {key.kid: _private(key) for key in self._keys}
        self._save()
        self.users: dict[str, Person] = {}
        self._gone: dict[str, float] = {}

    async def serve(self, call: Call, faults: Faults) -> Answer:  # noqa: ARG002 - every fault is dealt with by Vendor
        """Serve the key set and the deletion of a user."""
        if call.method == "GET" and call.path in {"/.well-known/jwks.json", "/v1/jwks"}:
            return reply({"keys": [_public(kid, key) for kid, key in self._private.items()]})
        if call.method == "DELETE" and call.path.startswith("/v1/users/"):
            return self._delete(call)
        return _errors(404, "resource_not_found", "not found")

    async def control(self, call: Call) -> Answer | None:
        """Serve the sandbox's own endpoints."""
        try:
            match call.method, call.path:
                case "POST", "/sign-in":
                    return reply({"jwt": self.sign_in(msgspec.json.decode(call.body, type=SignIn))})
                case "POST", "/token":
                    return self._token(msgspec.json.decode(call.body, type=OneSub).sub)
                case "POST", "/rotate-keys":
                    return reply({"kid": self.rotate_keys(msgspec.json.decode(call.body or b"{}", type=Rotate))})
                case "POST", "/sign-out":
                    return self._sign_out(msgspec.json.decode(call.body, type=OneSub).sub)
                case "POST", "/update":
                    return await self._update(msgspec.json.decode(call.body, type=Update))
                case "POST", "/delete":
                    return await self._delete_by_hand(msgspec.json.decode(call.body, type=OneSub).sub)
            return await self.webhooks.control(call)
        except msgspec.DecodeError as error:
            return reply({"error": str(error)}, 400)

    def error(self, status: int | None, code: int | str | None) -> tuple[int, Any]:
        """Return a list of errors, as the Backend API does."""
        name = str(code or {429: "too_many_requests", 404: "resource_not_found"}.get(status or 0, "sandbox_fault"))
        return status or 400, _error_body(name, "The sandbox was told to fail")

    def sign_in(self, who: SignIn) -> str:
        """Return a session token of the template "convex" for `who`."""
        now = self.clock.now()
        self._known(who, now)
        issued = int(now.timestamp())
        given, _, family = (who.name or "").partition(" ")
        claims: dict[str, Any] = {
            "azp": self._origin,
            "exp": issued + who.ttl,
            # In milliseconds, and after a deletion of the same user, so that the tokens can be told apart.
            "iat": max(math.ceil(now.timestamp() * 1000), self._gone.get(who.sub, 0) + 1) / 1000,
            "iss": self.issuer,
            "nbf": issued - NOT_BEFORE_SKEW,
            "sub": who.sub,
            "aud": "convex",
            "email": who.email,
            "email_verified": who.email is not None,
            "family_name": family or None,
            "given_name": given or None,
            "jti": secrets.token_hex(10),
            "name": who.name,
            "nickname": None,
            "phone_number": None,
            "picture": f"https://img.example.com/{who.sub}.png",
            "updated_at": datetime(2026, 1, 1, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        for claim, value in who.claims.items():
            claims[claim] = value
            if value is None:
                del claims[claim]
        kid = self._keys[0].kid
        return jwt.encode(claims, self._private[kid], algorithm="RS256", headers={"kid": kid})

    def rotate_keys(self, how: Rotate) -> str:
        """Sign with a new key from now on; return its id."""
        self._keys = [new_key(), *(self._keys if how.keep_old else [])]
        self._private = {key.kid: _private(key) for key in self._keys}
        self._save()
        return self._keys[0].kid

    def _delete(self, call: Call) -> Answer:
        if call.bearer != SECRET_KEY:
            return _errors(401, "authentication_invalid", "Invalid authentication")
        user = unquote(call.path.removeprefix("/v1/users/"))
        if user not in self.users:
            return _errors(404, "resource_not_found", "not found")
        return reply(self._deleted(user, tell=True))

    def _known(self, who: SignIn, now: datetime) -> None:
        person = self.users.get(who.sub)
        if person is None:
            person = self.users[who.sub] = Person.new(who.sub, who.email, who.name, now)
            self.webhooks.tell("user.created", person.as_user())
        if person.session is None:
            person.session = f"sess_{secrets.token_hex(12)}"
            self.webhooks.tell("session.created", person.as_session("active", now))

    def _token(self, sub: str) -> Answer:
        person = self.users.get(sub)
        if person.session is None if person is not None else sub in self._gone:
            return _errors(401, "authentication_invalid", "The session has ended")
        name = sub.removeprefix("user_")
        who = SignIn(sub, f"{name}@example.test", name.replace("_", " ").capitalize(), SESSION_TOKEN)
        if person is not None:
            who = SignIn(sub, person.email, person.name, SESSION_TOKEN)
        return reply({"jwt": self.sign_in(who)})

    def _sign_out(self, sub: str) -> Answer:
        person = self.users.get(sub)
        if person is None or person.session is None:
            return _errors(404, "resource_not_found", "not found")
        self.webhooks.tell("session.ended", person.as_session("ended", self.clock.now()))
        person.session = None
        return reply({})

    async def _update(self, change: Update) -> Answer:
        person = self.users.get(change.sub)
        if person is None:
            return _errors(404, "resource_not_found", "not found")
        for field in ("email", "name", "phone", "phone_strategy", "banned", "locked", "lock_seconds"):
            value = getattr(change, field)
            if value is not msgspec.UNSET:
                setattr(person, field, value)
        person.touch(self.clock.now())
        return await self._told("user.updated", person.as_user())

    async def _delete_by_hand(self, sub: str) -> Answer:
        if sub not in self.users:
            return _errors(404, "resource_not_found", "not found")
        return await self._told("user.deleted", self._deleted(sub, tell=False))

    def _deleted(self, sub: str, *, tell: bool) -> dict[str, Any]:
        now = self.clock.now()
        person = self.users.pop(sub)
        self._gone[sub] = math.ceil(now.timestamp() * 1000)
        if person.session is not None:
            self.webhooks.tell("session.removed", person.as_session("removed", now))
        gone = {"object": "user", "id": sub, "deleted": True}
        if tell:
            self.webhooks.tell("user.deleted", gone)
        return gone

    async def _told(self, kind: str, data: dict[str, Any]) -> Answer:
        if self.webhooks.automatic:
            self.webhooks.tell(kind, data)
            return reply({})
        return reply(await self.webhooks.send(kind, data))

    def _stored(self) -> list[StoredKey]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[StoredKey])
        except FileNotFoundError:
            return []

    def _save(self) -> None:
        """Write the keys atomically, readable only by this user."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(f".{secrets.token_hex(4)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(self._keys))
        fresh.replace(self._file)


def new_key() -> StoredKey:
    """Return a new key to sign tokens with."""
    pem = generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return StoredKey(f"ins_{secrets.token_hex(12)}", pem.decode())


@lru_cache(16)
def _private(key: StoredKey) -> RSAPrivateKey:
    loaded = serialization.load_pem_private_key(key.pem.encode(), password=None)
    if not isinstance(loaded, RSAPrivateKey):
        raise TypeError(f"{key.kid} is no RSA key")
    return loaded


def _public(kid: str, key: RSAPrivateKey) -> dict[str, Any]:
    public: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
    return {"use": "sig", "kty": "RSA", "kid": kid, "alg": "RS256", "n": public["n"], "e": public["e"]}


def _error_body(code: str, message: str) -> dict[str, Any]:
    return {
        "clerk_trace_id": secrets.token_hex(16),
        "errors": [{"code": code, "long_message": message, "message": message}],
    }


def _errors(status: int, code: str, message: str) -> Answer:
    return reply(_error_body(code, message), status)
