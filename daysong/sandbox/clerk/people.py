"""The users of the sandboxed Clerk, as its webhooks describe them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from daysong.kernel.time.clock import to_ms


class Person(msgspec.Struct):
    """A user with a sign-in; times in ms since the epoch."""

    sub: str
    email: str | None
    name: str | None
    created_at: int
    updated_at: int
    phone: str | None = None
    phone_strategy: str | None = "phone_code"
    banned: bool = False
    locked: bool = False
    lock_seconds: float | None = None
    session: str | None = None

    @classmethod
    def new(cls, sub: str, email: str | None, name: str | None, now: datetime) -> Person:
        """Return a user who signs in for the first time."""
        moment = int(to_ms(now))
        return cls(sub, email, name, moment, moment)

    def touch(self, now: datetime) -> None:
        """Set the time of a change; no two changes share one."""
        self.updated_at = max(int(to_ms(now)), self.updated_at + 1)

    def as_user(self) -> dict[str, Any]:
        """Return the user object of Clerk's webhooks."""
        first, _, last = (self.name or "").partition(" ")
        email_id = f"idn_{self.sub}_email" if self.email else None
        phone_id = f"idn_{self.sub}_phone" if self.phone else None
        emails = [self._identification("email_address", self.email, email_id)] if self.email else []
        phones = [self._identification("phone_number", self.phone, phone_id)] if self.phone else []
        image = f"https://img.example.com/{self.sub}.png"
        return {
            "backup_code_enabled": False,
            "banned": self.banned,
            "create_organization_enabled": True,
            "created_at": self.created_at,
            "delete_self_enabled": True,
            "email_addresses": emails,
            "enterprise_accounts": [],
            "external_accounts": [],
            "external_id": None,
            "first_name": first or None,
            "has_image": True,
            "id": self.sub,
            "image_url": image,
            "last_active_at": self.updated_at,
            "last_name": last or None,
            "last_sign_in_at": self.updated_at,
            "legal_accepted_at": None,
            "locale": None,
            "locked": self.locked,
            "lockout_expires_in_seconds": self.lock_seconds,
            "mfa_disabled_at": None,
            "mfa_enabled_at": None,
            "object": "user",
            "passkeys": [],
            "password_enabled": False,
            "phone_numbers": phones,
            "primary_email_address_id": email_id,
            "primary_phone_number_id": phone_id,
            "primary_web3_wallet_id": None,
            "private_metadata": {},
            "profile_image_url": image,
            "public_metadata": {},
            "saml_accounts": [],
            "totp_enabled": False,
            "two_factor_enabled": False,
            "unsafe_metadata": {},
            "updated_at": self.updated_at,
            "username": None,
            "verification_attempts_remaining": 100,
            "web3_wallets": [],
        }

    def _identification(self, kind: str, value: str | None, identifier: str | None) -> dict[str, Any]:
        strategy = "email_code" if kind == "email_address" else self.phone_strategy
        return {
            "created_at": self.created_at,
            kind: value,
            "id": identifier,
            "linked_to": [],
            "matches_sso_connection": False,
            "object": kind,
            "reserved": False,
            "updated_at": self.updated_at,
            "verification": {
                "attempts": 1,
                "expire_at": self.created_at + 600_000,
                "object": "verification_admin" if strategy == "admin" else "verification_otp",
                "status": "verified",
                "strategy": strategy,
            },
        }

    def as_session(self, status: str, now: datetime) -> dict[str, Any]:
        """Return the session object of Clerk's webhooks."""
        moment = int(to_ms(now))
        return {
            "abandon_at": moment + 2_592_000_000,
            "actor": None,
            "client_id": f"client_{self.sub}",
            "created_at": moment,
            "expire_at": moment + 604_800_000,
            "id": self.session,
            "last_active_at": moment,
            "last_active_organization_id": None,
            "latest_activity": None,
            "object": "session",
            "status": status,
            "updated_at": moment,
            "user": self.as_user(),
            "user_id": self.sub,
        }
