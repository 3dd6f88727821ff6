"""VAPI's messages about calls: status, report, consent, outcome.

    a status update         the call was answered, or has ended and freed its line
    an end-of-call report   in one transaction: the session, the consent, and whether an entry is written
    readAnswer              a job: reads the consent when the report has no analysis

Reports arrive early, late, repeatedly, about unknown calls, or not at all (call_reaper.py). Each call has one session;
call_to_diary.py writes the entry. Without consent, no transcript is kept.

When the report of a first call has no consent, VAPI is polled a minute later, since its analysis may be late; without
one, OpenAI reads the transcript, which stays at VAPI until then. That is committed before the request, and paid for
once: if the job is killed in between, the consent is unclear.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec

from daysong.features.phone_calls import calls, money, sessions
from daysong.features.phone_calls.dialing import dispatch
from daysong.features.phone_calls.endings import class_of, found_no_line, is_account_alarm, never_rang
from daysong.features.phone_calls.numbers import consent, ownership
from daysong.features.phone_calls.sessions import CallOrigin
from daysong.features.phone_calls.talk.machine_phrases import Machine
from daysong.features.phone_calls.talk.outcomes import (
    EndState,
    consent_of,
    has_unread_answer,
    machine_in,
    no_entry_reason,
    state_of,
    state_with,
    talk_text,
    wants_no_calls,
)
from daysong.features.subscriptions.quotas import minutes
from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, Retry, action, mutation, query
from daysong.kernel.limits import budgets
from daysong.kernel.limits.budgets import NOTHING_LIMITS, Budget
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.limits.prices import Purchase
from daysong.vendors.openai.client import AnswerReader
from daysong.vendors.vapi.client import Telephone
from daysong.vendors.vapi.reports import CONSENT, END_OF_CALL, ENDED, STATUS_UPDATE, STOP_CALLING, Call, Message, Report
from daysong.workflows.calls.call_to_diary import OneSession, generate_diary_from_call, schedule_vapi_deletion
from daysong.workflows.push import occasions

log = logs.get_logger("calls")

# An analysis that exceeded VAPI's time limit is missing in the report, and available a little later.
ANALYSIS_DELAY = timedelta(minutes=1)
READ_RETRIES = Retry(attempts=8, first=timedelta(seconds=20), longest=timedelta(minutes=10))


class UnreadAnswer(Args):
    """A session without a consent yet, and its call's id at VAPI."""

    session_id: IdText
    vapi_call_id: str


class PaidReading(UnreadAnswer):
    """The same, with the reservation for the model's cost."""

    reservation: str


class ReadAnswer(UnreadAnswer):
    """The same, with the call at VAPI and the analysis of its transcript."""

    call: Call | None
    structured: dict[str, Any]
    has_content: bool | None = None


class Unread(Result):
    """A user whose consent is unread, and whether the model was requested before."""

    user_id: str
    language: str
    requested: bool


async def on_message(ctx: MutationContext, message: Message) -> str:
    """Apply a message; return the outcome."""
    if message.type not in {STATUS_UPDATE, END_OF_CALL}:
        return "noted"
    if message.call_id is None:
        return "names no call"
    if (
        found_no_line(message.ended_reason)
        and await calls.find(ctx.db, vapi_call_id=message.call_id, job_id=None) is None
    ):
        # We do not know the call as placed: the answer to our request, or a look-up, reports the same.
        return "no free line at vapi"
    origin = await sessions.find_origin(ctx, message, message.call_id)
    if origin is None:
        if message.report is not None and is_account_alarm(message.report.ended_reason):
            log.error("vapi places no calls", reason=message.report.ended_reason)
        if message.report is not None and message.user_id is not None:
            await money.pay(ctx, message.user_id, message.call_id, message.job_id, message.report)
        if message.report is not None and (message.job_id or message.user_id) is not None:
            # The account is deleted: delete the call at VAPI too.
            await schedule_vapi_deletion(ctx, message.call_id)
        return "unknown account"
    if message.report is not None:
        return await apply_report(ctx, origin, message.call_id, message.report)
    return await _on_status(ctx, origin, message.call_id, message.status, message.ended_reason)


async def _on_status(
    ctx: MutationContext, origin: CallOrigin, call_id: str, status: str | None, ended_reason: str | None
) -> str:
    if status == "in-progress":
        await sessions.get_or_create(ctx, origin, call_id)
        if origin.job is not None:
            await calls.step(ctx, origin.job["id"], "started")
        return "started"
    if status == ENDED and origin.job is not None:
        if never_rang(ended_reason):
            await calls.undo_dial(ctx, origin.job)
        await calls.hang_up(ctx, origin.job["id"])
        await dispatch(ctx)
        return "ended"
    return "noted"


async def apply_report(ctx: MutationContext, origin: CallOrigin, call_id: str, report: Report) -> str:
    """Apply a report once: cost, minutes, status and outcome, which is returned."""
    session = await sessions.get_or_create(ctx, origin, call_id)
    if session["reported_at"] is not None and session["outcome"] != sessions.NO_REPORT:
        return "reported before"
    await money.pay(ctx, origin.user_id, call_id, origin.job["id"] if origin.job else None, report)
    if is_account_alarm(report.ended_reason):
        log.error("vapi places no calls", reason=report.ended_reason)
    machine = _machine(origin, report)
    state = state_with(machine, state_of(report.ended_reason, report.has_user_turn))
    if origin.job is not None and not has_rung(report):
        await calls.undo_dial(ctx, origin.job)
    await _settle(ctx, origin, call_id, (report.seconds or 0.0) if state == "completed" else 0.0)
    if not origin.agreed and origin.job is not None and has_unread_answer(report, state):
        outcome = sessions.ANSWER_UNREAD
        await sessions.keep_report(ctx, session["id"], report, state, outcome=outcome, with_words=False)
        unread = UnreadAnswer(session_id=session["id"], vapi_call_id=call_id)
        await ctx.schedule(read_answer, unread, delay=ANALYSIS_DELAY, key=f"answer of {session['id']}")
    else:
        outcome = await _conclude(ctx, origin, session, report, state, machine)
    if origin.job is not None:
        if state == "completed":
            await calls.close(ctx, origin.job["id"], "completed")
        else:
            await calls.close(ctx, origin.job["id"], "failed", "screened" if machine == "screening" else state)
            await occasions.call_missed(ctx, origin.user_id, origin.job["id"])
        await dispatch(ctx)
    log.info("call reported", session=session["id"], state=state, outcome=outcome)
    return outcome


async def _conclude(
    ctx: MutationContext,
    origin: CallOrigin,
    session: asyncpg.Record,
    report: Report,
    state: EndState,
    machine: Machine | None,
) -> str:
    """Apply the consent, then keep the transcript or schedule its deletion; return the outcome."""
    agreed, outcome = await _consent(ctx, origin, session["id"], report, state, machine)
    if agreed:
        outcome = no_entry_reason(report, state) or "diary to be written"
    deleted = session["words_deleted_at"] is not None
    if deleted and outcome == "diary to be written":
        outcome = sessions.WORDS_DELETED
    await sessions.keep_report(ctx, session["id"], report, state, outcome=outcome, with_words=agreed)
    if agreed and outcome == "diary to be written":
        await ctx.schedule(
            generate_diary_from_call, OneSession(session_id=session["id"]), key=f"diary of {session['id']}"
        )
    spoken = report.has_user_turn or session["outcome"] in sessions.UNREAD
    if deleted or (not agreed and spoken):
        await schedule_vapi_deletion(ctx, session["vapi_call_id"])
    return outcome


def _machine(origin: CallOrigin, report: Report) -> Machine | None:
    """Return the machine that answered an outgoing call; None for a person, and for every incoming call."""
    return None if origin.job is None else machine_in(report)


def has_rung(report: Report) -> bool:
    """Return whether a phone rang, by the ended reason or because the person spoke."""
    return report.has_user_turn or not never_rang(report.ended_reason)


async def _settle(ctx: MutationContext, origin: CallOrigin, call_id: str, seconds: float) -> None:
    job_id = None if origin.job is None else origin.job["id"]
    await minutes.settle(ctx.db, seconds, ctx.now, call_job_id=job_id, vapi_call_id=call_id, reported=True)


async def _consent(
    ctx: MutationContext, origin: CallOrigin, session_id: str, report: Report, state: EndState, machine: Machine | None
) -> tuple[bool, str]:
    """Apply the consent in a report; return whether the transcript may be kept, else the outcome."""
    # A machine's words are no refusal, whatever the analysis says.
    structured = report.structured if report.has_user_turn and machine is None else {}
    stated = consent_of({CONSENT: structured.get(CONSENT)})
    holder = await consent.holder_of(ctx, origin.hashed, origin.user_id)
    if stated == "refused" or wants_no_calls(structured):
        await consent.refuse(ctx, origin.hashed, holder)
        # With earlier consent, a request to stop calling keeps this last transcript.
        return (origin.agreed and stated != "refused"), "refused"
    if origin.agreed or (holder is not None and holder.consent == "granted"):
        return True, ""
    refused = (await consent.lock_number_state(ctx.db, origin.hashed)).refused
    # A mailbox cannot consent.
    if stated == "granted" and state == "completed" and not refused:
        if holder is None or holder.consent != "unknown":
            return True, ""
        # Another account may have proved the number during the call.
        if not await ownership.is_anothers(ctx.db, origin.user_id, holder.number):
            await consent.grant(ctx, holder.settings_id, origin.hashed, session_id)
            return True, ""
    if holder is not None and not has_rung(report):
        if class_of(report.ended_reason) == "misdialed":
            await consent.pause(ctx, holder.settings_id, "misdialed")
    elif holder is not None and machine == "screening":
        await consent.record_screened(ctx, origin.hashed, holder.settings_id)
    elif holder is not None and await consent.tries_are_used_up(ctx.db, origin.hashed):
        await consent.pause_without_consent(ctx, holder.settings_id)
    return False, "refused" if refused else "no consent"


@mutation
async def conclude_as_unclear(ctx: MutationContext, args: UnreadAnswer) -> None:
    """Conclude as unclear a session whose transcript could not be fetched."""
    await apply_answer(
        ctx, ReadAnswer(session_id=args.session_id, vapi_call_id=args.vapi_call_id, call=None, structured={})
    )


@action(retry=READ_RETRIES, on_exhausted=conclude_as_unclear, lane=Lane.CALLS)
async def read_answer(ctx: ActionContext, args: UnreadAnswer) -> None:
    """Read the consent from a call's transcript. A job; idempotent, and safe to be killed at any point."""
    unread = await ctx.run_query(unread_answer, args)
    if unread is None:
        return
    telephone: Telephone = ctx.vendor(Telephone)  # type: ignore[type-abstract]  # looked up by its interface
    call = await telephone.get(args.vapi_call_id)
    if call is not None and call.report is None:
        raise VendorError("vapi", "the call has not ended at vapi", permanent=False, code="call_not_over")
    read = ReadAnswer(session_id=args.session_id, vapi_call_id=args.vapi_call_id, call=call, structured={})
    report = None if call is None else call.report
    if report is not None and has_unread_answer(report, "completed"):
        read = await _read_by_model(ctx, read, unread, report)
    elif report is not None:
        read = msgspec.structs.replace(read, structured=report.structured)
    await ctx.run_mutation(apply_answer, read)


async def _read_by_model(ctx: ActionContext, read: ReadAnswer, unread: Unread, report: Report) -> ReadAnswer:
    """Have the model read the transcript, once: marked before, and unmarked if it certainly was not charged."""
    if unread.requested:
        log.warning("model's answer lost", session=read.session_id)
        return read
    budget = ctx.vendor(Budget)
    reserved = await budget.reserve(Purchase.ANSWER, unread.user_id) if budget.enabled else NOTHING_LIMITS
    if reserved.reservation is None:
        log.warning("answer not read", session=read.session_id, cap=reserved.cap)
        return read
    paid = PaidReading(session_id=read.session_id, vapi_call_id=read.vapi_call_id, reservation=reserved.reservation)
    if not await ctx.run_mutation(mark_model_requested, paid):
        await budget.cancel(reserved.reservation)
        return read
    reader: AnswerReader = ctx.vendor(AnswerReader)  # type: ignore[type-abstract]  # looked up by its interface
    person = hashlib.sha256(unread.user_id.encode()).hexdigest()
    try:
        with budgets.paid_for(ctx.settings, unread.user_id, read.session_id):
            answer = await reader.read_answer(talk=talk_text(report.turns), language=unread.language, person=person)
    except VendorError as error:
        log.warning("answer not read", session=read.session_id, code=error.code)
        if error.permanent or error.ambiguous:
            return read
        await ctx.run_mutation(
            mark_model_rejected, UnreadAnswer(session_id=read.session_id, vapi_call_id=read.vapi_call_id)
        )
        raise
    structured = {CONSENT: answer.consent, STOP_CALLING: answer.stop_calling}
    return msgspec.structs.replace(read, structured=structured, has_content=answer.has_content)


@query
async def unread_answer(ctx: QueryContext, args: UnreadAnswer) -> Unread | None:
    """Return the user whose consent is unread; None when it is read, or the account is deleted."""
    row = await ctx.db.fetchrow(
        """select c.user_id, c.outcome, s.language
           from call_sessions c join users u on u.id = c.user_id and u.deleted_at is null
           left join call_settings s on s.user_id = c.user_id
           where c.id = $1 and c.outcome = any($2)""",
        args.session_id, list(sessions.UNREAD),
    )  # fmt: skip
    if row is None:
        return None
    requested = row["outcome"] == sessions.ANSWER_REQUESTED
    return Unread(user_id=row["user_id"], language=row["language"] or "en", requested=requested)


@mutation
async def mark_model_requested(ctx: MutationContext, args: PaidReading) -> bool:
    """Mark that the model is about to be requested; False when it was marked before: then do not request it again."""
    marked = await _move(ctx, args.session_id, sessions.ANSWER_UNREAD, sessions.ANSWER_REQUESTED)
    if marked:
        await budgets.claim(ctx.db, ctx.settings, args.reservation, args.session_id, ctx.now)
    return marked


@mutation
async def mark_model_rejected(ctx: MutationContext, args: UnreadAnswer) -> None:
    """Mark that the model certainly rejected the request: it may be requested again."""
    await _move(ctx, args.session_id, sessions.ANSWER_REQUESTED, sessions.ANSWER_UNREAD)
    await budgets.release(ctx.db, ctx.settings, args.session_id)


async def _move(ctx: MutationContext, session_id: str, before: str, after: str) -> bool:
    moved = await ctx.db.fetchval(
        "update call_sessions set outcome = $3, updated_at = $4 where id = $1 and outcome = $2 returning true",
        session_id, before, after, ctx.now,
    )  # fmt: skip
    return moved is not None


@mutation
async def apply_answer(ctx: MutationContext, args: ReadAnswer) -> None:
    """Apply an answer once; one that could not be read is unclear."""
    job = await calls.find(ctx.db, vapi_call_id=args.vapi_call_id, job_id=None)
    origin = (
        None
        if job is None
        else await sessions.find_origin(ctx, args.call or Call(id=args.vapi_call_id), args.vapi_call_id)
    )
    await budgets.release(ctx.db, ctx.settings, args.session_id)
    if origin is None:
        # The account is deleted.
        await schedule_vapi_deletion(ctx, args.vapi_call_id)
        return
    session = await sessions.get_or_create(ctx, origin, args.vapi_call_id)
    if session["outcome"] not in sessions.UNREAD:
        return
    report = None if args.call is None else args.call.report
    if report is None:
        report = Report(
            ended_reason=session["ended_reason"],
            started_at=session["started_at"],
            ended_at=session["ended_at"],
            seconds=session["duration_sec"],
        )
    report = msgspec.structs.replace(
        report, structured=args.structured, success=args.has_content if report.success is None else report.success
    )
    outcome = await _conclude(ctx, origin, session, report, session["state"], _machine(origin, report))
    log.info("answer read", session=session["id"], outcome=outcome)
