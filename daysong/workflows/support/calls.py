"""Phone calls, as operators see them: listed by status, shown with what became of them, read with a reason."""

from __future__ import annotations

from typing import Any, Literal

import asyncpg
from msgspec import UNSET, UnsetType

from daysong.features.phone_calls.numbers.numbers import number_hashes
from daysong.features.phone_calls.rules import Status
from daysong.kernel.errors import ExpectedError
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, given, mutation, query
from daysong.kernel.time.clock import from_ms, to_ms
from daysong.workflows.support import audit
from daysong.workflows.support.audit import Limit, Reason
from daysong.workflows.support.hiding import masked_number, visible


class CallNotFound(ExpectedError):
    """No such call: a job, or the session of an incoming one."""

    code = "call_not_found"
    status = 404
    default_message = "There is no such call"


class ListCalls(Args):
    """Which calls: of a status or an account, due before a moment (ms)."""

    status: Status | UnsetType = UNSET
    user_id: IdText | UnsetType = UNSET
    before: float | UnsetType = UNSET
    limit: Limit = 50


class OneCall(Args):
    """Which call: the id of the job or of its session."""

    call_id: IdText


class ReadCall(OneCall):
    """Which call, and why its words are read."""

    reason: Reason


class Call(Result):
    """A call; times in ms. Of an incoming one there is the session alone."""

    call_id: str
    user_id: str
    kind: Literal["scheduled", "test", "incoming"]
    status: str
    at: float
    error_code: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    session_id: str | UnsetType = UNSET
    seconds: float | UnsetType = UNSET
    ended_reason: str | UnsetType = UNSET
    outcome: str | UnsetType = UNSET


class CallInFull(Call, kw_only=True):
    """A call with its steps. Nothing that was said.

    steps   the moments (ms) of its steps, by name
    report  VAPI's report with private values hidden
    """

    owner: str
    attempts: int
    steps: dict[str, float]
    has_words: bool
    vapi_call_id: str | UnsetType = UNSET
    diary_id: str | UnsetType = UNSET
    charged_seconds: int | UnsetType = UNSET
    report: Any = UNSET


class CallWords(Result):
    """What was said in a call, and VAPI's report of it."""

    transcript: Any = UNSET
    report: Any = UNSET


class CallPlan(Result):
    """When a person is called, and whether they agreed; the number is masked."""

    number: str
    number_hash: str
    timezone: str
    time_of_day: str
    cadence: str
    active: bool
    consent: str
    paused_reason: str | UnsetType = UNSET
    next_run_at: float | UnsetType = UNSET


# Calls that we made, with their session, and incoming ones, which have no job. Sessions are looked up for those alone
# that are listed.
CALLS_SQL = """
    (select j.id, j.user_id, j.kind, j.status, j.scheduled_for as at, j.error_code, j.error_message, s.id as session_id,
            s.duration_sec, s.ended_reason, s.outcome
     from (select * from call_jobs j where {condition} order by j.scheduled_for desc, j.id desc limit $1) j
     left join lateral (
         select * from call_sessions where call_job_id = j.id order by created_at desc limit 1) s on true)
    union all
    (select s.id, s.user_id, 'incoming', s.state, s.created_at, null, null, s.id, s.duration_sec, s.ended_reason,
            s.outcome
     from call_sessions s where {incoming} order by s.created_at desc, s.id desc limit $1)
    order by at desc, id desc limit $1"""
LIST_SQL = CALLS_SQL.format(
    condition="""($2::text is null or j.user_id = $2) and ($3::text is null or j.status = $3)
                 and ($4::timestamptz is null or j.scheduled_for < $4)""",
    incoming="""s.direction = 'inbound' and ($2::text is null or s.user_id = $2)
                and ($3::text is null or s.state = $3) and ($4::timestamptz is null or s.created_at < $4)""",
)


def _fields(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "call_id": row["id"],
        "user_id": row["user_id"],
        "kind": row["kind"],
        "status": row["status"],
        "at": to_ms(row["at"]),
        "error_code": given(row["error_code"]),
        "reason": given(row["error_message"]),
        "session_id": given(row["session_id"]),
        "seconds": given(row["duration_sec"]),
        "ended_reason": given(row["ended_reason"]),
        "outcome": given(row["outcome"]),
    }


async def listed(
    ctx: QueryContext, *, user_id: str | None = None, status: str | None = None, before: float | None = None, limit: int
) -> list[Call]:
    """Return the newest calls."""
    moment = None if before is None else from_ms(before)
    return [Call(**_fields(row)) for row in await ctx.db.fetch(LIST_SQL, limit, user_id, status, moment)]


@query(reads=("call_jobs", "call_sessions"))
async def list_calls(ctx: QueryContext, args: ListCalls) -> list[Call]:
    """Return the calls that were due last, first; incoming ones among them."""
    return await listed(
        ctx, user_id=args.user_id or None, status=args.status or None, before=args.before or None, limit=args.limit
    )


async def plan_of(ctx: QueryContext, user_id: str) -> CallPlan | None:
    """Return when an account is called; None when it has no settings."""
    row = await ctx.db.fetchrow("select * from call_settings where user_id = $1", user_id)
    if row is None:
        return None
    return CallPlan(
        number=masked_number(row["phone_e164"]) or "",
        number_hash=number_hashes(ctx.settings, row["phone_e164"])[0].hex(),
        timezone=row["timezone"],
        time_of_day=f"{row['local_minutes'] // 60:02}:{row['local_minutes'] % 60:02}",
        cadence=row["cadence"],
        active=row["active"],
        consent=row["consent"],
        paused_reason=given(row["paused_reason"]),
        next_run_at=given(None if row["next_run_at"] is None else to_ms(row["next_run_at"])),
    )


# $1 is a job's or a session's id.
CALL_SQL = """
    select coalesce(j.id, s.id) as id, coalesce(j.user_id, s.user_id) as user_id, coalesce(j.kind, 'incoming') as kind,
           coalesce(j.status, s.state) as status, coalesce(j.scheduled_for, s.created_at) as at, j.error_code,
           j.error_message, s.id as session_id, s.duration_sec, s.ended_reason, s.outcome, u.clerk_id,
           coalesce(j.attempts, 0) as attempts, j.asked_at, j.hung_up_at, coalesce(j.reported_at, s.reported_at)
             as reported_at, coalesce(j.ended_at, s.ended_at) as ended_at, s.started_at, s.words_deleted_at,
           coalesce(j.vapi_call_id, s.vapi_call_id) as vapi_call_id, s.diary_id, s.transcript, s.end_of_call_report,
           (select seconds from call_minutes m
            where m.call_job_id = j.id or (j.id is null and m.vapi_call_id = s.vapi_call_id) limit 1) as charged_seconds
    from (select (select id from call_jobs where id = $1
                  union all select call_job_id from call_sessions where id = $1 limit 1) as job_id) found
    left join call_jobs j on j.id = found.job_id
    left join lateral (select * from call_sessions where id = $1 or call_job_id = j.id
                       order by id = $1 desc, created_at desc limit 1) s on true
    join users u on u.id = coalesce(j.user_id, s.user_id)"""
STEPS = {
    "due": "at", "asked": "asked_at", "started": "started_at", "hung up": "hung_up_at", "ended": "ended_at",
    "reported": "reported_at", "words deleted": "words_deleted_at",
}  # fmt: skip


@query(reads=("call_jobs", "call_sessions", "call_minutes", "users"))
async def show_call(ctx: QueryContext, args: OneCall) -> CallInFull:
    """Return one call. Errors: CallNotFound."""
    row = await ctx.db.fetchrow(CALL_SQL, args.call_id)
    if row is None:
        raise CallNotFound
    report = row["end_of_call_report"]
    return CallInFull(
        **_fields(row),
        owner=row["clerk_id"],
        attempts=row["attempts"],
        steps={step: to_ms(row[column]) for step, column in STEPS.items() if row[column] is not None},
        has_words=row["transcript"] is not None or report is not None,
        vapi_call_id=given(row["vapi_call_id"]),
        diary_id=given(row["diary_id"]),
        charged_seconds=given(row["charged_seconds"]),
        report=UNSET if report is None else visible(report),
    )


@mutation(repeatable=True)
async def read_call(ctx: MutationContext, args: ReadCall) -> CallWords:
    """Return what was said in a call; the audit log keeps the reason. Errors: CallNotFound."""
    row = await ctx.db.fetchrow(CALL_SQL, args.call_id)
    if row is None:
        raise CallNotFound
    await audit.record(ctx, "calls read", account=row["user_id"], target=row["id"], reason=args.reason)
    return CallWords(transcript=given(row["transcript"]), report=given(row["end_of_call_report"]))
