"""Insert many users with due calls at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg

ZONES = ["America/New_York", "Europe/London", "Asia/Tokyo", "Australia/Sydney", "America/Sao_Paulo", "Africa/Cairo"]


async def insert_due_settings(db: asyncpg.Pool, people: int, due: datetime, zones: Sequence[str] = ZONES) -> None:
    """Insert this many users in these zones, with consent, whose call is due at that moment and then on Sundays."""
    async with db.acquire() as connection, connection.transaction():
        await connection.execute("set local statement_timeout = 0")
        await connection.execute(
            """insert into users (id, clerk_id, created_at, updated_at)
               select 'user_' || n, 'clerk_' || n, $2, $2 from generate_series(1, $1::int) n""",
            people, due,
        )  # fmt: skip
        await connection.execute(
            """insert into subscriptions (id, user_id, last_reset_at, created_at, updated_at)
               select 'sub_' || n, 'user_' || n, $2, $2, $2 from generate_series(1, $1::int) n""",
            people, due,
        )  # fmt: skip
        await connection.execute(
            """insert into call_settings (id, user_id, phone_e164, timezone, local_minutes, cadence, byday_mask, active,
                 consent, consent_at, next_run_at, created_at, updated_at)
               select 'callset_' || n, 'user_' || n, '+1' || 2000000000 + n, ($3::text[])[1 + n % $4::int], n % 1440,
                 'custom', 1, true, 'granted', $2, $2, $2, $2
               from generate_series(1, $1::int) n""",
            people, due, zones, len(zones),
        )  # fmt: skip
    await db.execute("analyze call_settings")


async def summary(db: asyncpg.Pool) -> Any:
    """Return how many jobs exist, how many occurrences have two, and how many users have a job and a next call."""
    return await db.fetchrow(
        """select (select count(*) from call_jobs) as jobs,
             (select count(*) from (select from call_jobs group by settings_id, scheduled_for having count(*) > 1) t)
               as twice,
             (select count(*) from call_settings s
              where next_run_at > created_at and exists (select from call_jobs where settings_id = s.id)) as settings"""
    )
