"""The ledger of songs: charges, refunds, and the quota that is left."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg
from prometheus_client import Counter

from daysong.features.subscriptions import purchases
from daysong.features.subscriptions.entitlements import quota_of_row, status_columns
from daysong.features.subscriptions.rules import LONGEST_PERIOD, Quota
from daysong.features.users import store as users
from daysong.features.users.mailboxes import lock_mailbox
from daysong.kernel.database.transactions import Reader, Transaction
from daysong.kernel.errors import DaysongError
from daysong.kernel.ids import ChargeId, GrantId, UserId
from daysong.kernel.monitoring.counting import count, label, rows_of

REFUNDS = Counter("daysong_refunds", "Refunded charges, by why", ["reason"])

# The plan with the charges that can still count.
QUOTA_SQL = f"select {status_columns('$2')} from subscriptions s where s.user_id = $1"  # noqa: S608
# A column with the number of these charges, refunded ones too, as the function `charges_of` of the schema returns it.
# Charges are never removed from an account in use, except by an import: the same number means the same charges.
CHARGES_SO_FAR = """(
    select count(*) from usage_charges c where c.user_id = s.user_id and c.charged_at > $2) as charges_so_far"""
_QUOTA_AND_MAILBOX_SQL = f"""
    select {status_columns("$2")}, u.mailbox_hash
    from subscriptions s join users u on u.id = s.user_id where s.user_id = $1"""  # noqa: S608


def charge_ctes(charge: str, user: str, now: str, held: str, amount: str, mailbox: str, source: str = "") -> str:
    """Return the CTEs that insert a charge, unless its parameter is null, and its use of a mailbox.

    With a `source`, such as `from account`, only if that has a row.
    """
    return f"""
    charge as (
        insert into usage_charges (id, user_id, charged_at, held, amount)
        select {charge}::text, {user}::text, {now}::timestamptz, {held}, {amount} {source} where {charge} is not null),
    free as (
        insert into mailbox_usage (charge_id, mailbox_hash, charged_at, amount)
        select {charge}, {mailbox}, {now}, {amount} {source} where {mailbox}::bytea is not null)"""


CHARGE_SQL = f"with {charge_ctes('$1', '$2', '$3', '$4::bool', '$5::int', '$6')} select"


async def open_free_plan(db: Transaction, user_id: UserId, now: datetime) -> None:
    """Insert the subscription of a new account: free, or what was bought before. An existing one is not changed."""
    if await db.fetchval("select true from subscriptions where user_id = $1", user_id):
        return
    await purchases.insert_subscription(db, user_id, now)


async def quota_of(db: Reader, user_id: UserId, now: datetime) -> Quota:
    """Return the songs the user has used and left."""
    return quota_of_row(await _quota_row(db, user_id, now), now)


async def _quota_row(db: Reader, user_id: UserId, now: datetime) -> asyncpg.Record:
    row = await db.fetchrow(_QUOTA_AND_MAILBOX_SQL, user_id, now - LONGEST_PERIOD)
    if row is None:
        raise DaysongError("the account has no subscription")
    return row


class Charge(NamedTuple):
    """A charge, the songs left after it, and for a free song the hash of the mailbox that it counts for."""

    id: ChargeId
    remaining: int
    mailbox: bytes | None = None


async def charge(
    db: Transaction, user_id: UserId, now: datetime, *, held: bool = True, amount: int = 1
) -> ChargeId | None:
    """Lock the account and charge `amount` songs at once.

    None, and nothing is charged, when fewer are left, or there is no such account.

    `release` can refund a charge that is not `held` by a song.
    """
    if not await users.lock_account(db, user_id):
        return None
    charged = await charge_locked(db, user_id, now, held=held, amount=amount)
    return None if charged is None else charged.id


async def charge_locked(
    db: Transaction, user_id: UserId, now: datetime, *, held: bool = True, amount: int = 1
) -> Charge | None:
    """Charge songs to an account whose lock the transaction holds; None when fewer are left.

    By the account's lock concurrent charges count each other. For a free song the mailbox's lock is taken too, since
    all accounts of the mailbox count it.
    """
    charge = await affordable(db, user_id, now, amount=amount)
    if charge is not None:
        await db.execute(CHARGE_SQL, charge.id, user_id, now, held, amount, charge.mailbox)
    return charge


async def affordable(db: Transaction, user_id: UserId, now: datetime, *, amount: int = 1) -> Charge | None:
    """Return a charge that the caller inserts in this transaction, which holds the locks; None when fewer are left."""
    found = charge_of(await _quota_row(db, user_id, now), now, amount)
    if found is None or found.mailbox is None:
        return found
    await lock_mailbox(db, found.mailbox)
    return charge_of(await _quota_row(db, user_id, now), now, amount)


def charge_of(row: asyncpg.Record, now: datetime, amount: int = 1) -> Charge | None:
    """Return the charge that the quota of a row, with `status_columns` and the mailbox, allows; None without one."""
    left = quota_of_row(row, now)
    if left.remaining < amount:
        return None
    remaining = quota_of_row(row, now, charged_at=(now,) * amount).remaining
    return Charge(ChargeId.new(now), remaining, row["mailbox_hash"] if left.is_free else None)


async def keep_mailbox_usage(db: Transaction, user_id: UserId, account_hash: bytes) -> None:
    """Mark a mailbox's free songs with the account that is being deleted; they continue to count."""
    await db.execute(
        """update mailbox_usage set account_hash = $2
           where charge_id in (select id from usage_charges where user_id = $1)""",
        user_id, account_hash,
    )  # fmt: skip


async def carry_over(
    db: Transaction, user_id: UserId, used: int, charged_at: datetime, account_hashes: Sequence[bytes]
) -> None:
    """Charge an account with the songs used by the same person's deleted accounts.

    Those that count for a mailbox become this account's own.
    """
    charges = [ChargeId.new(charged_at) for _ in range(used)]
    await db.execute(
        "insert into usage_charges (id, user_id, charged_at) select unnest($1::text[]), $2, $3",
        charges, user_id, charged_at,
    )  # fmt: skip
    rows = await db.fetch(
        """with old as (delete from mailbox_usage where account_hash = any($1) returning *)
           select mailbox_hash, charged_at from old, generate_series(1, amount) order by charged_at desc limit $2""",
        list(account_hashes), used,
    )  # fmt: skip
    await db.execute(
        """insert into mailbox_usage (charge_id, mailbox_hash, charged_at)
           select * from unnest($1::text[], $2::bytea[], $3::timestamptz[])""",
        charges[: len(rows)], [row["mailbox_hash"] for row in rows], [row["charged_at"] for row in rows],
    )  # fmt: skip


async def refund(db: Transaction, charge_id: str, reason: str, now: datetime) -> None:
    """Refund a charge once; idempotent."""
    await db.execute("delete from mailbox_usage where charge_id = $1", charge_id)
    done = await db.execute(
        """insert into usage_refunds (charge_id, reason, refunded_at) values ($1, $2, $3)
           on conflict (charge_id) do nothing""",
        charge_id, reason, now,
    )  # fmt: skip
    if rows_of(done):
        count(REFUNDS.labels(label(reason)))


async def release(db: Transaction, user_id: UserId, reason: str, now: datetime, *, amount: int = 1) -> bool:
    """Refund the newest charge of that amount that no song holds; False when there is none.

    Takes the account's lock, so that concurrent calls do not refund the same charge.
    """
    await users.lock_account(db, user_id)
    charge_id = await db.fetchval(
        """select c.id from usage_charges c
           where c.user_id = $1 and not c.held and c.amount = $2
             and not exists (select from usage_refunds r where r.charge_id = c.id)
           order by c.charged_at desc, c.id desc limit 1""",
        user_id, amount,
    )  # fmt: skip
    if charge_id is None:
        return False
    await refund(db, charge_id, reason, now)
    return True


async def charge_nothing(db: Transaction, user_id: str, reason: str, now: datetime) -> ChargeId:
    """Insert a charge that is refunded at once, for a song that does not count; return its id."""
    charge_id = ChargeId.new(now)
    await db.execute("insert into usage_charges (id, user_id, charged_at) values ($1, $2, $3)", charge_id, user_id, now)
    await refund(db, charge_id, reason, now)
    return charge_id


async def grant(db: Transaction, user_id: str, amount: int, now: datetime, grant_id: str | None = None) -> bool:
    """Raise the limit of the current period by `amount` songs; False, and nothing changes, when the id is taken."""
    done = await db.execute(
        """insert into usage_grants (id, user_id, amount, granted_at) values ($1, $2, $3, $4)
           on conflict (id) do nothing""",
        grant_id or GrantId.new(now), user_id, amount, now,
    )  # fmt: skip
    return rows_of(done) == 1
