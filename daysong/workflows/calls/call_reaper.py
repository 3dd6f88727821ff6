"""Calls whose report did not come: VAPI is asked how they went, and each is closed, one way or another."""

from __future__ import annotations

from datetime import datetime

from daysong.features.phone_calls import calls, money, sessions
from daysong.features.phone_calls.dialing import dispatch
from daysong.features.phone_calls.rules import LONGEST_CALL, REPORT_OVERDUE
from daysong.features.subscriptions.quotas import minutes
from daysong.kernel import logs
from daysong.kernel.functions.context import ActionContext, MutationContext
from daysong.kernel.functions.declarations import Args, NoArgs, action, mutation
from daysong.kernel.limits.lanes import Lane
from daysong.vendors.vapi.client import Telephone
from daysong.vendors.vapi.reports import Call
from daysong.workflows.calls.call_reports import apply_report
from daysong.workflows.calls.call_to_diary import VapiCall
from daysong.workflows.calls.call_words import forget_deleted

log = logs.get_logger("calls")

LOOKED_AT_ONCE = 200


class Polled(Args):
    """A call, and what VAPI says of it; nothing when it does not know it."""

    vapi_call_id: str
    call: Call | None


@mutation
async def reap_calls(ctx: MutationContext, args: NoArgs) -> None:  # noqa: ARG001
    """Have it looked up how calls went that should have been reported by now. A cron."""
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
        ctx.now - REPORT_OVERDUE, LOOKED_AT_ONCE,
    )  # fmt: skip
    for row in rows:
        call_id = row["vapi_call_id"]
        await ctx.schedule(poll_call, VapiCall(vapi_call_id=call_id), key=f"poll {call_id} {ctx.now:%Y-%m-%dT%H:%M}")
    # Asked for, never found, and no job left to look for it.
    lost = await ctx.db.fetch(
        """select id from call_jobs
           where asked_at < $1 and reported_at is null and vapi_call_id is null order by asked_at limit $2""",
        ctx.now - LONGEST_CALL, LOOKED_AT_ONCE,
    )  # fmt: skip
    for row in lost:
        await minutes.settle(ctx.db, 0, ctx.now, call_job_id=row["id"])
        await calls.close(ctx, row["id"], "failed", "lost")
    if lost:
        await dispatch(ctx)


@mutation
async def give_up_poll(ctx: MutationContext, args: VapiCall) -> None:
    """VAPI cannot be asked about a call: the next look asks again; after an hour and a half, it has no report."""
    since = await _since(ctx, args.vapi_call_id)
    if since is not None and ctx.now - since >= LONGEST_CALL:
        await _close(ctx, args.vapi_call_id)


@action(on_exhausted=give_up_poll, lane=Lane.CALLS)
async def poll_call(ctx: ActionContext, args: VapiCall) -> None:
    """Ask VAPI how a call went. A job; safe to run twice."""
    telephone: Telephone = ctx.vendor(Telephone)  # type: ignore[type-abstract]  # looked up by its interface
    found = await telephone.get(args.vapi_call_id)
    await ctx.run_mutation(apply_polled, Polled(vapi_call_id=args.vapi_call_id, call=found))


@mutation
async def apply_polled(ctx: MutationContext, args: Polled) -> None:
    """What VAPI says of a call: its report, if it is over; else, after an hour and a half, that there is none.

    There is none either of a call VAPI does not know.
    """
    since = await _since(ctx, args.vapi_call_id)
    if since is None:
        return
    if args.call is not None and args.call.report is not None:
        whose = await sessions.whose(ctx, args.call, args.vapi_call_id)
        if whose is not None:
            log.info("report found", outcome=await apply_report(ctx, whose, args.vapi_call_id, args.call.report))
            return
    elif args.call is not None and ctx.now - since < LONGEST_CALL:
        return
    await _close(ctx, args.vapi_call_id)


async def _since(ctx: MutationContext, vapi_call_id: str) -> datetime | None:
    """When a call was asked for, or first heard of; None when it is not known."""
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
        await forget_deleted(ctx, vapi_call_id)
    job_id = await ctx.db.fetchval("select id from call_jobs where vapi_call_id = $1", vapi_call_id)
    if job_id is not None:
        await calls.close(ctx, job_id, "failed", "no_report")
        await dispatch(ctx)


async def _settle(ctx: MutationContext, vapi_call_id: str) -> None:
    """Count the minutes and the money of a call without a report, as far as it is known when it was answered and ended.

    One that was not answered takes none; one whose end is not known takes what was reserved for it.
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
