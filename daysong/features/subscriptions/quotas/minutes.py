"""The ledger of call minutes: reservations, settlements, and the quota that is left.

Seconds count in the period in which they were reserved. `reserve` and `settle` are part of a transaction that holds the
account's lock, so that two concurrent calls do not both get the last minutes. Free minutes are shared by the accounts
of a mailbox: `mailbox_minutes` has them by mailbox, and `reserve` takes the mailbox's lock too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg

from daysong.features.subscriptions.entitlements import MAX, SHARED_HOLDS, holds_until, quota_state_of, status_columns
from daysong.features.subscriptions.rules import LONGEST_PERIOD, TalkQuota, Tier, talk_quota
from daysong.features.users.mailboxes import lock_mailbox
from daysong.kernel.database.transactions import Reader, Transaction
from daysong.kernel.errors import DaysongError
from daysong.kernel.ids import CallMinutesId

# Seconds; a call with less than this left is refused.
LEAST_TALK = 60
# Seconds; VAPI ends every call after 12 hours.
MOST_TALK = 43_200

READS = ("call_minutes", "mailbox_minutes")


def talk_columns(since: str) -> str:
    """Return the columns to select besides `status_columns`; `since` is the parameter with `now - LONGEST_PERIOD`."""
    own = ", ".join(
        f"""array(select m.{column} from call_minutes m
                  where m.user_id = s.user_id and m.reserved_at > {since} order by m.id) as {name}"""  # noqa: S608
        for column, name in (("reserved_at", "talked_at"), ("seconds", "talked_for"))
    )
    return f"""{own},
           (select coalesce(sum(f.seconds), 0) from mailbox_minutes f
            where f.mailbox_hash = (select mailbox_hash from users where id = s.user_id) and f.reserved_at > {since}
              and not exists (select from call_minutes m where m.id = f.call_minutes_id and m.user_id = s.user_id)
           ) as talk_shared"""  # noqa: S608


def in_minutes(seconds: int) -> float:
    """Convert seconds to minutes, rounded to hundredths."""
    return round(seconds / 60, 2)


TALK_SQL = f"select {status_columns('$2')}, {talk_columns('$2')} from subscriptions s where s.user_id = $1"  # noqa: S608


def talk_quota_of_row(row: asyncpg.Record, minutes: Mapping[Tier, int], now: datetime) -> TalkQuota:
    """Return the talk quota of a row with `status_columns` and `talk_columns`."""
    talks = zip(row["talked_at"], row["talked_for"], strict=True)
    return talk_quota(quota_state_of(row), talks, minutes, now, shared=row["talk_shared"])


def talk_holds_until(row: asyncpg.Record, now: datetime) -> datetime:
    """Return until when the talk quota of a row is as at `now`, while no row changes."""
    return min(holds_until(row, now), now + SHARED_HOLDS if row["talk_shared"] else MAX)


async def talk_quota_of(db: Reader, user_id: str, minutes: Mapping[Tier, int], now: datetime) -> TalkQuota:
    """Return the seconds of talk the user has used and left."""
    row = await db.fetchrow(TALK_SQL, user_id, now - LONGEST_PERIOD)
    if row is None:
        raise DaysongError("the account has no subscription")
    return talk_quota_of_row(row, minutes, now)


async def reserve(
    db: Transaction,
    user_id: str,
    minutes: Mapping[Tier, int],
    now: datetime,
    *,
    longest: int,
    call_job_id: str | None = None,
    vapi_call_id: str | None = None,
) -> int | None:
    """Reserve and return up to `longest` seconds for a call with one of the ids; None with less than a minute left.

    A call that has a reservation keeps it.
    """
    held = await db.fetchval(
        """select seconds from call_minutes
           where (call_job_id = $1 or vapi_call_id = $2) and settled_at is null and user_id = $3""",
        call_job_id, vapi_call_id, user_id,
    )  # fmt: skip
    if held is not None:
        return int(held)
    left = await talk_quota_of(db, user_id, minutes, now)
    mailbox = await db.fetchval("select mailbox_hash from users where id = $1", user_id) if left.is_free else None
    if mailbox is not None:
        await lock_mailbox(db, mailbox)
        left = await talk_quota_of(db, user_id, minutes, now)
    seconds = min(longest, left.remaining)
    if seconds < LEAST_TALK:
        return None
    key = "vapi_call_id" if call_job_id is None else "call_job_id"
    # A refused order is settled, and may be placed again.
    minutes_id = await db.fetchval(
        f"""insert into call_minutes (id, user_id, call_job_id, vapi_call_id, reserved_at, seconds)
            values ($1, $2, $3, $4, $5, $6)
            on conflict ({key}) do update set reserved_at = excluded.reserved_at, seconds = excluded.seconds,
              settled_at = null
            where not call_minutes.reported and call_minutes.user_id = excluded.user_id
            returning id""",  # noqa: S608 - one of two columns
        CallMinutesId.new(now), user_id, call_job_id, vapi_call_id, now, seconds,
    )  # fmt: skip
    if minutes_id is None:
        return None
    await db.execute("delete from mailbox_minutes where id = $1", minutes_id)
    if mailbox is not None:
        await db.execute(
            """insert into mailbox_minutes (id, call_minutes_id, mailbox_hash, reserved_at, seconds)
               values ($1, $1, $2, $3, $4)""",
            minutes_id, mailbox, now, seconds,
        )  # fmt: skip
    return seconds


async def settle(
    db: Transaction,
    seconds: float | None,
    now: datetime,
    *,
    call_job_id: str | None = None,
    vapi_call_id: str | None = None,
    reported: bool = False,
) -> None:
    """Settle a call with the seconds it took, or with those reserved. The first report is final."""
    counted = None if seconds is None else min(math.ceil(max(seconds, 0.0)), MOST_TALK)
    await db.execute(
        """with settled as (
             update call_minutes set seconds = coalesce($3, seconds), settled_at = $4, reported = $5
             where (call_job_id = $1 or ($1 is null and vapi_call_id = $2)) and not reported
               and ($5 or settled_at is null)
             returning id, seconds
           )
           update mailbox_minutes m set seconds = s.seconds from settled s where m.id = s.id""",
        call_job_id, vapi_call_id, counted, now, reported,
    )  # fmt: skip


async def keep_mailbox_usage(db: Transaction, user_id: str, account_hash: bytes) -> None:
    """Mark a mailbox's free minutes with the account that is being deleted; they continue to count."""
    await db.execute(
        """update mailbox_minutes set account_hash = $2
           where call_minutes_id in (select id from call_minutes where user_id = $1)""",
        user_id, account_hash,
    )  # fmt: skip


async def carry_over(
    db: Transaction, user_id: str, seconds: int, at: datetime, account_hashes: Sequence[bytes]
) -> None:
    """Count the talk of the same person's deleted accounts.

    What counts for a mailbox becomes this account's own.
    """
    minutes_id = CallMinutesId.new(at)
    await db.execute(
        """insert into call_minutes (id, user_id, reserved_at, seconds, settled_at, reported)
           values ($1, $2, $3, $4, $3, true)""",
        minutes_id, user_id, at, seconds,
    )  # fmt: skip
    await db.execute(
        "update mailbox_minutes set call_minutes_id = $1, account_hash = null where account_hash = any($2)",
        minutes_id, list(account_hashes),
    )  # fmt: skip
