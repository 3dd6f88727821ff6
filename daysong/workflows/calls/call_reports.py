"""From VAPI's messages to what is kept of a call.

    a status update         the call was answered; or it is over, and its line free
    an end-of-call report   in one transaction: the session, what was said about being called, whether it is a diary
    readAnswer              a job: what a person said about being called whose report has no analysis

Reports come early, late, repeatedly, of calls we never dialled, or not at all (call_reaper.py). Of one call there is
one session, and the entry of one that is kept is written by call_to_diary.py. What a person said who had not agreed to
it is not kept.

A first call whose report does not tell whether the person agreed is not given up: a minute later VAPI is asked for it
once more, for an analysis that came late, and without one OpenAI reads the words, which are at VAPI until then. That is
noted before it is done and paid for once: a job that was killed meanwhile ends as unclear.
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
from daysong.features.phone_calls.sessions import Whose
from daysong.features.phone_calls.talk.machine_phrases import Machine
from daysong.features.phone_calls.talk.outcomes import (
    EndState,
    consent_of,
    has_unread_answer,
    machine_in,
    state_of,
    state_with,
    talk_text,
    wants_no_calls,
    why_not_a_diary,
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
from daysong.workflows.calls.call_to_diary import OneSession, forget, generate_diary_from_call

log = logs.get_logger("calls")

# An analysis that VAPI's report left out for its time limit is there a little later.
ANALYSIS_COMES_WITHIN = timedelta(minutes=1)
READ_RETRIES = Retry(attempts=8, first=timedelta(seconds=20), longest=timedelta(minutes=10))


class UnreadAnswer(Args):
    """A session whose words are to tell whether the person agreed, and VAPI's id of its call."""

    session_id: IdText
    vapi_call_id: str


class ReadingPaid(UnreadAnswer):
    """The same, with the reservation that pays for the model."""

    reservation: str


class ReadAnswer(UnreadAnswer):
    """The same, with the call as VAPI has it, and what was found out of its words."""

    call: Call | None
    structured: dict[str, Any]
    told: bool | None = None


class Unread(Result):
    """Whose answer is unread, and whether a model was asked for it before."""

    user_id: str
    language: str
    asked: bool


async def on_message(ctx: MutationContext, message: Message) -> str:
    """Apply a message of VAPI's; says in a word or two what came of it."""
    if message.type not in {STATUS_UPDATE, END_OF_CALL}:
        return "noted"
    if message.call_id is None:
        return "of no call"
    if (
        found_no_line(message.ended_reason)
        and await calls.find(ctx.db, vapi_call_id=message.call_id, job_id=None) is None
    ):
        # Not known as placed: the answer to our own request says the same, or a look-up will.
        return "no free line at vapi"
    whose = await sessions.whose(ctx, message, message.call_id)
    if whose is None:
        if message.report is not None and is_account_alarm(message.report.ended_reason):
            log.error("vapi places no calls", reason=message.report.ended_reason)
        if message.report is not None and message.user_id is not None:
            await money.pay(ctx, message.user_id, message.call_id, message.job_id, message.report)
        if message.report is not None and (message.job_id or message.user_id) is not None:
            # Of an account that is gone: nothing is kept here, and nothing is to stay there.
            await forget(ctx, message.call_id)
        return "of nobody here"
    if message.report is not None:
        return await apply_report(ctx, whose, message.call_id, message.report)
    return await _on_status(ctx, whose, message.call_id, message.status, message.ended_reason)


async def _on_status(
    ctx: MutationContext, whose: Whose, call_id: str, status: str | None, ended_reason: str | None
) -> str:
    if status == "in-progress":
        await sessions.opened(ctx, whose, call_id)
        if whose.job is not None:
            await calls.step(ctx, whose.job["id"], "started")
        return "started"
    if status == ENDED and whose.job is not None:
        if never_rang(ended_reason):
            await calls.did_not_ring(ctx, whose.job)
        await calls.hang_up(ctx, whose.job["id"])
        await dispatch(ctx)
        return "ended"
    return "noted"


async def apply_report(ctx: MutationContext, whose: Whose, call_id: str, report: Report) -> str:
    """What a call was, and what is to become of it; a second report changes nothing."""
    session = await sessions.opened(ctx, whose, call_id)
    if session["reported_at"] is not None and session["outcome"] != sessions.NO_REPORT:
        return "reported before"
    await money.pay(ctx, whose.user_id, call_id, whose.job["id"] if whose.job else None, report)
    if is_account_alarm(report.ended_reason):
        log.error("vapi places no calls", reason=report.ended_reason)
    machine = _machine(whose, report)
    state = state_with(machine, state_of(report.ended_reason, report.has_user_turn))
    if whose.job is not None and not has_rung(report):
        await calls.did_not_ring(ctx, whose.job)
    await _settle(ctx, whose, call_id, (report.seconds or 0.0) if state == "completed" else 0.0)
    if not whose.agreed and whose.job is not None and has_unread_answer(report, state):
        outcome = sessions.ANSWER_UNREAD
        await sessions.keep_report(ctx, session["id"], report, state, outcome=outcome, with_words=False)
        unread = UnreadAnswer(session_id=session["id"], vapi_call_id=call_id)
        await ctx.schedule(read_answer, unread, delay=ANALYSIS_COMES_WITHIN, key=f"answer of {session['id']}")
    else:
        outcome = await _conclude(ctx, whose, session, report, state, machine)
    if whose.job is not None:
        if state == "completed":
            await calls.close(ctx, whose.job["id"], "completed")
        else:
            await calls.close(ctx, whose.job["id"], "failed", "screened" if machine == "screening" else state)
        await dispatch(ctx)
    log.info("call reported", session=session["id"], state=state, outcome=outcome)
    return outcome


async def _conclude(
    ctx: MutationContext,
    whose: Whose,
    session: asyncpg.Record,
    report: Report,
    state: EndState,
    machine: Machine | None,
) -> str:
    """Act on what was said about being called, and keep the words, or have them deleted; returns the outcome."""
    agreed, outcome = await _consent(ctx, whose, session["id"], report, state, machine)
    if agreed:
        outcome = why_not_a_diary(report, state) or "diary to be written"
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
        await forget(ctx, session["vapi_call_id"])
    return outcome


def _machine(whose: Whose, report: Report) -> Machine | None:
    """The machine that took a call of ours in place of a person; people who ring in are people."""
    return None if whose.job is None else machine_in(report)


def has_rung(report: Report) -> bool:
    """Whether a phone has rung, by the reason for the call's end or by what was said."""
    return report.has_user_turn or not never_rang(report.ended_reason)


async def _settle(ctx: MutationContext, whose: Whose, call_id: str, seconds: float) -> None:
    job_id = None if whose.job is None else whose.job["id"]
    await minutes.settle(ctx.db, seconds, ctx.now, call_job_id=job_id, vapi_call_id=call_id, reported=True)


async def _consent(
    ctx: MutationContext, whose: Whose, session_id: str, report: Report, state: EndState, machine: Machine | None
) -> tuple[bool, str]:
    """Act on what the person said about being called; whether the talk may be kept, and why not."""
    # A machine refuses nothing, whatever an analysis makes of its words.
    structured = report.structured if report.has_user_turn and machine is None else {}
    said = consent_of({CONSENT: structured.get(CONSENT)})
    holder = await consent.holder_of(ctx, whose.hashed, whose.user_id)
    if said == "refused" or wants_no_calls(structured):
        await consent.refuse(ctx, whose.hashed, holder)
        # Who had agreed, and only wants no more calls, keeps this last talk.
        return (whose.agreed and said != "refused"), "refused"
    if whose.agreed or (holder is not None and holder.consent == "granted"):
        return True, ""
    refused = (await consent.known(ctx.db, whose.hashed)).refused
    # What a mailbox says agrees to nothing.
    if said == "granted" and state == "completed" and not refused:
        if holder is None or holder.consent != "unknown":
            return True, ""
        # While this call went on, another account may have proved the number.
        if not await ownership.is_anothers(ctx.db, whose.user_id, holder.number):
            await consent.grant(ctx, holder.settings_id, whose.hashed, session_id)
            return True, ""
    if holder is not None and not has_rung(report):
        if class_of(report.ended_reason) == "misdialed":
            await consent.pause(ctx, holder.settings_id, "misdialed")
    elif holder is not None and machine == "screening":
        await consent.note_screened(ctx, whose.hashed, holder.settings_id)
    elif holder is not None and await consent.tries_are_used_up(ctx.db, whose.hashed):
        await consent.pause_without_consent(ctx, holder.settings_id)
    return False, "refused" if refused else "no consent"


@mutation
async def leave_unclear(ctx: MutationContext, args: UnreadAnswer) -> None:
    """VAPI cannot be asked for the words of a call: what was said about being called stays unclear."""
    await decide(ctx, ReadAnswer(session_id=args.session_id, vapi_call_id=args.vapi_call_id, call=None, structured={}))


@action(retry=READ_RETRIES, on_exhausted=leave_unclear, lane=Lane.CALLS)
async def read_answer(ctx: ActionContext, args: UnreadAnswer) -> None:
    """Find out what a person said about being called. A job; safe to be killed anywhere and to run twice."""
    unread = await ctx.run_query(unread_answer, args)
    if unread is None:
        return
    telephone: Telephone = ctx.vendor(Telephone)  # type: ignore[type-abstract]  # looked up by its interface
    call = await telephone.get(args.vapi_call_id)
    if call is not None and call.report is None:
        raise VendorError("vapi", "the call is not over there yet", permanent=False, code="call_not_over")
    read = ReadAnswer(session_id=args.session_id, vapi_call_id=args.vapi_call_id, call=call, structured={})
    report = None if call is None else call.report
    if report is not None and has_unread_answer(report, "completed"):
        read = await _read_by_model(ctx, read, unread, report)
    elif report is not None:
        read = msgspec.structs.replace(read, structured=report.structured)
    await ctx.run_mutation(decide, read)


async def _read_by_model(ctx: ActionContext, read: ReadAnswer, unread: Unread, report: Report) -> ReadAnswer:
    """What a model makes of the words. It is asked once: noted before, and undone when it certainly was not paid."""
    if unread.asked:
        log.warning("the answer of the model was lost", session=read.session_id)
        return read
    budget = ctx.vendor(Budget)
    reserved = await budget.reserve(Purchase.ANSWER, unread.user_id) if budget.enabled else NOTHING_LIMITS
    if reserved.reservation is None:
        log.warning("answer not read", session=read.session_id, cap=reserved.cap)
        return read
    asking = ReadingPaid(session_id=read.session_id, vapi_call_id=read.vapi_call_id, reservation=reserved.reservation)
    if not await ctx.run_mutation(note_model_asked, asking):
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
            note_model_refused, UnreadAnswer(session_id=read.session_id, vapi_call_id=read.vapi_call_id)
        )
        raise
    structured = {CONSENT: answer.consent, STOP_CALLING: answer.stop_calling}
    return msgspec.structs.replace(read, structured=structured, told=answer.has_content)


@query
async def unread_answer(ctx: QueryContext, args: UnreadAnswer) -> Unread | None:
    """Whose answer about being called is unread; None when it was read, or the account is gone."""
    row = await ctx.db.fetchrow(
        """select c.user_id, c.outcome, s.language
           from call_sessions c join users u on u.id = c.user_id and u.deleted_at is null
           left join call_settings s on s.user_id = c.user_id
           where c.id = $1 and c.outcome = any($2)""",
        args.session_id, list(sessions.UNREAD),
    )  # fmt: skip
    if row is None:
        return None
    asked = row["outcome"] == sessions.ANSWER_ASKED
    return Unread(user_id=row["user_id"], language=row["language"] or "en", asked=asked)


@mutation
async def note_model_asked(ctx: MutationContext, args: ReadingPaid) -> bool:
    """Note that the model is about to be asked; False when that was noted before, and it must not be asked again."""
    noted = await _move(ctx, args.session_id, sessions.ANSWER_UNREAD, sessions.ANSWER_ASKED)
    if noted:
        await budgets.claim(ctx.db, ctx.settings, args.reservation, args.session_id, ctx.now)
    return noted


@mutation
async def note_model_refused(ctx: MutationContext, args: UnreadAnswer) -> None:
    """Note that the model certainly did not read the words: it may be asked again."""
    await _move(ctx, args.session_id, sessions.ANSWER_ASKED, sessions.ANSWER_UNREAD)
    await budgets.release(ctx.db, ctx.settings, args.session_id)


async def _move(ctx: MutationContext, session_id: str, before: str, after: str) -> bool:
    moved = await ctx.db.fetchval(
        "update call_sessions set outcome = $3, updated_at = $4 where id = $1 and outcome = $2 returning true",
        session_id, before, after, ctx.now,
    )  # fmt: skip
    return moved is not None


@mutation
async def decide(ctx: MutationContext, args: ReadAnswer) -> None:
    """Act on an answer that was read, once; one that could not be read is unclear."""
    job = await calls.find(ctx.db, vapi_call_id=args.vapi_call_id, job_id=None)
    whose = (
        None if job is None else await sessions.whose(ctx, args.call or Call(id=args.vapi_call_id), args.vapi_call_id)
    )
    await budgets.release(ctx.db, ctx.settings, args.session_id)
    if whose is None:
        # Of an account that is gone.
        await forget(ctx, args.vapi_call_id)
        return
    session = await sessions.opened(ctx, whose, args.vapi_call_id)
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
        report, structured=args.structured, success=args.told if report.success is None else report.success
    )
    outcome = await _conclude(ctx, whose, session, report, session["state"], _machine(whose, report))
    log.info("answer read", session=session["id"], outcome=outcome)
