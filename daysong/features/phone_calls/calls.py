"""Rows of `call_jobs`: one for each call that was due; its status only moves forward.

Every function here runs in its caller's transaction and is idempotent.
"""

from __future__ import annotations

import asyncpg
from prometheus_client import Counter

from daysong.features.phone_calls.numbers import consent
from daysong.features.phone_calls.rules import REASONS, STEPS, Status
from daysong.features.subscriptions.quotas import minutes
from daysong.kernel.database.transactions import Reader, Transaction
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.limits import budgets
from daysong.kernel.monitoring.counting import count, label, rows_of

CALLS = Counter("daysong_calls", "Calls by the status they moved to, and why", ["status", "code"])

# A call that occupies a line: requested from VAPI, and not known to be over.
ON_A_LINE = "asked_at is not null and hung_up_at is null and ended_at is null"


async def lock_lines(db: Transaction) -> None:
    """Lock the counting and taking of lines until this transaction ends.

    Later counts are exact: under READ COMMITTED each statement sees what other transactions have committed.
    """
    await db.execute("lock table call_lines in exclusive mode")


async def lines_free(db: Reader, of: int) -> int:
    """Return how many of `of` lines are free."""
    taken: int = await db.fetchval(f"select count(*) from call_jobs where {ON_A_LINE}")  # noqa: S608 - a constant
    return max(0, of - taken)


async def count_dial(ctx: MutationContext, most: int) -> bool:
    """Count a call towards the daily limit (UTC) of all accounts, deleted ones included; False when it is reached.

    The caller holds `lock_lines`.
    """
    counted = await ctx.db.fetchval(
        """insert into call_days (day, dials) select $1, 1 where $2 > 0
           on conflict (day) do update set dials = call_days.dials + 1 where call_days.dials < $2
           returning dials""",
        ctx.now.date(), most,
    )  # fmt: skip
    return counted is not None


async def undo_dial(ctx: MutationContext, job: asyncpg.Record) -> None:
    """Undo the counters of a requested call that rang no phone: the try at its number, its minutes and its money.

    Takes effect once per request, however often it is reported.
    """
    first = await ctx.db.fetchval(
        "update call_jobs set not_rung_at = $2 where id = $1 and not_rung_at is null returning true", job["id"], ctx.now
    )
    if not first:
        return
    day = job["asked_at"].date()
    await consent.undo_dial(ctx, job["number_hash"], agreed=job["with_consent"], day=day)
    await ctx.db.execute("update call_days set dials = dials - 1 where day = $1 and dials > 0", day)
    await minutes.settle(ctx.db, 0, ctx.now, call_job_id=job["id"])
    await budgets.release(ctx.db, ctx.settings, job["id"])


async def step(
    ctx: MutationContext, job_id: str, to: Status, code: str | None = None, message: str | None = None
) -> bool:
    """Move a call to status `to` if STEPS allows it; return whether it moved.

    `code` is the reason of a failed or canceled call; `message`, its text for people, defaults to `rules.REASONS`.
    """
    allowed = [status for status, following in STEPS.items() if to in following]
    moved = await ctx.db.fetchval(
        """update call_jobs set status = $2, error_code = $4, error_message = $5, updated_at = $6,
             ended_at = case when $7 then $6::timestamptz end
           where id = $1 and status = any($3) returning id""",
        job_id, to, allowed, code, message or (code and REASONS.get(code, REASONS["failed"])), ctx.now, not STEPS[to],
    )  # fmt: skip
    if moved is not None and to != "queued":
        count(CALLS.labels(to, label(code)))
    return moved is not None


async def adopt(ctx: MutationContext, job_id: str, vapi_call_id: str) -> None:
    """Store VAPI's id of a requested call and move it to `scheduled`. An id that is already stored stays."""
    await ctx.db.execute(
        """update call_jobs set vapi_call_id = $2, updated_at = $3
           where id = $1 and vapi_call_id is null and asked_at is not null
             and not exists (select from call_jobs where vapi_call_id = $2)""",
        job_id, vapi_call_id, ctx.now,
    )  # fmt: skip
    if await ctx.db.fetchval("select vapi_call_id = $2 from call_jobs where id = $1", job_id, vapi_call_id):
        await step(ctx, job_id, "scheduled")


async def hang_up(ctx: MutationContext, job_id: str) -> None:
    """Note that the call is over, which frees its line."""
    await ctx.db.execute(
        "update call_jobs set hung_up_at = $2, updated_at = $2 where id = $1 and hung_up_at is null", job_id, ctx.now
    )


async def close(
    ctx: MutationContext, job_id: str, to: Status, code: str | None = None, message: str | None = None
) -> None:
    """End a call whose report has arrived, or will not arrive, and release the money reserved for it."""
    await step(ctx, job_id, to, code, message)
    await budgets.release(ctx.db, ctx.settings, job_id)
    await ctx.db.execute("update call_jobs set reported_at = $2 where id = $1 and reported_at is null", job_id, ctx.now)


async def find(db: Reader, *, vapi_call_id: str, job_id: str | None) -> asyncpg.Record | None:
    """Return the call with VAPI's id, else the call job that VAPI's message names; None without either."""
    row = await db.fetchrow("select * from call_jobs where vapi_call_id = $1", vapi_call_id)
    if row is not None or job_id is None:
        return row
    # A job that has another VAPI id is not matched.
    return await db.fetchrow(
        "select * from call_jobs where id = $1 and asked_at is not null and vapi_call_id is null", job_id
    )


async def stop_all(ctx: MutationContext, user_id: str) -> None:
    """Switch off an account's calls and cancel its waiting ones; its number becomes free for another account."""
    await ctx.db.execute(
        """update call_settings set active = false, next_run_at = null, lost_at = coalesce(lost_at, $2), updated_at = $2
           where user_id = $1""",
        user_id, ctx.now,
    )  # fmt: skip
    canceled = await ctx.db.execute(
        """update call_jobs set status = 'canceled', error_code = 'switched_off', error_message = $3, ended_at = $2,
             updated_at = $2
           where user_id = $1 and status = 'queued' and asked_at is null""",
        user_id, ctx.now, REASONS["switched_off"],
    )  # fmt: skip
    count(CALLS.labels("canceled", "switched_off"), rows_of(canceled))
