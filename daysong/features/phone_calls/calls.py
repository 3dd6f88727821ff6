"""Rows of `call_jobs`: one for each call that was due, moved along its steps and never back.

Every function here is part of its caller's transaction, and safe to run again.
"""

from __future__ import annotations

import asyncpg

from daysong.features.phone_calls.numbers import consent
from daysong.features.phone_calls.rules import REASONS, STEPS, Status
from daysong.features.subscriptions.quotas import minutes
from daysong.kernel.database.transactions import Reader, Transaction
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.limits import budgets

# A call that takes up a line: asked for, and not known to be over.
ON_A_LINE = "asked_at is not null and hung_up_at is null and ended_at is null"


async def lock_lines(db: Transaction) -> None:
    """Wait until no other transaction counts or takes lines, and keep it so until this one ends.

    What is counted after it is what there is: each statement sees what is committed by then.
    """
    await db.execute("lock table call_lines in exclusive mode")


async def lines_free(db: Reader, of: int) -> int:
    """How many of that many lines are free."""
    taken: int = await db.fetchval(f"select count(*) from call_jobs where {ON_A_LINE}")  # noqa: S608 - a constant
    return max(0, of - taken)


async def count_dial(ctx: MutationContext, most: int) -> bool:
    """Count a call on this day (UTC), over all accounts, those that are gone included; False when it is one too many.

    Whoever calls it holds the lines.
    """
    counted = await ctx.db.fetchval(
        """insert into call_days (day, dials) select $1, 1 where $2 > 0
           on conflict (day) do update set dials = call_days.dials + 1 where call_days.dials < $2
           returning dials""",
        ctx.now.date(), most,
    )  # fmt: skip
    return counted is not None


async def did_not_ring(ctx: MutationContext, job: asyncpg.Record) -> None:
    """A call that was asked for reached no phone: it counts neither as a try at its number nor as talk, and the money
    reserved for it is free again.

    Given back once, however often and by whomever it is told.
    """
    first = await ctx.db.fetchval(
        "update call_jobs set not_rung_at = $2 where id = $1 and not_rung_at is null returning true", job["id"], ctx.now
    )
    if not first:
        return
    day = job["asked_at"].date()
    await consent.note_not_dialled(ctx, job["number_hash"], agreed=job["with_consent"], day=day)
    await ctx.db.execute("update call_days set dials = dials - 1 where day = $1 and dials > 0", day)
    await minutes.settle(ctx.db, 0, ctx.now, call_job_id=job["id"])
    await budgets.release(ctx.db, ctx.settings, job["id"])


async def step(
    ctx: MutationContext, job_id: str, to: Status, code: str | None = None, message: str | None = None
) -> bool:
    """Move to status `to` if the present one allows it; whether it did.

    `code` says why a call came to nothing, `message` tells people; without one, what `rules.REASONS` has of the code.
    """
    allowed = [status for status, following in STEPS.items() if to in following]
    moved = await ctx.db.fetchval(
        """update call_jobs set status = $2, error_code = $4, error_message = $5, updated_at = $6,
             ended_at = case when $7 then $6::timestamptz end
           where id = $1 and status = any($3) returning id""",
        job_id, to, allowed, code, message or (code and REASONS.get(code, REASONS["failed"])), ctx.now, not STEPS[to],
    )  # fmt: skip
    return moved is not None


async def adopt(ctx: MutationContext, job_id: str, vapi_call_id: str) -> None:
    """VAPI has the call, under that id. An id that is known already stays; a call that was not asked for has none."""
    await ctx.db.execute(
        """update call_jobs set vapi_call_id = $2, updated_at = $3
           where id = $1 and vapi_call_id is null and asked_at is not null
             and not exists (select from call_jobs where vapi_call_id = $2)""",
        job_id, vapi_call_id, ctx.now,
    )  # fmt: skip
    if await ctx.db.fetchval("select vapi_call_id = $2 from call_jobs where id = $1", job_id, vapi_call_id):
        await step(ctx, job_id, "scheduled")


async def hang_up(ctx: MutationContext, job_id: str) -> None:
    """The call is over, and its line free."""
    await ctx.db.execute(
        "update call_jobs set hung_up_at = $2, updated_at = $2 where id = $1 and hung_up_at is null", job_id, ctx.now
    )


async def close(
    ctx: MutationContext, job_id: str, to: Status, code: str | None = None, message: str | None = None
) -> None:
    """The call's report has come, or will not come: nothing is to be done about it, nor paid for it, any more."""
    await step(ctx, job_id, to, code, message)
    await budgets.release(ctx.db, ctx.settings, job_id)
    await ctx.db.execute("update call_jobs set reported_at = $2 where id = $1 and reported_at is null", job_id, ctx.now)


async def find(db: Reader, *, vapi_call_id: str, job_id: str | None) -> asyncpg.Record | None:
    """The call that VAPI's id belongs to, else the one it was made for by its own account; None without either."""
    row = await db.fetchrow("select * from call_jobs where vapi_call_id = $1", vapi_call_id)
    if row is not None or job_id is None:
        return row
    # A call of another id that says it is of this job is none of ours.
    return await db.fetchrow(
        "select * from call_jobs where id = $1 and asked_at is not null and vapi_call_id is null", job_id
    )


async def stop_all(ctx: MutationContext, user_id: str) -> None:
    """Nobody calls this person any more; their number is free for another account."""
    await ctx.db.execute(
        """update call_settings set active = false, next_run_at = null, lost_at = coalesce(lost_at, $2), updated_at = $2
           where user_id = $1""",
        user_id, ctx.now,
    )  # fmt: skip
    await ctx.db.execute(
        """update call_jobs set status = 'canceled', error_code = 'switched_off', error_message = $3, ended_at = $2,
             updated_at = $2
           where user_id = $1 and status = 'queued' and asked_at is null""",
        user_id, ctx.now, REASONS["switched_off"],
    )  # fmt: skip
