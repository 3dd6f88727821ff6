"""Jobs, as operators see them: listed, shown, retried, canceled."""

from __future__ import annotations

from typing import Any, Literal

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.kernel.errors import ExpectedError
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, given, mutation, query
from daysong.kernel.limits.marks import account_marks
from daysong.kernel.time.clock import to_ms
from daysong.workflows.support import audit
from daysong.workflows.support.audit import Limit, Outcome, Reason, Target
from daysong.workflows.support.hiding import visible

JobStatus = Literal["queued", "running", "done", "dead"]
CANCELED = "canceled by an operator"


class JobNotFound(ExpectedError):
    """No such job; it may have been deleted since it ended."""

    code = "job_not_found"
    status = 404
    default_message = "There is no such job"


class ListJobs(Args):
    """Which jobs: of a status, of a function, of an account, or that mention an id."""

    status: JobStatus | UnsetType = UNSET
    function: Target | UnsetType = UNSET
    user_id: IdText | UnsetType = UNSET
    about: IdText | UnsetType = UNSET
    limit: Limit = 50


class OneJob(Args):
    """Which job."""

    job_id: IdText


class ChangeJob(OneJob):
    """Which job, and why it is changed."""

    reason: Reason | UnsetType = UNSET


class Job(Result):
    """A job; times in ms. `last_error` names the kind of error, and never quotes a person."""

    id: str
    function: str
    status: JobStatus
    due_at: float
    starts: int
    failures: int
    deferrals: int
    started_at: float | UnsetType = UNSET
    finished_at: float | UnsetType = UNSET
    last_error: str | UnsetType = UNSET


class JobInFull(Job):
    """A job with its arguments, private ones hidden, and the jobs that came from the same request."""

    args: Any = UNSET
    account: str | UnsetType = UNSET
    request_id: str = ""
    unique_key: str | UnsetType = UNSET
    related: list[Job] = msgspec.field(default_factory=list)


def of_row(row: asyncpg.Record) -> Job:
    """Return the job of a row of `jobs`."""
    return Job(**_fields(row))


def _fields(row: asyncpg.Record) -> dict[str, Any]:
    def at(name: str) -> float | UnsetType:
        return given(None if row[name] is None else to_ms(row[name]))

    return {
        **{name: row[name] for name in ("id", "function", "status", "starts", "failures", "deferrals")},
        "due_at": to_ms(row["due_at"]),
        "started_at": at("started_at"),
        "finished_at": at("finished_at"),
        "last_error": given(row["last_error"]),
    }


LIST_SQL = """
    select * from jobs
    where ($2::text is null or status = $2) and ($3::text is null or function = $3)
      and ($4::text[] is null or account = any($4)) and ($5::text is null or mentioned(args) ? $5)
    order by id desc limit $1"""


@query(reads=("jobs",))
async def list_jobs(ctx: QueryContext, args: ListJobs) -> list[Job]:
    """Return the jobs, newest first: by when they were due at first, which their ids tell."""
    accounts = account_marks(ctx.settings.hash_keys, args.user_id) if args.user_id else None
    rows = await ctx.db.fetch(
        LIST_SQL, args.limit, args.status or None, args.function or None, accounts, args.about or None,
    )  # fmt: skip
    return [of_row(row) for row in rows]


@query(reads=("jobs",), snapshot=True)
async def show_job(ctx: QueryContext, args: OneJob) -> JobInFull:
    """Return one job. Errors: JobNotFound."""
    row = await ctx.db.fetchrow("select * from jobs where id = $1", args.job_id)
    if row is None:
        raise JobNotFound
    return JobInFull(
        **_fields(row),
        args=visible(row["args"]),
        account=given(row["account"]),
        request_id=row["request_id"],
        unique_key=given(row["unique_key"]),
        related=await related(ctx, row["request_id"], args.job_id),
    )


async def related(ctx: QueryContext, request_id: str, but: str = "") -> list[Job]:
    """Return the jobs of a request, in the order they were due, without the one with the id `but`."""
    if not request_id:
        return []
    rows = await ctx.db.fetch(
        "select * from jobs where request_id = $1 and id <> $2 order by due_at, id limit 50", request_id, but
    )
    return [of_row(row) for row in rows]


@mutation
async def retry_job(ctx: MutationContext, args: ChangeJob) -> Outcome:
    """Queue a dead job again; the outcome `not dead` changes nothing. Errors: JobNotFound."""
    await _require(ctx, args.job_id)
    is_done = await ctx.jobs.retry_in(ctx.db, args.job_id, ctx.now)
    return await audit.record(
        ctx, "jobs retry", target=args.job_id, reason=args.reason, outcome=audit.DONE if is_done else "not dead"
    )


@mutation
async def cancel_job(ctx: MutationContext, args: ChangeJob) -> Outcome:
    """Give up a queued job, as when it is out of attempts: it is dead, and what it was for fails and is refunded.

    The outcome `not queued` changes nothing. Errors: JobNotFound.
    """
    await _require(ctx, args.job_id)
    job = await ctx.jobs.lock_queued(ctx.db, args.job_id)
    if job is not None:
        if job.on_exhausted is not None:
            await job.on_exhausted(ctx, job.args)
        await ctx.jobs.cancel_in(ctx.db, args.job_id, ctx.now, CANCELED)
    return await audit.record(
        ctx, "jobs cancel", target=args.job_id, reason=args.reason,
        outcome="not queued" if job is None else audit.DONE,
    )  # fmt: skip


async def _require(ctx: MutationContext, job_id: str) -> None:
    if not await ctx.db.fetchval("select true from jobs where id = $1", job_id):
        raise JobNotFound
