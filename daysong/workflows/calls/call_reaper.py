"""Calls without a report: VAPI is polled, and after 90 minutes each call is closed."""

from __future__ import annotations

from datetime import datetime

from daysong.features.phone_calls import calls, money, sessions
from daysong.features.phone_calls.dialing import dispatch
from daysong.features.phone_calls.rules import LONGEST_CALL, REPORT_OVERDUE
from daysong.features.subscriptions.quotas import minutes
from daysong.kernel import logs
from daysong.kernel.functions.context import ActionContext, MutationContext
from daysong.kernel.functions.declarations import Args, NoArgs, Retry, action, mutation
from daysong.kernel.limits.lanes import Lane
from daysong.vendors.vapi.client import Telephone
from daysong.vendors.vapi.reports import Call
from daysong.workflows.calls.call_reports import apply_report
from daysong.workflows.calls.call_to_diary import VapiCall
from daysong.workflows.calls.call_words import schedule_deletion_at_vapi

log = logs.get_logger("calls")

BATCH = 200


class Polled(Args):
    """A call, and its state at VAPI; None when VAPI does not know it."""

    vapi_call_id: str
    call: Call | None


@mutation
async def reap_calls(ctx: MutationContext, args: NoArgs) -> None:  # noqa: ARG001
    """Schedule a poll of each call whose report is overdue, and fail calls that were lost. A cron."""
    rows = await ctx.db.fetch(
        """(select vapi_call_id from call_jobs
            where asked_at < $1 and reported_at is null and vapi_call_id is not null order by asked_at limit $2)
           union
           (select vapi_call_id from call_sessions
            where created_at < $1 and reported_at is null order by created_at limit $2)
           union
           (select vapi_call_id from call_minutes
            where reserved_at < $1 and settled_at is null and vapi_call_id is not null
            order by reserved_at limit $2)""",
        ctx.now - REPORT_OVERDUE, BATCH,
    )  # fmt: skip
    for row in rows:
        call_id = row["vapi_call_id"]
        await ctx.schedule(poll_call, VapiCall(vapi_call_id=call_id), key=f"poll {call_id} {ctx.now:%Y-%m-%dT%H:%M}")
    # Requested, never found, and past the time in which its job looks for it.
    lost = await ctx.db.fetch(
        """select id from call_jobs
           where asked_at < $1 and reported_at is null and vapi_call_id is null order by asked_at limit $2""",
        ctx.now - LONGEST_CALL, BATCH,
    )  # fmt: skip
    for row in lost:
        await minutes.settle(ctx.db, 0, ctx.now, call_job_id=row["id"])
        await calls.close(ctx, row["id"], "failed", "lost")
    if lost:
        await dispatch(ctx)


@mutation
async def give_up_poll(ctx: MutationContext, args: VapiCall) -> None:
    """Close a call that VAPI cannot be polled about, if it is over 90 minutes old; otherwise it is polled again."""
    since = await _known_since(ctx, args.vapi_call_id)
    if since is not None and ctx.now - since >= LONGEST_CALL:
        await _close(ctx, args.vapi_call_id)


@action(retry=Retry(outlasts_outages=False), on_exhausted=give_up_poll, lane=Lane.CALLS)
async def poll_call(ctx: ActionContext, args: VapiCall) -> None:
    """Poll VAPI for a call. An idempotent job."""
    telephone: Telephone = ctx.vendor(Telephone)  # type: ignore[type-abstract]  # looked up by its interface
    found = await telephone.get(args.vapi_call_id)
    await ctx.run_mutation(apply_polled, Polled(vapi_call_id=args.vapi_call_id, call=found))


@mutation
async def apply_polled(ctx: MutationContext, args: Polled) -> None:
    """Apply a call's report. Close a call that VAPI does not know, or that has no report after 90 minutes."""
    since = await _known_since(ctx, args.vapi_call_id)
    if since is None:
        return
    if args.call is not None and args.call.report is not None:
        origin = await sessions.find_origin(ctx, args.call, args.vapi_call_id)
        if origin is not None:
            log.info("report found", outcome=await apply_report(ctx, origin, args.vapi_call_id, args.call.report))
            return
    elif args.call is not None and ctx.now - since < LONGEST_CALL:
        return
    await _close(ctx, args.vapi_call_id)


async def _known_since(ctx: MutationContext, vapi_call_id: str) -> datetime | None:
    """Return when a call was requested or first reported; None when it is unknown."""
    since: datetime | None = await ctx.db.fetchval(
        """select coalesce((select asked_at from call_jobs where vapi_call_id = $1),
                           (select created_at from call_sessions where vapi_call_id = $1),
                           (select reserved_at from call_minutes where vapi_call_id = $1))""",
        vapi_call_id,
    )
    return since


async def _close(ctx: MutationContext, vapi_call_id: str) -> None:
    log.warning("call without a report")
    await _settle(ctx, vapi_call_id)
    if await sessions.close_unreported(ctx, vapi_call_id):
        await schedule_deletion_at_vapi(ctx, vapi_call_id)
    job_id = await ctx.db.fetchval("select id from call_jobs where vapi_call_id = $1", vapi_call_id)
    if job_id is not None:
        await calls.close(ctx, job_id, "failed", "no_report")
        await dispatch(ctx)


async def _settle(ctx: MutationContext, vapi_call_id: str) -> None:
    """Settle the minutes and cost of a call without a report, by when it was answered and ended.

    An unanswered call costs nothing; one without a known end costs what was reserved.
    """
    row = await ctx.db.fetchrow(
        """select j.id as job_id, j.hung_up_at, s.created_at as answered_at, m.user_id, m.seconds
           from (select $1::text as vapi_call_id) c
           left join call_jobs j using (vapi_call_id) left join call_sessions s using (vapi_call_id)
           left join call_minutes m on m.call_job_id = j.id or (j.id is null and m.vapi_call_id = $1)""",
        vapi_call_id,
    )
    assert row is not None  # noqa: S101 - made of the argument
    seconds: float | None = None
    if row["answered_at"] is None:
        seconds = 0.0
    elif row["hung_up_at"] is not None:
        seconds = (row["hung_up_at"] - row["answered_at"]).total_seconds()
    await minutes.settle(ctx.db, seconds, ctx.now, call_job_id=row["job_id"], vapi_call_id=vapi_call_id)
    if row["user_id"] is not None:
        paid = row["seconds"] if seconds is None else seconds
        await money.pay_without_report(ctx, row["user_id"], vapi_call_id, row["job_id"], paid)
