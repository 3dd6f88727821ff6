"""The usage ledger: charge a song, give it back, and say how much is left."""

from __future__ import annotations

from datetime import datetime

from daysong.features.subscriptions import store
from daysong.features.subscriptions.rules import LONGEST_PERIOD, Quota
from daysong.features.subscriptions.status import quota_of_row, status_columns
from daysong.features.users import store as users
from daysong.kernel.database import Reader, Transaction
from daysong.kernel.errors import DaysongError
from daysong.kernel.ids import ChargeId, UserId

# One statement: the plan and the charges that may still count.
STANDING_SQL = f"select {status_columns('$2')} from subscriptions s where s.user_id = $1"  # noqa: S608


async def open_free_plan(db: Transaction, user_id: UserId, now: datetime) -> None:
    """Put a new account on the free plan, or on what was bought for it before; one that has a plan keeps it."""
    if await db.fetchval("select true from subscriptions where user_id = $1", user_id):
        return
    await store.insert(db, user_id, now)


async def quota_of(db: Reader, user_id: UserId, now: datetime) -> Quota:
    """What the user has used and has left, now."""
    row = await db.fetchrow(STANDING_SQL, user_id, now - LONGEST_PERIOD)
    if row is None:
        raise DaysongError("an account without a plan")
    return quota_of_row(row, now)


async def charge(db: Transaction, user_id: UserId, now: datetime, *, held: bool = True) -> ChargeId | None:
    """Take one song from the quota; None when nothing is left.

    Holds the account's lock from here on, so that each of many at once counts what the ones before it have taken.
    Without `held`, `release` may give it back.
    """
    if not await users.lock_account(db, user_id) or (await quota_of(db, user_id, now)).remaining == 0:
        return None
    charge_id = ChargeId.new(now)
    await db.execute(
        "insert into usage_charges (id, user_id, charged_at, held) values ($1, $2, $3, $4)",
        charge_id, user_id, now, held,
    )  # fmt: skip
    return charge_id


async def refund(db: Transaction, charge_id: str, reason: str, now: datetime) -> None:
    """Give a charged song back, once: doing it again changes nothing."""
    await db.execute(
        """insert into usage_refunds (charge_id, reason, refunded_at) values ($1, $2, $3)
           on conflict (charge_id) do nothing""",
        charge_id, reason, now,
    )  # fmt: skip


async def release(db: Transaction, user_id: UserId, reason: str, now: datetime) -> bool:
    """Give back the newest charge that no song holds; False when there is none.

    Holds the account's lock from here on, so that two at once do not give back the same one.
    """
    await users.lock_account(db, user_id)
    charge_id = await db.fetchval(
        """select c.id from usage_charges c
           where c.user_id = $1 and not c.held
             and not exists (select from usage_refunds r where r.charge_id = c.id)
           order by c.charged_at desc, c.id desc limit 1""",
        user_id,
    )
    if charge_id is None:
        return False
    await refund(db, charge_id, reason, now)
    return True
