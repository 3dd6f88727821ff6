"""Sessions of operators: the admin key once, then a cookie for twelve hours.

The cookie is a random token; `console_sessions` has its hash under the admin key and its earlier values. So a new key
ends all sessions, and so does the removal of an earlier one, with which a session may have begun. Forms carry a token
derived from the cookie, which a foreign site does not know.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

from daysong.kernel.database.transactions import Database, Transaction
from daysong.kernel.functions.context import Caller, MutationContext
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.settings import Settings
from daysong.workflows.support import audit

LASTS = timedelta(hours=12)
TOKEN_LENGTH = 43
FINGERPRINT = 4  # bytes


class Session(NamedTuple):
    """A valid session: its token, and the name that the audit log has of it."""

    token: str
    fingerprint: str

    @property
    def caller(self) -> Caller:
        """The operator."""
        return Caller(is_admin=True, operator=f"console {self.fingerprint}")

    @property
    def csrf(self) -> str:
        """The token of its forms."""
        return hmac.digest(self.token.encode(), b"form", hashlib.sha256).hex()

    def sent(self, csrf: str) -> bool:
        """Whether a form of this session carried that token."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode())


class Sessions:
    """Begins, finds and ends sessions."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._settings: Settings = runtime.settings
        self._database: Database = runtime.database
        site = urlsplit(self._settings.site_url)
        self._secure = site.scheme == "https"
        self.path = f"{site.path.rstrip('/')}/console"
        self.cookie_name = "__Secure-console" if self._secure else "console"

    async def begin(self) -> Session:
        """Begin a session of an operator who has given the admin key; the audit log has it."""
        token = secrets.token_urlsafe(32)
        hashed = self._hash(token)
        session = Session(token, hashed[:FINGERPRINT].hex())
        now = self._runtime.clock.now()

        async def insert(ctx: MutationContext, _: None) -> None:
            await ctx.db.execute(
                """insert into console_sessions (token_hash, fingerprint, created_at, expires_at)
                   values ($1, $2, $3, $4)""",
                hashed, session.fingerprint, now, now + LASTS,
            )  # fmt: skip
            await audit.record(ctx, "console sign in")

        await self._runtime.mutate(insert, None, session.caller)
        return session

    async def find(self, cookies: str, now: datetime) -> Session | None:
        """Return the session of a Cookie header; None without a valid one."""
        for part in cookies.split(";")[:50]:
            name, _, token = part.strip().partition("=")
            if name == self.cookie_name and len(token) == TOKEN_LENGTH and token.isascii():
                hashed = self._hash(token)
                known = await self._database.pool.fetchval(
                    "select true from console_sessions where token_hash = $1 and expires_at > $2", hashed, now
                )
                return Session(token, hashed[:FINGERPRINT].hex()) if known else None
        return None

    async def end(self, session: Session) -> None:
        """End a session."""

        async def delete(tx: Transaction) -> None:
            await tx.execute("delete from console_sessions where token_hash = $1", self._hash(session.token))

        await self._database.mutate(delete)

    def cookie(self, session: Session | None) -> str:
        """Return the Set-Cookie header that begins a session, or ends it for None."""
        value, seconds = (session.token, int(LASTS.total_seconds())) if session else ("", 0)
        secure = "; Secure" if self._secure else ""
        return f"{self.cookie_name}={value}; Path={self.path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"

    def _hash(self, token: str) -> bytes:
        keys = "\n".join(self._settings.admin_keys)
        return hmac.digest(keys.encode(), b"console " + token.encode(), hashlib.sha256)
