"""How a user's calls went: `callJobs`, as users see it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.phone_calls.rules import Status
from daysong.features.phone_calls.schedule.calendar import is_known, local_time
from daysong.features.phone_calls.sessions import Direction
from daysong.features.users.callers import IS_CALLER
from daysong.kernel.errors import Unauthorized
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import Args, NoArgs, Result, given, query
from daysong.kernel.time.clock import to_ms

MOST_JOBS = 500
MOST_SESSIONS = 500
MOST_COUNTED = 10_000
NOWHERE = "UTC"
# A month anywhere lies within this of any moment in it.
OVER_A_MONTH = timedelta(days=33)


class GetCallJobs(Args):
    """How many calls at most, and of which status only."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_JOBS)] = 50
    status: Status | UnsetType = UNSET


class GetCallJobStats(Args):
    """Of how many calls at most, the newest."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_COUNTED)] = 500


class GetCallSessions(Args):
    """How many talks at most."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_SESSIONS)] = 50


class CallJob(Result):
    """A call that was due; times in ms. `error_code` and `error_message` say why one came to nothing."""

    id: str = msgspec.field(name="_id")
    creation_time: float = msgspec.field(name="_creationTime")
    user_id: str
    call_settings_id: str
    scheduled_for_utc: float = msgspec.field(name="scheduledForUTC")
    status: Status
    kind: Literal["scheduled", "test"]
    attempts: int
    updated_at: float
    vapi_call_id: str | UnsetType = UNSET
    error_code: str | UnsetType = UNSET
    error_message: str | UnsetType = UNSET


class CallJobStats(Result):
    """How many calls have which status; what the newest failure was, and when (ms)."""

    total: int
    queued: int
    scheduled: int
    started: int
    completed: int
    failed: int
    canceled: int
    last_error: str | UnsetType = UNSET
    last_error_at: float | UnsetType = UNSET


class CallSession(Result):
    """A talk; times in ms. What was said is there when it was agreed to, `outcome` when it was looked at."""

    id: str = msgspec.field(name="_id")
    creation_time: float = msgspec.field(name="_creationTime")
    user_id: str
    vapi_call_id: str
    direction: Direction
    state: Literal["in-progress", "completed", "no-answer", "busy", "voicemail", "failed"]
    call_job_id: str | UnsetType = UNSET
    started_at: float | UnsetType = UNSET
    ended_at: float | UnsetType = UNSET
    duration_sec: float | UnsetType = UNSET
    ended_reason: str | UnsetType = UNSET
    transcript: Any = UNSET
    end_of_call_report: Any = UNSET
    outcome: str | UnsetType = UNSET
    diary_id: str | UnsetType = UNSET
    metadata: Any = UNSET


class DashboardStats(Result):
    """How many talks there were in all, and on how many days of this month, there, something was written."""

    total_calls: int
    active_days_this_month: int


# The caller's account, and beside it what is asked for: a row without the latter, and none without an account.
JOBS_SQL = f"""
    select j.*
    from users u
    left join lateral (select * from call_jobs where user_id = u.id and ($3::text is null or status = $3)
                       order by scheduled_for desc, id desc limit $2) j on true
    where {IS_CALLER}
    order by j.scheduled_for desc, j.id desc"""  # noqa: S608 - a constant

STATS_SQL = f"""
    select count(j.id) as total,
           count(*) filter (where j.status = 'queued') as queued,
           count(*) filter (where j.status = 'scheduled') as scheduled,
           count(*) filter (where j.status = 'started') as started,
           count(*) filter (where j.status = 'completed') as completed,
           count(*) filter (where j.status = 'failed') as failed,
           count(*) filter (where j.status = 'canceled') as canceled,
           (array_agg(coalesce(j.error_message, j.error_code) order by j.scheduled_for desc, j.id desc)
              filter (where j.status = 'failed'))[1] as last_error,
           (array_agg(j.ended_at order by j.scheduled_for desc, j.id desc)
              filter (where j.status = 'failed'))[1] as last_error_at
    from users u
    left join lateral (select * from call_jobs where user_id = u.id
                       order by scheduled_for desc, id desc limit $2) j on true
    where {IS_CALLER}
    group by u.id"""  # noqa: S608 - a constant

SESSIONS_SQL = f"""
    select s.*
    from users u
    left join lateral (select * from call_sessions where user_id = u.id
                       order by created_at desc, id desc limit $2) s on true
    where {IS_CALLER}
    order by s.created_at desc, s.id desc"""  # noqa: S608 - a constant

DASHBOARD_SQL = f"""
    select (select count(*) from call_sessions s where s.user_id = u.id) as total_calls,
           (select timezone from call_settings c where c.user_id = u.id) as timezone,
           array(select date from diaries d
                 where d.user_id = u.id and d.date between $2 and $3 and d.content <> '') as dates
    from users u
    where {IS_CALLER}"""  # noqa: S608 - a constant


def _present(rows: Sequence[asyncpg.Record]) -> Sequence[asyncpg.Record]:
    """The rows that are there of those of a `left join`; Unauthorized when there is no account to join them to."""
    if not rows:
        raise Unauthorized
    return [row for row in rows if row["id"] is not None]


@query(reads=("users", "call_jobs"))
async def get_call_jobs(ctx: QueryContext, args: GetCallJobs) -> list[CallJob]:
    """The caller's calls, the one due last first; Unauthorized without a sign-in."""
    rows = await ctx.db.fetch(JOBS_SQL, ctx.caller.signed_in, args.limit, args.status or None)
    return [job_of(row) for row in _present(rows)]


def job_of(row: asyncpg.Record) -> CallJob:
    """The call of a row of `call_jobs`."""
    return CallJob(
        id=row["id"],
        creation_time=to_ms(row["created_at"]),
        user_id=row["user_id"],
        call_settings_id=row["settings_id"],
        scheduled_for_utc=to_ms(row["scheduled_for"]),
        status=row["status"],
        kind=row["kind"],
        attempts=row["attempts"],
        updated_at=to_ms(row["updated_at"]),
        vapi_call_id=given(row["vapi_call_id"]),
        error_code=given(row["error_code"]),
        error_message=given(row["error_message"]),
    )


@query(reads=("users", "call_jobs"))
async def get_call_job_stats(ctx: QueryContext, args: GetCallJobStats) -> CallJobStats:
    """How the caller's newest calls went; Unauthorized without a sign-in."""
    row = await ctx.db.fetchrow(STATS_SQL, ctx.caller.signed_in, args.limit)
    if row is None:
        raise Unauthorized
    return CallJobStats(
        total=row["total"],
        queued=row["queued"],
        scheduled=row["scheduled"],
        started=row["started"],
        completed=row["completed"],
        failed=row["failed"],
        canceled=row["canceled"],
        last_error=given(row["last_error"]),
        last_error_at=_moment(row["last_error_at"]),
    )


@query(reads=("users", "call_sessions"))
async def get_call_sessions(ctx: QueryContext, args: GetCallSessions) -> list[CallSession]:
    """The caller's talks, the newest first; Unauthorized without a sign-in."""
    rows = await ctx.db.fetch(SESSIONS_SQL, ctx.caller.signed_in, args.limit)
    return [session_of(row) for row in _present(rows)]


def session_of(row: asyncpg.Record) -> CallSession:
    """The talk of a row of `call_sessions`."""
    return CallSession(
        id=row["id"],
        creation_time=to_ms(row["created_at"]),
        user_id=row["user_id"],
        vapi_call_id=row["vapi_call_id"],
        direction=row["direction"],
        state=row["state"],
        call_job_id=given(row["call_job_id"]),
        started_at=_moment(row["started_at"]),
        ended_at=_moment(row["ended_at"]),
        duration_sec=given(row["duration_sec"]),
        ended_reason=given(row["ended_reason"]),
        transcript=given(row["transcript"]),
        end_of_call_report=given(row["end_of_call_report"]),
        outcome=given(row["outcome"]),
        diary_id=given(row["diary_id"]),
        metadata=given(row["metadata"] or None),
    )


@query(reads=("users", "call_sessions", "call_settings", "diaries"))
async def get_dashboard_stats(ctx: QueryContext, args: NoArgs) -> DashboardStats:  # noqa: ARG001
    """How many talks the caller has had, and on how many days of this month, where they are, they have an entry.

    Where they are, their call settings say; else it is UTC. Unauthorized without a sign-in.
    """
    row = await ctx.db.fetchrow(
        DASHBOARD_SQL, ctx.caller.signed_in, ctx.now - OVER_A_MONTH, ctx.now + OVER_A_MONTH
    )  # fmt: skip
    if row is None:
        raise Unauthorized
    timezone = row["timezone"] if is_known(row["timezone"]) else NOWHERE
    today = local_time(ctx.now, timezone).date
    days = {local_time(moment, timezone).date for moment in row["dates"]}
    return DashboardStats(
        total_calls=row["total_calls"],
        active_days_this_month=sum((day.year, day.month) == (today.year, today.month) for day in days),
    )


def _moment(value: Any) -> float | UnsetType:
    return UNSET if value is None else to_ms(value)
