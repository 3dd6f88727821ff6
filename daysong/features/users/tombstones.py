"""Tombstones of deleted accounts: keyed hashes, and the usage that the same person's next account inherits.

Rows are found by the hashes of all keys. What has rows already keeps the hash that these have, also under a new key:
rows of several tables refer to each other by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from daysong.features.users.mailboxes import mailbox_of
from daysong.kernel.database.transactions import Reader
from daysong.kernel.functions.context import Caller, MutationContext
from daysong.kernel.keys import keyed_hash, keyed_hashes
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
    """Return the hash of a Clerk id by the current key."""
    return keyed_hash(settings.hash_key, f"clerk:{clerk_id}")


def clerk_hashes(settings: Settings, clerk_id: str) -> list[bytes]:
    """Return the hashes that rows of a Clerk id may have."""
    return keyed_hashes(settings.hash_keys, f"clerk:{clerk_id}")


def email_hash(settings: Settings, email: str) -> bytes:
    """Return the hash of an address's mailbox by the current key."""
    return keyed_hash(settings.hash_key, f"email:{mailbox_of(email)}")


def email_hashes(settings: Settings, email: str) -> list[bytes]:
    """Return the hashes that rows of a mailbox may have: its own, and of the address, which older tombstones have."""
    keys = settings.hash_keys
    return [*keyed_hashes(keys, f"email:{mailbox_of(email)}"), *keyed_hashes(keys, f"email:{email.strip().lower()}")]


async def mailbox_hashes(db: Reader, settings: Settings, emails: Sequence[str]) -> dict[str, bytes]:
    """Return the hash of each address's mailbox: the one that accounts or usage have already, or a new one."""
    candidates = {email: keyed_hashes(settings.hash_keys, f"email:{mailbox_of(email)}") for email in emails}
    rows = await db.fetch(
        """select h from unnest($1::bytea[]) as h
           where exists (select from users where mailbox_hash = h)
             or exists (select from mailbox_usage where mailbox_hash = h)
             or exists (select from mailbox_minutes where mailbox_hash = h)""",
        [one for each in candidates.values() for one in each],
    )
    found = {row["h"] for row in rows}
    return {email: next((one for one in each if one in found), each[0]) for email, each in candidates.items()}


async def account_hash(db: Reader, settings: Settings, clerk_id: str) -> bytes:
    """Return the hash of a Clerk id: the one that its tombstone has already, or a new one."""
    known: bytes | None = await db.fetchval(
        "select clerk_hash from tombstones where clerk_hash = any($1) order by deleted_at desc limit 1",
        clerk_hashes(settings, clerk_id),
    )
    return known or clerk_hash(settings, clerk_id)


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
        await account_hash(ctx.db, ctx.settings, clerk_id),
        None if email is None else email_hash(ctx.settings, email), ctx.now,
        used, start, end, talked,
    )  # fmt: skip


async def deleted_at(ctx: MutationContext, clerk_id: str) -> datetime | None:
    """Return when the Clerk user's account was deleted; None when it was not."""
    moment: datetime | None = await ctx.db.fetchval(
        "select max(deleted_at) from tombstones where clerk_hash = any($1)", clerk_hashes(ctx.settings, clerk_id)
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
             where (clerk_hash = any($1) or email_hash = any($2)) and (used > 0 or talked > 0) and period_end > $3
             order by clerk_hash for update
           )
           update tombstones set used = 0, talked = 0 from counted where tombstones.clerk_hash = counted.clerk_hash
           returning counted.clerk_hash, counted.used, counted.talked, period_start""",
        clerk_hashes(ctx.settings, clerk_id), [] if email is None else email_hashes(ctx.settings, email), ctx.now,
    )  # fmt: skip
    if not rows:
        return None
    return Inheritance(
        sum(row["used"] for row in rows),
        min(row["period_start"] for row in rows),
        tuple(row["clerk_hash"] for row in rows),
        sum(row["talked"] for row in rows),
    )
