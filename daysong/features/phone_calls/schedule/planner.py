"""The cron of each minute: create call jobs for the calls that are due, and dial as many as lines are free.

One transaction claims an occurrence, inserts its job and advances its settings, so no call is lost or created twice.
A due call without a free line waits in `call_jobs` and is dialled when another call ends, at the latest in the next
minute. A call that has waited too long is canceled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from daysong.features.phone_calls import calls, dialing
from daysong.features.phone_calls.rules import REASONS, UNKNOWN_TIMEZONE, is_late
from daysong.features.phone_calls.schedule.calendar import is_known, next_run
from daysong.kernel import logs
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, action, mutation, query
from daysong.kernel.ids import CallJobId
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.monitoring.counting import count, rows_of

log = logs.get_logger("calls")

CLAIMED_AT_ONCE = 1000
CANCELED_AT_ONCE = 1000

DUE_SQL = """
    select id, user_id, timezone, local_minutes, byday_mask, next_run_at from call_settings
    where next_run_at <= $1 order by next_run_at, id limit $2 for update skip locked"""


class OneSettings(Args):
    """The id of call settings."""

    settings_id: IdText


@action(lane=Lane.QUICK)
async def execute_scheduled_calls(ctx: ActionContext, args: NoArgs) -> None:
    """Create jobs for all calls that are due, then dial. A cron; idempotent, and safe to be killed at any point."""
    # Most minutes have nothing to do, and then take no lock.
    if not await ctx.run_query(has_work, args):
        return
    while await ctx.run_mutation(claim_due_settings, args):
        pass
    while await ctx.run_mutation(cancel_late_calls, args):
        pass
    await ctx.run_mutation(dialing.dispatch_waiting_calls, args)


@query
async def has_work(ctx: QueryContext, args: NoArgs) -> bool:  # noqa: ARG001
    """Return whether a call is due or waits for a line."""
    found: bool = await ctx.db.fetchval(
        """select exists (select from call_settings where next_run_at <= $1)
               or exists (select from call_jobs where status = 'queued' and asked_at is null)""",
        ctx.now,
    )
    return found


@mutation
async def claim_due_settings(ctx: MutationContext, args: NoArgs) -> bool:  # noqa: ARG001
    """Create jobs for one batch of due calls and set the next run of their settings; return whether more may be due."""
    # Planners run one after another: two on the same index would only skip each other's rows.
    await ctx.db.execute("lock table call_plans in exclusive mode")
    due = await ctx.db.fetch(DUE_SQL, ctx.now, CLAIMED_AT_ONCE)
    await _plan(ctx, due)
    return len(due) == CLAIMED_AT_ONCE


@mutation
async def calculate_and_update_next_run(ctx: MutationContext, args: OneSettings) -> None:
    """Create a job for each due call of one user's settings, and set their next run."""
    due = await ctx.db.fetch(
        """select id, user_id, timezone, local_minutes, byday_mask, next_run_at from call_settings
           where id = $1 and next_run_at <= $2 for update""",
        args.settings_id, ctx.now,
    )  # fmt: skip
    await _plan(ctx, due)


async def _plan(ctx: MutationContext, due: Sequence[Any]) -> None:
    latest = timedelta(minutes=ctx.settings.vapi.latest_minutes)
    # Settings that cannot be planned must not block the batch.
    lost = [row["id"] for row in due if not is_known(row["timezone"])]
    if lost:
        log.error("unknown time zones", settings=len(lost))
        await ctx.db.execute(
            """update call_settings set next_run_at = null, paused_reason = $3, updated_at = $2
               where id = any($1)""",
            lost, ctx.now, UNKNOWN_TIMEZONE,
        )  # fmt: skip
        due = [row for row in due if is_known(row["timezone"])]
    jobs = [
        (CallJobId.new(ctx.now), row["user_id"], row["id"], moment, is_late(moment, ctx.now, latest))
        for row in due
        for moment in _occurrences(row, ctx.now)
    ]
    await ctx.db.execute(
        """insert into call_jobs (id, user_id, settings_id, scheduled_for, status, error_code, error_message,
             created_at, updated_at, ended_at)
           select id, user_id, settings_id, due, case when late then 'canceled' else 'queued' end,
             case when late then 'missed' end, case when late then $6 end, $7, $7,
             case when late then $7::timestamptz end
           from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bool[])
             as j (id, user_id, settings_id, due, late)
           on conflict (settings_id, scheduled_for, kind) do nothing""",
        *map(list, zip(*jobs, strict=True) if jobs else [()] * 5), REASONS["missed"], ctx.now,
    )  # fmt: skip
    await ctx.db.execute(
        """update call_settings s set next_run_at = n.due, updated_at = $3
           from unnest($1::text[], $2::timestamptz[]) as n (id, due) where s.id = n.id""",
        [row["id"] for row in due], [_next(row, ctx.now) for row in due], ctx.now,
    )  # fmt: skip
    late = sum(job[-1] for job in jobs)
    if jobs:
        log.info("calls planned", due=len(jobs) - late, missed=late)


def _next(row: Any, after: datetime) -> datetime:
    return next_run(
        after=after, timezone=row["timezone"], local_minutes=row["local_minutes"], byday_mask=row["byday_mask"]
    )  # fmt: skip


def _occurrences(row: Any, now: datetime) -> Iterator[datetime]:
    """Yield every occurrence that is due: after an outage of days, one for each missed day."""
    moment = row["next_run_at"]
    while moment <= now:
        yield moment
        moment = _next(row, moment)


@mutation
async def cancel_late_calls(ctx: MutationContext, args: NoArgs) -> bool:  # noqa: ARG001
    """Cancel one batch of calls that have waited for a line too long; return whether there may be more."""
    await calls.lock_lines(ctx.db)
    done = await ctx.db.execute(
        """update call_jobs set status = 'canceled', error_code = 'missed', error_message = $3, ended_at = $2,
             updated_at = $2
           where id in (select id from call_jobs where status = 'queued' and asked_at is null and scheduled_for < $1
                        order by scheduled_for, id limit $4 for update)""",
        ctx.now - timedelta(minutes=ctx.settings.vapi.latest_minutes), ctx.now, REASONS["missed"], CANCELED_AT_ONCE,
    )  # fmt: skip
    count(calls.CALLS.labels("canceled", "missed"), rows_of(done))
    return done == f"UPDATE {CANCELED_AT_ONCE}"
