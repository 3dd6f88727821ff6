"""The usage ledger: charge a song, give it back, and say how much is left."""

from __future__ import annotations

from datetime import datetime

from daysong.features.subscriptions.rules import LONGEST_PERIOD, Quota, Standing, quota
from daysong.kernel.database import Reader, Transaction
from daysong.kernel.errors import DaysongError
from daysong.kernel.ids import ChargeId, SubscriptionId, UserId

# One statement: the plan and the charges that may still count.
STANDING_SQL = """
    select s.tier, s.custom_music_limit, s.last_reset_at,
           array(select c.charged_at from usage_charges c
                 where c.user_id = s.user_id and c.charged_at > $2
                   and not exists (select from usage_refunds r where r.charge_id = c.id)) as charges
    from subscriptions s where s.user_id = $1"""


async def open_free_plan(db: Transaction, user_id: UserId, now: datetime) -> None:
    """Put a new account on the free plan; one that has a plan keeps it."""
    if await db.fetchval("select true from subscriptions where user_id = $1", user_id):
        return
    await db.execute(
        """insert into subscriptions (id, user_id, last_reset_at, created_at, updated_at) values ($1, $2, $3, $3, $3)
           on conflict (user_id) do nothing""",
        SubscriptionId.new(now), user_id, now,
    )  # fmt: skip


async def quota_of(db: Reader, user_id: UserId, now: datetime) -> Quota:
    """What the user has used and has left, now."""
    row = await db.fetchrow(STANDING_SQL, user_id, now - LONGEST_PERIOD)
    if row is None:
        raise DaysongError("an account without a plan")
    standing = Standing(
        tier=row["tier"], custom_music_limit=row["custom_music_limit"], last_reset_at=row["last_reset_at"]
    )
    return quota(standing, row["charges"], now)


async def charge(db: Transaction, user_id: UserId, now: datetime) -> ChargeId | None:
    """Take one song from the quota; None when nothing is left.

    The plan's row is locked first: of many at once, each sees what the one before it took.
    """
    await db.execute("select from subscriptions where user_id = $1 for update", user_id)
    if (await quota_of(db, user_id, now)).remaining == 0:
        return None
    charge_id = ChargeId.new(now)
    await db.execute("insert into usage_charges (id, user_id, charged_at) values ($1, $2, $3)", charge_id, user_id, now)
    return charge_id


async def refund(db: Transaction, charge_id: str, reason: str, now: datetime) -> None:
    """Give a charged song back, once: doing it again changes nothing."""
    await db.execute(
        """insert into usage_refunds (charge_id, reason, refunded_at) values ($1, $2, $3)
           on conflict (charge_id) do nothing""",
        charge_id, reason, now,
    )  # fmt: skip
