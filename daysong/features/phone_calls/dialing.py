"""Dialling one call, once: VAPI is asked for it at most once, whatever happens to us or to its answer.

    processCallJob     takes a line and notes that VAPI is asked (asked_at), in one transaction; then asks
    refused            what may pass is tried again, two more times; anything else ends the call
    answer lost        VAPI is never asked again: it is looked up whether it has the call (lookUpCall)

Who may be called, and when, stands in rules.py; all of it is looked at when the line is taken, in the same transaction.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from daysong.features.phone_calls import calls, money
from daysong.features.phone_calls.endings import found_no_line
from daysong.features.phone_calls.numbers import consent
from daysong.features.phone_calls.numbers.numbers import country_of, number_hash
from daysong.features.phone_calls.numbers.permission import ASKS_FOR_COUNTRY, why_not
from daysong.features.phone_calls.rules import (
    ATTEMPT_PAUSE,
    MOST_ATTEMPTS,
    REASONS,
)
from daysong.features.phone_calls.schedule.calendar import there
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

# How long a lost answer is looked up: longer than a call may last. By then so many tries are not used up.
LOOKED_UP = timedelta(minutes=15)
LOOK_UPS = Retry(attempts=16, first=timedelta(seconds=10), longest=timedelta(minutes=4))


class OneCall(Args):
    """Which call, by its job."""

    job_id: IdText


class DueCall(OneCall):
    """The same, with what is to be known before a line is taken.

    reservation, cap   what was reserved for it, or which cap of the day does not allow it
    country            that of our line, empty when it has none, None before VAPI was asked for it
    """

    reservation: str | None = None
    cap: str | None = None
    country: str | None = None


class OneAttempt(OneCall):
    """Which order for a call: it may be asked for up to three times, each after a certain no to the one before."""

    attempt: int


class PlacedCall(Args):
    """The id VAPI gave a call."""

    job_id: IdText
    vapi_call_id: str


class RefusedCall(OneAttempt):
    """Why VAPI certainly did not place a call; `pause` in seconds, None when it never will."""

    code: str
    reason: str
    pause: float | None


class Order(Result):
    """Whom to call, for how many seconds at most, and what the assistant has to know."""

    number: str
    user_id: str
    name: str | None
    language: str
    timezone: str
    agreed: bool
    attempt: int
    seconds: int
    now: float


class Taken(Result):
    """An order to be given to VAPI, if there is one; or what has to be known before: the country of our line."""

    order: Order | None = None
    asks_for_country: bool = False


class AskedCall(Result):
    """A call VAPI was asked for, at that moment (ms), without telling its id."""

    asked_at: float


@action(lane=Lane.CALLS, punctual=True)
async def process_call_job(ctx: ActionContext, args: OneCall) -> None:
    """Place one call that is due. A job; safe to be killed anywhere and to run twice."""
    await place(ctx, args)


@action(lane=Lane.CALLS, punctual=True)
async def schedule_vapi_call(ctx: ActionContext, args: OneCall) -> None:
    """The same by its other name: there is no way to dial but from a job, and then once."""
    await place(ctx, args)


async def place(ctx: ActionContext, args: OneCall) -> None:
    """Take a line, and ask VAPI for the call; does nothing when it may not be made, or not now."""
    telephone: Telephone = ctx.vendor(Telephone)  # type: ignore[type-abstract]  # looked up by its interface
    reserved = await money.reserve_call(ctx, account_of_call, args)
    due = DueCall(job_id=args.job_id, reservation=reserved.reservation, cap=reserved.cap)
    try:
        taken = await ctx.run_mutation(take_line, due)
        if taken.asks_for_country:
            due = msgspec.structs.replace(due, country=await _country_of_line(telephone))
            taken = await ctx.run_mutation(take_line, due)
    except Exception:
        # Does nothing to money that the call has claimed: its reservation has another name since.
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
        local_now=there(from_ms(order.now), order.timezone),
        first_call=not order.agreed,
        seconds=order.seconds,
        inbound=False,
    )
    assistant = assistant_for(talk, ctx.settings.vapi, ctx.settings.site_url)
    try:
        call_id = await telephone.call(number=order.number, assistant=assistant, job_id=args.job_id)
    except VendorError as error:
        if error.ambiguous:
            log.warning("vapi's answer was lost", call=args.job_id, code=error.code)
            await ctx.run_mutation(look_for_call, OneAttempt(job_id=args.job_id, attempt=order.attempt))
            return
        pause = None if error.permanent else max(error.retry_after or 0.0, ATTEMPT_PAUSE.total_seconds())
        refusal = RefusedCall(
            job_id=args.job_id, attempt=order.attempt, code=error.code, reason=error.reason, pause=pause
        )
        await ctx.run_mutation(note_refused, refusal)
        return
    await ctx.run_mutation(note_placed, PlacedCall(job_id=args.job_id, vapi_call_id=call_id))


@query
async def account_of_call(ctx: QueryContext, args: OneCall) -> str | None:
    """Whose call it is."""
    found: str | None = await ctx.db.fetchval("select user_id from call_jobs where id = $1", args.job_id)
    return found


async def _country_of_line(telephone: Telephone) -> str:
    """The country of our line; empty when it has no number, or VAPI does not know the line."""
    try:
        country = country_of(await telephone.line_number())
    except VendorError as error:
        if not error.permanent:
            raise
        country = None
    if country is None:
        log.error("the country of the line is not known; set CALL_COUNTRIES")
    return country or ""


@mutation
async def take_line(ctx: MutationContext, args: DueCall) -> Taken:
    """Note that VAPI is about to be asked for a call, and reserve its minutes; no order when it is not to be asked.

    A call that may not be made is canceled, with the reason. One for which no line is free goes on waiting. One that
    was asked for before, and by now has no answer, is looked up.

    Locks are taken in this order: the account, the lines, the call and its settings, the number.
    """
    owner = await ctx.db.fetchval("select user_id from call_jobs where id = $1 and status = 'queued'", args.job_id)
    if owner is None:
        return Taken()
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
        return Taken()
    if row["asked_at"] is not None:
        await look_for_call(ctx, OneAttempt(job_id=args.job_id, attempt=row["attempts"]))
        return Taken()
    hashed = number_hash(ctx.settings, row["phone_e164"])
    number = await consent.known(ctx.db, hashed)
    agreed = row["consent"] == "granted"
    code = await why_not(ctx, row, number, country=args.country, cap=args.cap)
    if code == ASKS_FOR_COUNTRY:
        return Taken(asks_for_country=True)
    seconds = None
    if code is None:
        if not await calls.lines_free(ctx.db, ctx.settings.vapi.max_concurrent_calls):
            return Taken()
        seconds, code = await _minutes(ctx, owner, args.job_id)
    if code is not None or seconds is None:
        await _call_off(ctx, args.job_id, row, hashed, code or "no_minutes")
        return Taken()
    await money.claim(ctx, args.reservation, args.job_id)
    await ctx.db.execute(
        """update call_jobs set asked_at = $2, number_hash = $3, with_consent = $4, attempts = attempts + 1,
             not_before = null, not_rung_at = null, updated_at = $2 where id = $1""",
        args.job_id, ctx.now, hashed, agreed,
    )  # fmt: skip
    await consent.note_dialled(ctx, hashed, number, agreed=agreed, timezone=row["timezone"])
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
    return Taken(order=order)


async def _minutes(ctx: MutationContext, owner: str, job_id: str) -> tuple[int | None, str | None]:
    """Count a call on this day and reserve its minutes: how many seconds, or why it may not be made."""
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


async def _call_off(ctx: MutationContext, job_id: str, row: Any, hashed: bytes, code: str) -> None:
    await calls.step(ctx, job_id, "canceled", code)
    if code == "all_calls_made":
        log.error("the calls of the day are used up: CALL_DAILY_LIMIT")
    log.info("call not made", call=job_id, code=code)
    if code == "refused":
        # Told to another account, perhaps: it binds this one as well.
        holder = consent.Holder(row["settings_id"], row["user_id"], row["consent"], row["phone_e164"])
        await consent.refuse(ctx, hashed, holder)
    if code == "no_consent":
        await consent.pause_without_consent(ctx, row["settings_id"])
    await dispatch(ctx)


@mutation
async def note_placed(ctx: MutationContext, args: PlacedCall) -> None:
    """VAPI has taken the call, under that id."""
    await calls.adopt(ctx, args.job_id, args.vapi_call_id)


@mutation
async def note_refused(ctx: MutationContext, args: RefusedCall) -> None:
    """VAPI certainly has not placed the call: it is asked again after a pause, or the call has failed.

    A message about an order before the latest comes too late to matter: the next one may be ringing.
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
    await calls.did_not_ring(ctx, row)
    # VAPI has no free line, or was not asked since others wait to ask it: no attempt, in both cases.
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
    # Where VAPI has no line, the next call would find none either: it waits for one to end, or for the next minute.
    if not waits_for_line:
        await dispatch(ctx)


@mutation
async def look_for_call(ctx: MutationContext, args: OneAttempt) -> None:
    """Have it looked up whether VAPI has a call whose answer was lost."""
    await ctx.schedule(look_up_call, args, key=f"look up {args.job_id} {args.attempt}")


@mutation
async def lose_call(ctx: MutationContext, args: OneAttempt) -> None:
    """VAPI does not know the call, or never answers: it has failed."""
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


@action(retry=LOOK_UPS, on_exhausted=lose_call, lane=Lane.CALLS)
async def look_up_call(ctx: ActionContext, args: OneAttempt) -> None:
    """Ask VAPI whether it has the call, again and again for about a quarter of an hour. It is not asked for anew."""
    asked = await ctx.run_query(asked_call, args)
    if asked is None:
        return
    telephone: Telephone = ctx.vendor(Telephone)  # type: ignore[type-abstract]  # looked up by its interface
    asked_at = from_ms(asked.asked_at)
    found = await telephone.find(args.job_id, since=asked_at - timedelta(minutes=2))
    blocked = found is not None and found.report is not None and found_no_line(found.report.ended_reason)
    # A call that found no line may be what an order before this one came to: nothing is known of this one then.
    if found is None or (blocked and args.attempt > 1):
        if ctx.now - asked_at < LOOKED_UP:
            raise VendorError("vapi", "no such call yet", permanent=False, code="unknown_call")
        await ctx.run_mutation(lose_call, args)
        return
    if blocked:
        pause = ATTEMPT_PAUSE.total_seconds()
        refusal = RefusedCall(
            job_id=args.job_id, attempt=args.attempt, code=LINES_BUSY, reason=REASONS["lines_busy"], pause=pause
        )
        await ctx.run_mutation(note_refused, refusal)
        return
    await ctx.run_mutation(note_placed, PlacedCall(job_id=args.job_id, vapi_call_id=found.id))


@query
async def asked_call(ctx: QueryContext, args: OneAttempt) -> AskedCall | None:
    """A call that was asked for and has no id yet; None when it has one, is over, or was asked for anew."""
    asked_at = await ctx.db.fetchval(
        """select asked_at from call_jobs where id = $1 and attempts = $2 and status = 'queued'
             and asked_at is not null and vapi_call_id is null""",
        args.job_id, args.attempt,
    )  # fmt: skip
    return None if asked_at is None else AskedCall(asked_at=to_ms(asked_at))


@mutation
async def dispatch_waiting_calls(ctx: MutationContext, args: NoArgs) -> None:  # noqa: ARG001
    """Have as many waiting calls dialled as lines are free, those due first first."""
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
    """Have waiting calls dialled once this transaction is committed, as many as there are lines for."""
    if await ctx.db.fetchval("select true from call_jobs where status = 'queued' and asked_at is null limit 1"):
        await ctx.schedule(dispatch_waiting_calls, NoArgs())
