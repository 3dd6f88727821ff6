"""Dialing: VAPI is requested at most once for a call, even if this process is killed or the answer is lost.

    processCallJob     takes a line and commits asked_at in one transaction, then requests the call
    rejected           a temporary rejection is retried twice; any other ends the call
    answer lost        VAPI is not requested again; lookUpCall looks for the call there

The rules of who may be called, and when, are in rules.py; they are checked in the transaction that takes the line.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from daysong.features.phone_calls import calls, money
from daysong.features.phone_calls.endings import found_no_line
from daysong.features.phone_calls.numbers import consent
from daysong.features.phone_calls.numbers.numbers import country_of
from daysong.features.phone_calls.numbers.permission import NEEDS_COUNTRY, denial_reason
from daysong.features.phone_calls.rules import ATTEMPT_PAUSE, MOST_ATTEMPTS, REASONS
from daysong.features.phone_calls.schedule.calendar import local_datetime
from daysong.features.phone_calls.talk.assistant import Talk, assistant_for
from daysong.features.subscriptions.quotas import minutes
from daysong.features.users import store as users
from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, Retry, action, mutation, query
from daysong.kernel.limits.errors import DEFERRED
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.time.clock import from_ms, to_ms
from daysong.vendors.vapi.client import LINES_BUSY, Telephone

log = logs.get_logger("calls")

# How long a call with a lost answer is looked up: longer than a call may last, and shorter than the retries below.
LOOK_UP_FOR = timedelta(minutes=15)
LOOK_UPS = Retry(attempts=16, first=timedelta(seconds=10), longest=timedelta(minutes=4))


class OneCall(Args):
    """The id of a call job."""

    job_id: IdText


class DueCall(OneCall):
    """The same, with what is needed to take a line.

    reservation, cap   the reservation for its cost, or the daily cap that is reached
    country            that of our line; empty when it has none, None while it is not fetched
    """

    reservation: str | None = None
    cap: str | None = None
    country: str | None = None


class OneAttempt(OneCall):
    """An attempt at a call: there are up to three, each after a certain rejection of the one before."""

    attempt: int


class PlacedCall(Args):
    """A placed call, with its id at VAPI."""

    job_id: IdText
    vapi_call_id: str


class RefusedCall(OneAttempt):
    """A certain rejection of a call; `pause` in seconds, None when a retry cannot help."""

    code: str
    reason: str
    pause: float | None


class Order(Result):
    """A call to request from VAPI: the number, the maximum in seconds, and the assistant's context."""

    number: str
    user_id: str
    name: str | None
    language: str
    timezone: str
    agreed: bool
    attempt: int
    seconds: int
    now: float


class LineResult(Result):
    """The call to request, if any; `needs_country` when the country of our line must be fetched first."""

    order: Order | None = None
    needs_country: bool = False


class RequestedCall(Result):
    """A call requested from VAPI at that time (ms), whose id there is unknown."""

    asked_at: float


@action(lane=Lane.CALLS, punctual=True)
async def process_call_job(ctx: ActionContext, args: OneCall) -> None:
    """Place a due call. A job; idempotent, and safe to be killed at any point."""
    await place_call(ctx, args)


@action(lane=Lane.CALLS, punctual=True)
async def schedule_vapi_call(ctx: ActionContext, args: OneCall) -> None:
    """Place a due call: the same as processCallJob, under another name."""
    await place_call(ctx, args)


async def place_call(ctx: ActionContext, args: OneCall) -> None:
    """Take a line and request the call from VAPI; do nothing when it may not be made, or not now."""
    telephone: Telephone = ctx.vendor(Telephone)  # type: ignore[type-abstract]  # looked up by its interface
    if not telephone.is_available:
        # Taking a line would begin one of its few attempts. It keeps waiting, and is dispatched again within a minute.
        log.info("call waits for vapi", call=args.job_id)
        return
    reserved = await money.reserve_call(ctx, account_of_call, args)
    due = DueCall(job_id=args.job_id, reservation=reserved.reservation, cap=reserved.cap)
    try:
        taken = await ctx.run_mutation(take_line, due)
        if taken.needs_country:
            due = msgspec.structs.replace(due, country=await _country_of_line(telephone))
            taken = await ctx.run_mutation(take_line, due)
    except Exception:
        # A reservation that the call has claimed is unaffected: claiming renamed it.
        await money.cancel(ctx, reserved)
        raise
    order = taken.order
    if order is None:
        await money.cancel(ctx, reserved)
        return
    talk = Talk(
        job_id=args.job_id,
        user_id=order.user_id,
        name=order.name,
        language=order.language,
        local_now=local_datetime(from_ms(order.now), order.timezone),
        first_call=not order.agreed,
        seconds=order.seconds,
        inbound=False,
    )
    assistant = assistant_for(talk, ctx.settings.vapi, ctx.settings.site_url)
    try:
        call_id = await telephone.call(number=order.number, assistant=assistant, job_id=args.job_id)
    except VendorError as error:
        if error.ambiguous:
            log.warning("vapi's answer lost", call=args.job_id, code=error.code)
            await ctx.run_mutation(schedule_look_up, OneAttempt(job_id=args.job_id, attempt=order.attempt))
            return
        pause = None if error.permanent else max(error.retry_after or 0.0, ATTEMPT_PAUSE.total_seconds())
        refusal = RefusedCall(
            job_id=args.job_id, attempt=order.attempt, code=error.code, reason=error.reason, pause=pause
        )
        await ctx.run_mutation(record_refused, refusal)
        return
    await ctx.run_mutation(record_placed, PlacedCall(job_id=args.job_id, vapi_call_id=call_id))


@query
async def account_of_call(ctx: QueryContext, args: OneCall) -> str | None:
    """Return the account of a call."""
    found: str | None = await ctx.db.fetchval("select user_id from call_jobs where id = $1", args.job_id)
    return found


async def _country_of_line(telephone: Telephone) -> str:
    """Return the country of our line; empty when it has no number, or VAPI does not know it."""
    try:
        country = country_of(await telephone.line_number())
    except VendorError as error:
        if not error.permanent:
            raise
        country = None
    if country is None:
        log.error("country of the line unknown: set CALL_COUNTRIES")
    return country or ""


@mutation
async def take_line(ctx: MutationContext, args: DueCall) -> LineResult:
    """Take a line for a call, set its `asked_at` and reserve its minutes; no order when it is not to be requested.

    A call that may not be made is canceled with the reason. Without a free line it keeps waiting. One that was
    requested before and has no answer is looked up.

    Locks are taken in this order: the account, the lines, the call and its settings, the number.
    """
    owner = await ctx.db.fetchval("select user_id from call_jobs where id = $1 and status = 'queued'", args.job_id)
    if owner is None:
        return LineResult()
    await users.lock_account(ctx.db, owner)
    await calls.lock_lines(ctx.db)
    row = await ctx.db.fetchrow(
        """select j.user_id, j.settings_id, j.kind, j.scheduled_for, j.asked_at, j.not_before, j.attempts,
             s.phone_e164, s.timezone, s.local_minutes, s.language, s.active, s.consent, s.paused_reason, s.lost_at,
             u.name, u.deleted_at, u.suspension
           from call_jobs j join call_settings s on s.id = j.settings_id join users u on u.id = j.user_id
           where j.id = $1 and j.status = 'queued' for update of j, s""",
        args.job_id,
    )
    if row is None or (row["asked_at"] is None and row["not_before"] is not None and ctx.now < row["not_before"]):
        return LineResult()
    if row["asked_at"] is not None:
        await schedule_look_up(ctx, OneAttempt(job_id=args.job_id, attempt=row["attempts"]))
        return LineResult()
    hashed = await consent.hash_of(ctx, row["phone_e164"])
    number = await consent.lock_number_state(ctx.db, hashed)
    agreed = row["consent"] == "granted"
    code = await denial_reason(ctx, row, number, country=args.country, cap=args.cap)
    if code == NEEDS_COUNTRY:
        return LineResult(needs_country=True)
    seconds = None
    if code is None:
        if not await calls.lines_free(ctx.db, ctx.settings.vapi.max_concurrent_calls):
            return LineResult()
        seconds, code = await _reserve_minutes(ctx, owner, args.job_id)
    if code is not None or seconds is None:
        await _cancel(ctx, args.job_id, row, hashed, code or "no_minutes")
        return LineResult()
    await money.claim(ctx, args.reservation, args.job_id)
    await ctx.db.execute(
        """update call_jobs set asked_at = $2, number_hash = $3, with_consent = $4, attempts = attempts + 1,
             not_before = null, not_rung_at = null, updated_at = $2 where id = $1""",
        args.job_id, ctx.now, hashed, agreed,
    )  # fmt: skip
    await consent.record_dial(ctx, hashed, number, agreed=agreed, timezone=row["timezone"])
    order = Order(
        number=row["phone_e164"],
        user_id=row["user_id"],
        name=row["name"],
        language=row["language"],
        timezone=row["timezone"],
        agreed=agreed,
        attempt=row["attempts"] + 1,
        seconds=seconds,
        now=to_ms(ctx.now),
    )
    return LineResult(order=order)


async def _reserve_minutes(ctx: MutationContext, owner: str, job_id: str) -> tuple[int | None, str | None]:
    """Count a call towards the day and reserve its minutes; return its seconds, or why it may not be made."""
    vapi = ctx.settings.vapi
    seconds = await minutes.reserve(
        ctx.db, owner, vapi.minutes, ctx.now, longest=vapi.max_call_minutes * 60, call_job_id=job_id
    )
    if seconds is None:
        return None, "no_minutes"
    if not await calls.count_dial(ctx, vapi.calls_a_day):
        await minutes.settle(ctx.db, 0, ctx.now, call_job_id=job_id)
        return None, "all_calls_made"
    return seconds, None


async def _cancel(ctx: MutationContext, job_id: str, row: Any, hashed: bytes, code: str) -> None:
    await calls.step(ctx, job_id, "canceled", code)
    if code == "all_calls_made":
        log.error("daily limit of calls reached: CALL_DAILY_LIMIT")
    log.info("call canceled", call=job_id, code=code)
    if code == "refused":
        # The refusal may have been given to another account; it applies to this one too.
        holder = consent.Holder(row["settings_id"], row["user_id"], row["consent"], row["phone_e164"])
        await consent.refuse(ctx, hashed, holder)
    if code == "no_consent":
        await consent.pause_without_consent(ctx, row["settings_id"])
    await dispatch(ctx)


@mutation
async def record_placed(ctx: MutationContext, args: PlacedCall) -> None:
    """Store the id of a call that VAPI has placed."""
    await calls.adopt(ctx, args.job_id, args.vapi_call_id)


@mutation
async def record_refused(ctx: MutationContext, args: RefusedCall) -> None:
    """Retry a call that VAPI certainly has not placed after a pause, or fail it.

    Results of earlier attempts than the latest are ignored: the next one may be ringing.
    """
    owner = await ctx.db.fetchval("select user_id from call_jobs where id = $1", args.job_id)
    if owner is None:
        return
    await users.lock_account(ctx.db, owner)
    await calls.lock_lines(ctx.db)
    row = await ctx.db.fetchrow(
        """select * from call_jobs
           where id = $1 and attempts = $2 and status = 'queued' and asked_at is not null and vapi_call_id is null
           for update""",
        args.job_id, args.attempt,
    )  # fmt: skip
    if row is None:
        return
    await calls.undo_dial(ctx, row)
    # VAPI has no free line, or the request was deferred: neither counts as an attempt.
    waits_for_line = args.code in {LINES_BUSY, DEFERRED}
    if args.pause is None or (row["attempts"] >= MOST_ATTEMPTS and not waits_for_line):
        log.warning("call failed", call=row["id"], code=args.code)
        await calls.close(ctx, row["id"], "failed", args.code, args.reason)
    else:
        pause = timedelta(seconds=args.pause)
        await ctx.db.execute(
            """update call_jobs set asked_at = null, number_hash = null, with_consent = null, not_before = $2,
                 updated_at = $3 where id = $1""",
            row["id"], ctx.now + pause, ctx.now,
        )  # fmt: skip
        await ctx.schedule(process_call_job, OneCall(job_id=row["id"]), delay=pause)
    # Without a line at VAPI, other calls would fail too: they wait for one to end, or for the next minute.
    if not waits_for_line:
        await dispatch(ctx)


@mutation
async def schedule_look_up(ctx: MutationContext, args: OneAttempt) -> None:
    """Schedule a look-up of a call whose answer was lost."""
    await ctx.schedule(look_up_call, args, key=f"look up {args.job_id} {args.attempt}")


@mutation
async def fail_lost_call(ctx: MutationContext, args: OneAttempt) -> None:
    """Fail a call that VAPI does not know, or that cannot be looked up."""
    lost = await ctx.db.fetchval(
        """select true from call_jobs where id = $1 and attempts = $2 and status = 'queued' and asked_at is not null
             and vapi_call_id is null""",
        args.job_id, args.attempt,
    )  # fmt: skip
    if lost:
        log.warning("call lost", call=args.job_id)
        await minutes.settle(ctx.db, 0, ctx.now, call_job_id=args.job_id)
        await calls.close(ctx, args.job_id, "failed", "lost")
        await dispatch(ctx)


@action(retry=LOOK_UPS, on_exhausted=fail_lost_call, lane=Lane.CALLS)
async def look_up_call(ctx: ActionContext, args: OneAttempt) -> None:
    """Look for a call at VAPI, retried for about 15 minutes. A job; it never requests the call again."""
    requested = await ctx.run_query(get_requested_call, args)
    if requested is None:
        return
    telephone: Telephone = ctx.vendor(Telephone)  # type: ignore[type-abstract]  # looked up by its interface
    asked_at = from_ms(requested.asked_at)
    found = await telephone.find(args.job_id, since=asked_at - timedelta(minutes=2))
    blocked = found is not None and found.report is not None and found_no_line(found.report.ended_reason)
    # A call that found no line may be of an earlier attempt, and says nothing about this one.
    if found is None or (blocked and args.attempt > 1):
        if ctx.now - asked_at < LOOK_UP_FOR:
            raise VendorError("vapi", "call not found yet", permanent=False, code="unknown_call")
        await ctx.run_mutation(fail_lost_call, args)
        return
    if blocked:
        pause = ATTEMPT_PAUSE.total_seconds()
        refusal = RefusedCall(
            job_id=args.job_id, attempt=args.attempt, code=LINES_BUSY, reason=REASONS["lines_busy"], pause=pause
        )
        await ctx.run_mutation(record_refused, refusal)
        return
    await ctx.run_mutation(record_placed, PlacedCall(job_id=args.job_id, vapi_call_id=found.id))


@query
async def get_requested_call(ctx: QueryContext, args: OneAttempt) -> RequestedCall | None:
    """Return a requested call without an id; None when it has one, has ended, or another attempt was made."""
    asked_at = await ctx.db.fetchval(
        """select asked_at from call_jobs where id = $1 and attempts = $2 and status = 'queued'
             and asked_at is not null and vapi_call_id is null""",
        args.job_id, args.attempt,
    )  # fmt: skip
    return None if asked_at is None else RequestedCall(asked_at=to_ms(asked_at))


@mutation
async def dispatch_waiting_calls(ctx: MutationContext, args: NoArgs) -> None:  # noqa: ARG001
    """Schedule as many waiting calls as lines are free, the earliest due first."""
    await calls.lock_lines(ctx.db)
    free = await calls.lines_free(ctx.db, ctx.settings.vapi.max_concurrent_calls)
    rows = await ctx.db.fetch(
        """select id from call_jobs
           where status = 'queued' and asked_at is null and (not_before is null or not_before <= $1)
           order by scheduled_for, id limit $2""",
        ctx.now, free,
    )  # fmt: skip
    for row in rows:
        await ctx.schedule(process_call_job, OneCall(job_id=row["id"]))


async def dispatch(ctx: MutationContext) -> None:
    """Schedule the dispatch of waiting calls, if there are any."""
    if await ctx.db.fetchval("select true from call_jobs where status = 'queued' and asked_at is null limit 1"):
        await ctx.schedule(dispatch_waiting_calls, NoArgs())
