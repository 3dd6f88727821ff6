"""Tombstones of deleted accounts: keyed hashes, and the usage that the same person's next account inherits."""

from __future__ import annotations

import hmac
from datetime import datetime
from typing import NamedTuple

from daysong.features.users.mailboxes import mailbox_of
from daysong.kernel.functions.context import Caller, MutationContext
from daysong.kernel.settings import Settings


class Usage(NamedTuple):
    """Songs and seconds of talk used in a period."""

    used: int
    period_start: datetime
    period_end: datetime
    talked: int = 0


class Inheritance(NamedTuple):
    """The usage of a person's deleted accounts, in periods that have not ended; `since` is the earliest start.

    account_hashes  the hashes of these accounts
    """

    used: int
    since: datetime
    account_hashes: tuple[bytes, ...]
    talked: int


def clerk_hash(settings: Settings, clerk_id: str) -> bytes:
    """Return the keyed hash of a Clerk id."""
    return _hash(settings, "clerk", clerk_id)


def email_hash(settings: Settings, email: str) -> bytes:
    """Return the keyed hash of an address's mailbox."""
    return _hash(settings, "email", mailbox_of(email))


def email_hashes(settings: Settings, email: str) -> list[bytes]:
    """Return the hash of the mailbox, and that of the address itself, which older tombstones have."""
    return [email_hash(settings, email), _hash(settings, "email", email.strip().lower())]


def _hash(settings: Settings, kind: str, text: str) -> bytes:
    return hmac.digest(settings.hash_key.encode(), f"{kind}:{text}".encode(), "sha256")


async def record(ctx: MutationContext, clerk_id: str, email: str | None, usage: Usage | None) -> None:
    """Record the deletion of an account with its usage; idempotent."""
    used, start, end, talked = usage or (0, None, None, 0)
    await ctx.db.execute(
        """insert into tombstones (clerk_hash, email_hash, deleted_at, used, period_start, period_end, talked)
           values ($1, $2, $3, $4, $5, $6, $7)
           on conflict (clerk_hash) do update
             set email_hash = coalesce(excluded.email_hash, tombstones.email_hash), deleted_at = excluded.deleted_at,
                 used = greatest(excluded.used, case when tombstones.period_end > $3 then tombstones.used else 0 end),
                 talked = greatest(excluded.talked,
                                   case when tombstones.period_end > $3 then tombstones.talked else 0 end),
                 period_start = coalesce(excluded.period_start, tombstones.period_start),
                 period_end = coalesce(excluded.period_end, tombstones.period_end)""",
        clerk_hash(ctx.settings, clerk_id), None if email is None else email_hash(ctx.settings, email), ctx.now,
        used, start, end, talked,
    )  # fmt: skip


async def deleted_at(ctx: MutationContext, clerk_id: str) -> datetime | None:
    """Return when the Clerk user's account was deleted; None when it was not."""
    moment: datetime | None = await ctx.db.fetchval(
        "select deleted_at from tombstones where clerk_hash = $1", clerk_hash(ctx.settings, clerk_id)
    )
    return moment


async def rejects(ctx: MutationContext, caller: Caller) -> bool:
    """Whether the caller's token was issued before the caller's account was deleted.

    A newer token means that the Clerk user exists again.
    """
    if caller.subject is None or caller.is_admin:
        return False
    deleted = await deleted_at(ctx, caller.subject)
    return deleted is not None and (caller.issued_at is None or caller.issued_at <= deleted)


async def inherit(ctx: MutationContext, clerk_id: str, email: str | None) -> Inheritance | None:
    """Move the usage of a person's deleted accounts out of their tombstones, and return it."""
    rows = await ctx.db.fetch(
        """with counted as (
             select clerk_hash, used, talked from tombstones
             where (clerk_hash = $1 or email_hash = any($2)) and (used > 0 or talked > 0) and period_end > $3
             order by clerk_hash for update
           )
           update tombstones set used = 0, talked = 0 from counted where tombstones.clerk_hash = counted.clerk_hash
           returning counted.clerk_hash, counted.used, counted.talked, period_start""",
        clerk_hash(ctx.settings, clerk_id), [] if email is None else email_hashes(ctx.settings, email), ctx.now,
    )  # fmt: skip
    if not rows:
        return None
    return Inheritance(
        sum(row["used"] for row in rows),
        min(row["period_start"] for row in rows),
        tuple(row["clerk_hash"] for row in rows),
        sum(row["talked"] for row in rows),
    )
