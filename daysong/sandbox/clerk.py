"""Clerk, running here: signing keys that outlive a restart, session tokens, and the deletion of people.

Besides Clerk's own API:

    POST /sandbox/clerk/sign-in      {sub, email?, name?, ttl?, claims?} → {jwt}: a token of the template "convex" for
                                     `ttl` seconds (an hour); `claims` are laid over it, null takes one away
    POST /sandbox/clerk/rotate-keys  {keep_old?} → {kid}: sign with a new key; the old ones stay known unless `keep_old`
                                     is false
"""

from __future__ import annotations

import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import unquote

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

from daysong.kernel.clock import Clock
from daysong.sandbox.faults import ClerkFaults, Faults
from daysong.sandbox.vendor import Answer, Call, Vendor, reply

SECRET_KEY = "sk_test_sandbox"  # noqa: S105 - the sandbox's, worth nothing elsewhere
KEYS_FILE = "clerk-keys.json"
NOT_BEFORE_SKEW = 10


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """Who signs in, and for how long."""

    sub: Annotated[str, msgspec.Meta(min_length=1)]
    email: str | None = None
    name: str | None = None
    ttl: int = 3600
    claims: dict[str, Any] = {}


class Rotate(msgspec.Struct, forbid_unknown_fields=True):
    """Whether tokens signed before go on being accepted."""

    keep_old: bool = True


class StoredKey(msgspec.Struct):
    """A private signing key and its id."""

    kid: str
    pem: str


class SandboxClerk(Vendor):
    """Signs people in and knows who was signed in."""

    name: ClassVar[str] = "clerk"
    fault_type: ClassVar[type[Faults]] = ClerkFaults

    def __init__(self, clock: Clock, origin: str, data_dir: Path) -> None:
        super().__init__(clock)
        self.issuer = f"{origin}/sandbox/clerk"
        self._origin = origin
        self._file = data_dir / KEYS_FILE
        self._keys = self._stored() or [_new_key()]
        self._private = {key.kid: _private(key) for key in self._keys}
        self._save()
        self.users: set[str] = set()

    async def serve(self, call: Call, faults: Faults) -> Answer:  # noqa: ARG002 - every fault is dealt with by Vendor
        """The key set, and the deletion of a user."""
        if call.method == "GET" and call.path in {"/.well-known/jwks.json", "/v1/jwks"}:
            return reply({"keys": [_public(kid, key) for kid, key in self._private.items()]})
        if call.method == "DELETE" and call.path.startswith("/v1/users/"):
            return self._delete(call)
        return _errors(404, "resource_not_found", "not found")

    async def control(self, call: Call) -> Answer | None:
        """Sign somebody in, or change the keys."""
        try:
            match call.method, call.path:
                case "POST", "/sign-in":
                    return reply({"jwt": self.sign_in(msgspec.json.decode(call.body, type=SignIn))})
                case "POST", "/rotate-keys":
                    return reply({"kid": self.rotate_keys(msgspec.json.decode(call.body or b"{}", type=Rotate))})
        except msgspec.DecodeError as error:
            return reply({"error": str(error)}, 400)
        return None

    def error(self, status: int | None, code: int | str | None) -> tuple[int, Any]:
        """A list of errors, as the Backend API has it."""
        name = str(code or {429: "too_many_requests", 404: "resource_not_found"}.get(status or 0, "sandbox_fault"))
        return status or 400, _error_body(name, "The sandbox was told to fail")

    def sign_in(self, who: SignIn) -> str:
        """A session token of the template "convex" for `who`."""
        self.users.add(who.sub)
        now = self.clock.now()
        issued = int(now.timestamp())
        given, _, family = (who.name or "").partition(" ")
        claims: dict[str, Any] = {
            "azp": self._origin,
            "exp": issued + who.ttl,
            "iat": issued,
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
        """Sign with a new key from now on; its id."""
        self._keys = [_new_key(), *(self._keys if how.keep_old else [])]
        self._private = {key.kid: _private(key) for key in self._keys}
        self._save()
        return self._keys[0].kid

    def _delete(self, call: Call) -> Answer:
        if call.bearer != SECRET_KEY:
            return _errors(401, "authentication_invalid", "Invalid authentication")
        user = unquote(call.path.removeprefix("/v1/users/"))
        if user not in self.users:
            return _errors(404, "resource_not_found", "not found")
        self.users.remove(user)
        return reply({"object": "user", "id": user, "deleted": True})

    def _stored(self) -> list[StoredKey]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[StoredKey])
        except FileNotFoundError:
            return []

    def _save(self) -> None:
        """Write the keys whole or not at all, readable by nobody else."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(f".{secrets.token_hex(4)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(self._keys))
        fresh.replace(self._file)


def _new_key() -> StoredKey:
    pem = generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return StoredKey(f"ins_{secrets.token_hex(12)}", pem.decode())


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
