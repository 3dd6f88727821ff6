"""The internal functions of `callJobs`, for the admin key.

They keep to the same status steps and constraints as other code: final states stay final, and merged metadata stays.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.phone_calls import calls, money, sessions
from daysong.features.phone_calls.history import CallJob, CallSession, job_of, session_of
from daysong.features.phone_calls.rules import Status
from daysong.features.users import store as users
from daysong.kernel.errors import ExpectedError
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, mutation, query
from daysong.kernel.ids import CallJobId, CallSessionId
from daysong.kernel.time.clock import from_ms, to_ms

LAST_MOMENT = to_ms(datetime(9999, 1, 1, tzinfo=UTC))
Moment = Annotated[float, msgspec.Meta(ge=0, le=LAST_MOMENT)]
VapiId = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
ShortText = Annotated[str, msgspec.Meta(max_length=500)]


class CallNotFound(ExpectedError):
    """No call, session or settings have this id."""

    code = "call_not_found"
    status = 404
    default_message = "Call not found"


class StepNotAllowed(ExpectedError):
    """The status cannot change to the requested one."""

    code = "step_not_allowed"
    status = 409
    default_message = "The call's status cannot change to this"


class CreateCallJob(Args):
    """Call settings, and when the call is due (ms)."""

    call_settings_id: IdText
    scheduled_for_utc: Moment = msgspec.field(name="scheduledForUTC")


class UpdateCallJobStatus(Args):
    """The next status of a call, with its id at VAPI, or why it failed."""

    job_id: IdText
    status: Status
    vapi_call_id: VapiId | UnsetType = UNSET
    error_code: ShortText | UnsetType = UNSET
    error_message: ShortText | UnsetType = UNSET


class OneJob(Args):
    """The id of a call job."""

    job_id: IdText


class ByVapiId(Args):
    """A call's id at VAPI."""

    vapi_call_id: VapiId


class UpdateCallSession(Args):
    """Changes of a session; omitted fields stay. A new session needs its call job, or a job with that VAPI id."""

    vapi_call_id: VapiId
    call_job_id: IdText | UnsetType = UNSET
    state: Literal["in-progress", "completed", "no-answer", "busy", "voicemail", "failed"] | UnsetType = UNSET
    started_at: Moment | UnsetType = UNSET
    ended_at: Moment | UnsetType = UNSET
    duration_sec: Annotated[float, msgspec.Meta(ge=0)] | UnsetType = UNSET
    ended_reason: ShortText | UnsetType = UNSET


class UpdateCallSessionMetadata(Args):
    """Metadata to merge into that of a session."""

    session_id: IdText
    metadata: dict[str, Any]


class JobRef(Result):
    """The id of a call job."""

    job_id: str


class SessionRef(Result):
    """The id of a call session."""

    session_id: str


class Attempts(Result):
    """The number of attempts at a call."""

    attempts: int


@mutation
async def create_call_job(ctx: MutationContext, args: CreateCallJob) -> JobRef:
    """Create a call of these settings that is due then; return the existing one, if any. CallNotFound."""
    moment = from_ms(args.scheduled_for_utc)
    await ctx.db.execute(
        """insert into call_jobs (id, user_id, settings_id, scheduled_for, created_at, updated_at)
           select $1, user_id, id, $3, $4, $4 from call_settings where id = $2
           on conflict (settings_id, scheduled_for, kind) do nothing""",
        CallJobId.new(ctx.now), args.call_settings_id, moment, ctx.now,
    )  # fmt: skip
    job_id = await ctx.db.fetchval(
        "select id from call_jobs where settings_id = $1 and scheduled_for = $2 and kind = 'scheduled'",
        args.call_settings_id, moment,
    )  # fmt: skip
    if job_id is None:
        raise CallNotFound
    return JobRef(job_id=job_id)


@mutation
async def update_call_job_status(ctx: MutationContext, args: UpdateCallJobStatus) -> None:
    """Move a call to another status; the same status changes nothing. CallNotFound, StepNotAllowed.

    The reservations of a requested call are settled when it is canceled or fails.
    """
    owner = await ctx.db.fetchval("select user_id from call_jobs where id = $1", args.job_id)
    if owner is None:
        raise CallNotFound
    await users.lock_account(ctx.db, owner)
    row = await ctx.db.fetchrow("select status, asked_at from call_jobs where id = $1 for update", args.job_id)
    if row is None:
        raise CallNotFound
    if args.vapi_call_id is not UNSET and row["asked_at"] is not None:
        await calls.adopt(ctx, args.job_id, args.vapi_call_id)
        row = await ctx.db.fetchrow("select status, asked_at from call_jobs where id = $1", args.job_id)
    if row is None or row["status"] == args.status:
        return
    ends_badly = args.status in {"failed", "canceled"}
    if args.status in {"scheduled", "started"} and row["asked_at"] is None:
        raise StepNotAllowed
    code = (args.error_code or "failed") if ends_badly else None
    if not await calls.step(ctx, args.job_id, args.status, code, args.error_message or None):
        raise StepNotAllowed
    if ends_badly and row["asked_at"] is not None:
        await money.settle_stopped(ctx, args.job_id)


@mutation
async def increment_call_job_attempts(ctx: MutationContext, args: OneJob) -> Attempts:
    """Increment the attempts of a call. CallNotFound."""
    attempts = await ctx.db.fetchval(
        "update call_jobs set attempts = attempts + 1, updated_at = $2 where id = $1 returning attempts",
        args.job_id, ctx.now,
    )  # fmt: skip
    if attempts is None:
        raise CallNotFound
    return Attempts(attempts=attempts)


@query(reads=("call_jobs",))
async def get_call_job_by_vapi_id(ctx: QueryContext, args: ByVapiId) -> CallJob | None:
    """Return a call by its id at VAPI; None when unknown."""
    row = await ctx.db.fetchrow("select * from call_jobs where vapi_call_id = $1", args.vapi_call_id)
    return None if row is None else job_of(row)


@query(reads=("call_jobs",))
async def get_call_job_by_id(ctx: QueryContext, args: OneJob) -> CallJob | None:
    """Return a call by id; None when unknown."""
    row = await ctx.db.fetchrow("select * from call_jobs where id = $1", args.job_id)
    return None if row is None else job_of(row)


@query(reads=("call_sessions",))
async def get_call_session_by_vapi_id(ctx: QueryContext, args: ByVapiId) -> CallSession | None:
    """Return a session by its call's id at VAPI; None when unknown."""
    row = await ctx.db.fetchrow("select * from call_sessions where vapi_call_id = $1", args.vapi_call_id)
    return None if row is None else session_of(row)


@mutation
async def update_call_session(ctx: MutationContext, args: UpdateCallSession) -> SessionRef:
    """Create or update a session; its transcript stays. CallNotFound."""
    await ctx.db.execute(
        """insert into call_sessions (id, user_id, call_job_id, vapi_call_id, direction, state, created_at, updated_at)
           select $1, user_id, id, $3, 'outbound', 'in-progress', $4, $4 from call_jobs
           where id = $2 or ($2 is null and vapi_call_id = $3)
           on conflict (vapi_call_id) do nothing""",
        CallSessionId.new(ctx.now), args.call_job_id or None, args.vapi_call_id, ctx.now,
    )  # fmt: skip
    session_id = await ctx.db.fetchval(
        """update call_sessions
           set state = coalesce($2, state), started_at = coalesce($3, started_at), ended_at = coalesce($4, ended_at),
               duration_sec = coalesce($5, duration_sec), ended_reason = coalesce($6, ended_reason), updated_at = $7
           where vapi_call_id = $1 returning id""",
        args.vapi_call_id, args.state or None, None if args.started_at is UNSET else from_ms(args.started_at),
        None if args.ended_at is UNSET else from_ms(args.ended_at),
        None if args.duration_sec is UNSET else args.duration_sec, args.ended_reason or None, ctx.now,
    )  # fmt: skip
    if session_id is None:
        raise CallNotFound
    return SessionRef(session_id=session_id)


@mutation
async def update_call_session_metadata(ctx: MutationContext, args: UpdateCallSessionMetadata) -> None:
    """Merge metadata into a session's; the entry's id stays. CallNotFound."""
    if not await ctx.db.fetchval("select true from call_sessions where id = $1", args.session_id):
        raise CallNotFound
    more = {name: value for name, value in args.metadata.items() if name != sessions.DIARY_ID}
    await sessions.merge_metadata(ctx, args.session_id, more)
