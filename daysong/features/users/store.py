"""Rows of `users`, and the account's lock.

Whoever reads an account's row here for a mutation locks it (`for no key update`) until the transaction ends. So the
mutations of one account run one after another, each on what the one before it has committed, and those of different
accounts never wait for each other. Rows of other tables that refer to the account can be inserted meanwhile.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import asyncpg

from daysong.features.users import tombstones
from daysong.kernel.database.transactions import Transaction, lock
from daysong.kernel.errors import Unauthorized
from daysong.kernel.functions.context import Caller, MutationContext
from daysong.kernel.ids import UserId


class Account(NamedTuple):
    """An account, and what is new about it: `new_phones` are numbers that were not known to be theirs."""

    user_id: UserId
    is_new: bool = False
    email_is_new: bool = False
    new_phones: tuple[str, ...] = ()


class ClerkUpdate(NamedTuple):
    """What a webhook told of a Clerk user: when Clerk changed it, and when Clerk said so.

    phones      numbers they have proved
    suspension  "banned" or "locked", and when a lock ends by itself
    is_whole    whether the whole user was told; else only the suspension
    """

    clerk_id: str
    email: str | None
    name: str | None
    changed_at: datetime
    said_at: datetime
    phones: tuple[str, ...] = ()
    suspension: str | None = None
    suspension_ends_at: datetime | None = None
    is_whole: bool = True


async def upsert(
    ctx: MutationContext, clerk_id: str, *, email: str | None, name: str | None, by: Caller | None = None,
    allow_suspended: bool = False,
) -> Account:  # fmt: skip
    """The account of that Clerk user, made if it is new, brought up to date if e-mail or name changed.

    Holds the account's lock from here on, and writes only when something changed. Unauthorized when it is deleted.

    With `by`, this is what a token says: nothing changes when Clerk has told of changes made since, and a token left
    over from a deleted account is refused as well, as is one of a suspended account.
    """
    row = await locked(ctx.db, clerk_id)
    if row is None:
        if by is not None and await tombstones.bars(ctx, by):
            raise Unauthorized
        return await _insert(ctx, clerk_id, email=email, name=name)
    if row["deleted_at"] is not None:
        raise Unauthorized
    if by is not None and row["suspension"] is not None and not allow_suspended:
        raise Unauthorized
    outdated = (
        by is not None and by.issued_at is not None and row["told_at"] is not None and by.issued_at < row["told_at"]
    )
    new_email, new_name = (email or row["email"], name or row["name"])
    if outdated:
        new_email, new_name = row["email"], row["name"]
    mailbox = _mailbox(ctx, new_email)
    if (new_email, new_name, mailbox) == (row["email"], row["name"], row["mailbox_hash"]):
        return Account(UserId(row["id"]))
    await ctx.db.execute(
        "update users set email = $2, name = $3, mailbox_hash = $4, updated_at = $5 where id = $1",
        row["id"], new_email, new_name, mailbox, ctx.now,
    )  # fmt: skip
    return Account(UserId(row["id"]), email_is_new=new_email != row["email"])


LOCKED_SQL = """
    select id, email, name, verified_phones, deleted_at, told_at, told_in, suspension, suspension_told_at,
      mailbox_hash
    from users where clerk_id = $1 for no key update"""


async def locked(db: Transaction, clerk_id: str) -> asyncpg.Record | None:
    """The account of a Clerk user, locked; None when there is none.

    Then nobody else makes one, or notes that the Clerk user is gone, until this transaction ends.
    """
    row = await db.fetchrow(LOCKED_SQL, clerk_id)
    if row is None:
        # There is no row to lock. Who held this lock may have made one.
        await lock(db, f"account of {clerk_id}")
        row = await db.fetchrow(LOCKED_SQL, clerk_id)
    return row


async def lock_account(db: Transaction, user_id: str) -> bool:
    """Hold an account's lock from here on; False when there is no such account, or it is deleted."""
    found = await db.fetchval(
        "select true from users where id = $1 and deleted_at is null for no key update", user_id
    )  # fmt: skip
    return found is not None


def _mailbox(ctx: MutationContext, email: str | None) -> bytes | None:
    return None if email is None else tombstones.email_hash(ctx.settings, email)


async def _insert(ctx: MutationContext, clerk_id: str, *, email: str | None, name: str | None) -> Account:
    user_id = UserId.new(ctx.now)
    await ctx.db.execute(
        """insert into users (id, clerk_id, email, name, mailbox_hash, created_at, updated_at)
           values ($1, $2, $3, $4, $6, $5, $5)""",
        user_id, clerk_id, email, name, ctx.now, _mailbox(ctx, email),
    )  # fmt: skip
    return Account(user_id, is_new=True, email_is_new=email is not None)


async def of_caller(ctx: MutationContext, *, allow_suspended: bool = False) -> Account:
    """The signed-in caller's account, made on first sight.

    Unauthorized when nobody is signed in, when the account is deleted or suspended, and for a token left over from a
    deleted one.
    """
    return await upsert(
        ctx, ctx.caller.signed_in, email=ctx.caller.email, name=ctx.caller.name, by=ctx.caller,
        allow_suspended=allow_suspended,
    )  # fmt: skip


async def apply_clerk_update(ctx: MutationContext, told: ClerkUpdate) -> tuple[Account | None, str]:
    """Apply what Clerk told of somebody, if it is news; the account, and in a word what came of it.

    A deleted account stays deleted, whatever is told of it and in whatever order.
    """
    row = await locked(ctx.db, told.clerk_id)
    if row is None:
        if await tombstones.deleted_at(ctx, told.clerk_id) is not None:
            return None, "account is deleted"
        account = await _insert(ctx, told.clerk_id, email=told.email, name=told.name)
        account = account._replace(new_phones=told.phones)
    else:
        account = Account(UserId(row["id"]), email_is_new=told.email is not None and told.email != row["email"])
        if row["deleted_at"] is not None:
            return None, "account is deleted"
        account = account._replace(new_phones=tuple(sorted(set(told.phones) - set(row["verified_phones"]))))
    suspends = await _suspend(ctx, account.user_id, told, row["suspension_told_at"] if row else None)
    if not told.is_whole:
        return account._replace(email_is_new=False, new_phones=()), "updated" if suspends else "nothing new"
    if row and row["told_at"] is not None and (told.changed_at, told.said_at) <= (row["told_at"], row["told_in"]):
        return account._replace(email_is_new=False, new_phones=()), "nothing new"
    await ctx.db.execute(
        """update users set email = $2, name = $3, told_at = $4, told_in = $5, verified_phones = $7,
             mailbox_hash = $8,
             updated_at = case when (email, name) is distinct from ($2, $3) then $6 else updated_at end
           where id = $1""",
        account.user_id, told.email, told.name, told.changed_at, told.said_at, ctx.now, list(told.phones),
        _mailbox(ctx, told.email),
    )  # fmt: skip
    return account, "created" if account.is_new else "updated"


async def _suspend(ctx: MutationContext, user_id: UserId, told: ClerkUpdate, known: datetime | None) -> bool:
    """Apply what was told of a ban or a lock, unless it is older than what is known; whether it was applied."""
    if known is not None and told.changed_at < known:
        return False
    suspension, ends_at = told.suspension, told.suspension_ends_at
    if ends_at is not None and ends_at <= ctx.now:
        suspension = ends_at = None
    await ctx.db.execute(
        """update users set suspension = $2, suspension_ends_at = $3, suspension_told_at = $4
           where id = $1 and (suspension, suspension_ends_at, suspension_told_at) is distinct from ($2, $3, $4)""",
        user_id, suspension, ends_at, told.changed_at,
    )  # fmt: skip
    return True


async def lift_lock(ctx: MutationContext, user_id: str) -> None:
    """End a lock whose time is over."""
    await ctx.db.execute(
        """update users set suspension = null, suspension_ends_at = null
           where id = $1 and suspension = 'locked' and suspension_ends_at <= $2""",
        user_id, ctx.now,
    )  # fmt: skip
