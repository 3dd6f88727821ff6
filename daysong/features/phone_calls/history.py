"""The public queries of `callJobs`: a user's calls, sessions and statistics."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.phone_calls.rules import Status
from daysong.features.phone_calls.schedule.calendar import EVERY_DAY, is_known, local_time, next_run
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
# Any moment of a month, in any time zone, is within this of any other.
OVER_A_MONTH = timedelta(days=33)


class GetCallJobs(Args):
    """The maximum number of calls, and a status to filter by."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_JOBS)] = 50
    status: Status | UnsetType = UNSET


class GetCallJobStats(Args):
    """The number of newest calls to count."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_COUNTED)] = 500


class GetCallSessions(Args):
    """The maximum number of sessions."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_SESSIONS)] = 50


class CallJob(Result):
    """A call; times in ms. `error_code` and `error_message` say why it failed or was canceled."""

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
    """The number of calls by status; the newest failure, and its time (ms)."""

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
    """A session of a call; times in ms. The transcript exists with consent only, `outcome` after the report."""

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
    """The number of sessions, and of days with an entry in the current local month."""

    total_calls: int
    active_days_this_month: int


# Left joins: an account without calls gives one row with nulls, no account gives no row.
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


def _joined(rows: Sequence[asyncpg.Record]) -> Sequence[asyncpg.Record]:
    """Return the joined rows of a left join from the account. Unauthorized when there is no account."""
    if not rows:
        raise Unauthorized
    return [row for row in rows if row["id"] is not None]


@query(reads=("users", "call_jobs"))
async def get_call_jobs(ctx: QueryContext, args: GetCallJobs) -> list[CallJob]:
    """Return the caller's calls, the latest due first. Unauthorized."""
    rows = await ctx.db.fetch(JOBS_SQL, ctx.caller.signed_in, args.limit, args.status or None)
    return [job_of(row) for row in _joined(rows)]


def job_of(row: asyncpg.Record) -> CallJob:
    """Return the call of a row of `call_jobs`."""
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
    """Return statistics of the caller's newest calls. Unauthorized."""
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
    """Return the caller's call sessions, newest first. Unauthorized."""
    rows = await ctx.db.fetch(SESSIONS_SQL, ctx.caller.signed_in, args.limit)
    return [session_of(row) for row in _joined(rows)]


def session_of(row: asyncpg.Record) -> CallSession:
    """Return the session of a row of `call_sessions`."""
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
    """Return the number of the caller's call sessions, and of days with an entry in the current month. Unauthorized.

    Days are local to the time zone of the caller's call settings, else UTC.
    """
    row = await ctx.db.fetchrow(
        DASHBOARD_SQL, ctx.caller.signed_in, ctx.now - OVER_A_MONTH, ctx.now + OVER_A_MONTH
    )  # fmt: skip
    timezone = row["timezone"] if row is not None and is_known(row["timezone"]) else NOWHERE
    # Another month begins with one of the days.
    ctx.holds_until(next_run(after=ctx.now, timezone=timezone, local_minutes=0, byday_mask=EVERY_DAY))
    if row is None:
        raise Unauthorized
    today = local_time(ctx.now, timezone).date
    days = {local_time(moment, timezone).date for moment in row["dates"]}
    return DashboardStats(
        total_calls=row["total_calls"],
        active_days_this_month=sum((day.year, day.month) == (today.year, today.month) for day in days),
    )


def _moment(value: Any) -> float | UnsetType:
    return UNSET if value is None else to_ms(value)
