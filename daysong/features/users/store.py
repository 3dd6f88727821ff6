"""Rows of `users`, and the account's lock.

Functions that read an account's row for a mutation lock it (`for no key update`) until the transaction ends. So the
mutations of one account are serial, each sees what the one before committed, and different accounts never wait for each
other. Rows of other tables that reference the account can be inserted meanwhile.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from daysong.features.users import tombstones
from daysong.kernel.database.transactions import Transaction, lock
from daysong.kernel.errors import Unauthorized
from daysong.kernel.functions.context import Caller, MutationContext
from daysong.kernel.ids import UserId
from daysong.kernel.settings import Settings


class Account(NamedTuple):
    """An account, and what changed; `new_phones` are numbers that were not verified before.

    has_plan  whether the account is known to have a subscription
    """

    user_id: UserId
    is_new: bool = False
    email_is_new: bool = False
    new_phones: tuple[str, ...] = ()
    has_plan: bool = False


class ClerkUpdate(NamedTuple):
    """A change of a Clerk user, from a webhook.

    changed_at  when Clerk changed the user; `said_at` when it sent the webhook
    phones      verified numbers
    suspension  "banned" or "locked"; a lock may end at `suspension_ends_at`
    is_whole    whether the update has the whole user; else only the suspension
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
    """Lock and return the account of a Clerk user, created if it is new, updated if the e-mail or name changed.

    Writes only when something changed. Unauthorized when the account is deleted.

    With `by`, e-mail and name are those of a token: they are ignored when Clerk has sent a newer change. A token issued
    before the account was deleted, and one of a suspended account, is Unauthorized.
    """
    row = await locked(ctx.db, clerk_id)
    if row is None:
        if by is not None and await tombstones.rejects(ctx, by):
            raise Unauthorized
        return await _insert(ctx, clerk_id, email=email, name=name)
    if row["deleted_at"] is not None:
        raise Unauthorized
    if by is not None and row["suspension"] is not None and not allow_suspended:
        raise Unauthorized
    issued_at, known_as_of = (None if by is None else by.issued_at), row["clerk_updated_at"]
    outdated = issued_at is not None and known_as_of is not None and issued_at < known_as_of
    new_email, new_name = (email or row["email"], name or row["name"])
    if outdated:
        new_email, new_name = row["email"], row["name"]
    mailbox = await _mailbox(ctx, new_email, row["mailbox_hash"])
    if (new_email, new_name, mailbox) == (row["email"], row["name"], row["mailbox_hash"]):
        return Account(UserId(row["id"]), has_plan=row["has_plan"])
    await ctx.db.execute(
        "update users set email = $2, name = $3, mailbox_hash = $4, updated_at = $5 where id = $1",
        row["id"], new_email, new_name, mailbox, ctx.now,
    )  # fmt: skip
    return Account(UserId(row["id"]), email_is_new=new_email != row["email"], has_plan=row["has_plan"])


LOCKED_SQL = """
    select id, email, name, verified_phones, deleted_at, clerk_updated_at, clerk_event_at, suspension,
      suspension_told_at, mailbox_hash, exists (select from subscriptions where user_id = users.id) as has_plan
    from users where clerk_id = $1 for no key update"""


async def locked(db: Transaction, clerk_id: str) -> asyncpg.Record | None:
    """Lock and return the account of a Clerk user; None when there is none.

    Without an account, the lock prevents that another transaction creates one, or records the user's deletion.
    """
    row = await db.fetchrow(LOCKED_SQL, clerk_id)
    if row is None:
        # There is no row to lock. The previous holder of this lock may have inserted one.
        await lock(db, f"account of {clerk_id}")
        row = await db.fetchrow(LOCKED_SQL, clerk_id)
    return row


async def lock_account(db: Transaction, user_id: str) -> bool:
    """Lock an account until the transaction ends; False when there is no such account, or it is deleted."""
    found = await db.fetchval(
        "select true from users where id = $1 and deleted_at is null for no key update", user_id
    )  # fmt: skip
    return found is not None


async def _mailbox(ctx: MutationContext, email: str | None, known: bytes | None = None) -> bytes | None:
    """Return the hash of the mailbox: the `known` one if that is of this address, by any key."""
    if email is None or (known is not None and known in tombstones.email_hashes(ctx.settings, email)):
        return None if email is None else known
    return (await tombstones.mailbox_hashes(ctx.db, ctx.settings, [email]))[email]


async def _insert(ctx: MutationContext, clerk_id: str, *, email: str | None, name: str | None) -> Account:
    user_id = UserId.new(ctx.now)
    await ctx.db.execute(
        """insert into users (id, clerk_id, email, name, mailbox_hash, created_at, updated_at)
           values ($1, $2, $3, $4, $6, $5, $5)""",
        user_id, clerk_id, email, name, ctx.now, await _mailbox(ctx, email),
    )  # fmt: skip
    return Account(user_id, is_new=True, email_is_new=email is not None)


def unchanged_sql(first: int) -> str:
    """Return SQL that locks the caller's account and returns its id.

    It has no row if `of_caller` would change something, or the account has no plan. Its four parameters, from the
    `first` on, are those of `unchanged`.
    """
    clerk_id, email, name, hashes = (f"${first + place}" for place in range(4))
    return f"""
    select id from users
    where clerk_id = {clerk_id} and deleted_at is null and suspension is null
      and ({email}::text is null or (email = {email} and mailbox_hash = any({hashes}::bytea[])))
      and ({name}::text is null or name = {name}) and (email is null) = (mailbox_hash is null)
      and exists (select from subscriptions where user_id = users.id)
    for no key update"""  # noqa: S608 - numbers of parameters


def unchanged(settings: Settings, caller: Caller) -> tuple[Any, ...]:
    """Return the four parameters of `unchanged_sql`."""
    email = caller.email or None
    hashes = [] if email is None else tombstones.email_hashes(settings, email)
    return caller.subject, email, caller.name or None, hashes


async def of_caller(ctx: MutationContext, *, allow_suspended: bool = False) -> Account:
    """Lock and return the caller's account, created if it is new.

    Unauthorized for an anonymous caller, a deleted or suspended account, and a token issued before the deletion.
    """
    return await upsert(
        ctx, ctx.caller.signed_in, email=ctx.caller.email, name=ctx.caller.name, by=ctx.caller,
        allow_suspended=allow_suspended,
    )  # fmt: skip


async def apply_clerk_update(ctx: MutationContext, update: ClerkUpdate) -> tuple[Account | None, str]:
    """Apply a change of a Clerk user, unless a newer one is known; return the account and the outcome.

    A deleted account stays deleted.
    """
    row = await locked(ctx.db, update.clerk_id)
    if row is None:
        if await tombstones.deleted_at(ctx, update.clerk_id) is not None:
            return None, "account is deleted"
        account = await _insert(ctx, update.clerk_id, email=update.email, name=update.name)
        account = account._replace(new_phones=update.phones)
    else:
        account = Account(UserId(row["id"]), email_is_new=update.email is not None and update.email != row["email"])
        if row["deleted_at"] is not None:
            return None, "account is deleted"
        account = account._replace(new_phones=tuple(sorted(set(update.phones) - set(row["verified_phones"]))))
    suspends = await _suspend(ctx, account.user_id, update, row["suspension_told_at"] if row else None)
    if not update.is_whole:
        return account._replace(email_is_new=False, new_phones=()), "updated" if suspends else "nothing new"
    if (
        row is not None
        and row["clerk_updated_at"] is not None
        and (update.changed_at, update.said_at) <= (row["clerk_updated_at"], row["clerk_event_at"])
    ):
        return account._replace(email_is_new=False, new_phones=()), "nothing new"
    await ctx.db.execute(
        """update users set email = $2, name = $3, clerk_updated_at = $4, clerk_event_at = $5, verified_phones = $7,
             mailbox_hash = $8,
             updated_at = case when (email, name) is distinct from ($2, $3) then $6 else updated_at end
           where id = $1""",
        account.user_id, update.email, update.name, update.changed_at, update.said_at, ctx.now, list(update.phones),
        await _mailbox(ctx, update.email, None if row is None else row["mailbox_hash"]),
    )  # fmt: skip
    return account, "created" if account.is_new else "updated"


async def _suspend(ctx: MutationContext, user_id: UserId, update: ClerkUpdate, known: datetime | None) -> bool:
    """Apply a ban or lock, or its end, unless a newer change is known; return whether it was applied."""
    if known is not None and update.changed_at < known:
        return False
    suspension, ends_at = update.suspension, update.suspension_ends_at
    if ends_at is not None and ends_at <= ctx.now:
        suspension = ends_at = None
    if await ctx.db.fetchval("select suspension = 'blocked' from users where id = $1", user_id):
        # An operator's block stays, whatever Clerk says meanwhile.
        await ctx.db.execute(
            """update users set suspension_at_clerk = $2, suspension_at_clerk_ends_at = $3, suspension_told_at = $4
               where id = $1""",
            user_id, suspension, ends_at, update.changed_at,
        )  # fmt: skip
        return True
    await ctx.db.execute(
        """update users set suspension = $2, suspension_ends_at = $3, suspension_told_at = $4
           where id = $1 and (suspension, suspension_ends_at, suspension_told_at) is distinct from ($2, $3, $4)""",
        user_id, suspension, ends_at, update.changed_at,
    )  # fmt: skip
    return True


async def lift_lock(ctx: MutationContext, user_id: str) -> None:
    """Lift a lock that has ended."""
    await ctx.db.execute(
        """update users set suspension = null, suspension_ends_at = null
           where id = $1 and suspension = 'locked' and suspension_ends_at <= $2""",
        user_id, ctx.now,
    )  # fmt: skip


async def block(ctx: MutationContext, user_id: str) -> bool:
    """Block an account whose lock the transaction holds; False when it is blocked. What Clerk says is kept aside."""
    blocked = await ctx.db.fetchval(
        """update users set suspension = 'blocked', suspension_ends_at = null, suspension_at_clerk = suspension,
             suspension_at_clerk_ends_at = suspension_ends_at, updated_at = $2
           where id = $1 and suspension is distinct from 'blocked' returning true""",
        user_id, ctx.now,
    )  # fmt: skip
    return blocked is not None


async def unblock(ctx: MutationContext, user_id: str) -> bool:
    """End a block; False when there is none. A ban or lock at Clerk that has not ended holds from then on."""
    unblocked = await ctx.db.fetchval(
        """update users set updated_at = $2, suspension_at_clerk = null, suspension_at_clerk_ends_at = null,
             suspension = case when suspension_at_clerk_ends_at <= $2 then null else suspension_at_clerk end,
             suspension_ends_at = case when suspension_at_clerk_ends_at <= $2 then null
                                       else suspension_at_clerk_ends_at end
           where id = $1 and suspension = 'blocked' returning true""",
        user_id, ctx.now,
    )  # fmt: skip
    return unblocked is not None
