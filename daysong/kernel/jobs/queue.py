"""The job queue: functions as jobs, on pgqueuer.

Each job is a row in `jobs` with a ticket. pgqueuer only delivers `<job id>:<ticket>` to a worker when the job is due. A
claim must present the current ticket; a queue row with an old ticket is dropped. So a job is not lost with its queue
row, starts are counted before a job that crashes its worker runs, and failed jobs stay to be inspected and retried.

A stalled worker's job may be redelivered while it still runs. The first `done` wins, and a failure counts only for the
latest start; a worker that is too late gets Superseded and changes nothing.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from daysong.kernel import logs, values
from daysong.kernel.database.job_queue import ENQUEUE_JOB, load_aside, queries_on
from daysong.kernel.database.transactions import UNFLUSHED, Database, Transaction
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import OpenJob
from daysong.kernel.functions.declarations import Kind
from daysong.kernel.functions.registry import Registry
from daysong.kernel.ids import JobId
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.monitoring import tracing
from daysong.kernel.parts import Part

# No limit on the jobs of one account.
UNLIMITED = 1_000_000
RESCUE_AFTER = timedelta(minutes=1)


class Superseded(DaysongError):
    """The job was finished or taken over by another worker, or is dead: this worker's transaction is rolled back."""


@dataclass(frozen=True)
class Cron:
    """A timetable entry: run `handler` without arguments at the times of `expression` (cron syntax, UTC)."""

    name: str
    expression: str
    handler: Callable[..., Awaitable[Any]]
    part: Part | None = None

    def latest_tick(self, now: datetime) -> datetime:
        """Return the last due time at or before `now`."""
        tick: datetime = _ticks(self.expression, now + timedelta(microseconds=1)).get_prev(datetime)
        return tick

    def next_tick(self, now: datetime) -> datetime:
        """Return the first due time after `now`."""
        tick: datetime = _ticks(self.expression, now).get_next(datetime)
        return tick


def _ticks(expression: str, start: datetime) -> Any:
    from croniter import croniter  # noqa: PLC0415 - slow to import, and servers need none

    return croniter(expression, start)


class Job(msgspec.Struct, frozen=True):
    """A claimed job."""

    id: str
    ticket: str
    function: str
    args: Any
    starts: int
    failures: int
    request_id: str
    account: str | None
    deferrals: int
    traceparent: str | None = None


def job_sql(before: str = "", source: str = "", output: str = "") -> str:
    """Return a statement that inserts the job and queue row of Queue.new_job, unless there is a job with its key.

    `before` are further CTEs, whose parameters begin at $13. With a `source`, such as `from event`, there is a job only
    if that has a row. The statement returns a row if there is a job, with a further column `output`.
    """
    return f"with {before} {_job_cte(source)} {ENQUEUE_JOB}{output and ', '}{output}"


def job_ctes(source: str) -> str:
    """Return the same as common table expressions."""
    return f"{_job_cte(source)}, queued as ({ENQUEUE_JOB})"


def _job_cte(source: str) -> str:
    return f"""job as (
            insert into jobs (id, ticket, function, args, due_at, unique_key, request_id, account,
                              traceparent)
            select $4, $5, $6, $7::jsonb, $8::timestamptz, $9, $10, $11, $12 {source}
            on conflict (unique_key) do nothing returning id)"""


_SCHEDULE_SQL = job_sql()
COLUMNS = "id, ticket, function, args, starts, failures, request_id, account, deferrals, traceparent"

# In these, `finished_at is null` is the condition of the index; the status would keep updates from being HOT.
TAKE_DUE_SQL = f"""
    update jobs set status = 'running', starts = starts + 1, ticket = $2, started_at = greatest($3, due_at)
    where id = (select id from jobs where finished_at is null and status = 'queued' and due_at <= $1
                order by due_at, id limit 1 for update skip locked)
    returning {COLUMNS}, due_at"""  # noqa: S608 - constants
LOST_SQL = """
    select id, function from jobs j
    where finished_at is null and due_at < $1 and coalesce(started_at < $1, true)
      and not exists (select from pgqueuer q
                      where q.dedupe_key = j.id || ':' || j.ticket and q.status in ('queued', 'picked'))
    order by due_at limit 500 for update skip locked"""
PENDING_SQL = "select count(*) from jobs where finished_at is null"


class Queue:
    """The jobs of an app: schedule, claim, finish, rescue, list."""

    def __init__(self, registry: Registry, database: Database) -> None:
        self._registry = registry
        self._database = database

    async def schedule(
        self,
        tx: Transaction,
        handler: Callable[..., Awaitable[Any]],
        args: msgspec.Struct,
        *,
        due_at: datetime,
        delay: timedelta,
        key: str | None,
        account: str | None = None,
    ) -> None:
        """Insert a job in the transaction `tx`, unless one with the same dedupe `key` exists.

        `account` is the hash of the account the job belongs to, see `kernel/limits/marks.py`; None for none.
        """
        job = self.new_job(handler, args, due_at=due_at, delay=delay, key=key, account=account)
        await tx.execute(_SCHEDULE_SQL, *job)

    def new_job(
        self,
        handler: Callable[..., Awaitable[Any]],
        args: msgspec.Struct,
        *,
        due_at: datetime,
        delay: timedelta = timedelta(0),
        key: str | None = None,
        account: str | None = None,
    ) -> tuple[Any, ...]:
        """Return the parameters of `job_sql` for a new job; see `schedule`."""
        function = self._registry.of(handler)
        if function.kind is Kind.QUERY:
            raise DaysongError(f"{function.identifier} is a query and cannot be scheduled")
        job_id, ticket = JobId.new(due_at), new_ticket()
        return (
            f"{job_id}:{ticket}", function.lane.value, max(delay, timedelta(0)), job_id, ticket, function.identifier,
            values.plain(args), due_at, key, logs.request_id(), account, tracing.current(),
        )  # fmt: skip

    async def claim(self, ticket: str, now: datetime, *, of_account: int = UNLIMITED) -> Job | None:
        """Claim the job of `ticket` (`<job id>:<ticket>`); None if it was claimed, finished or canceled.

        Counts the start before the job runs, so that one that kills its worker is detected. When `of_account` jobs of
        the job's account are running, requeues it with a short delay and returns None.
        """
        job_id, _, secret = ticket.partition(":")
        claimed = f"select {COLUMNS} from claim_job($1, $2, $3, $4)"  # noqa: S608 - a constant
        row = await self._database.pool.fetchrow(claimed, job_id, secret, now, of_account)
        if row is None:
            await self._requeue_over_limit(job_id, secret, now)
        return _job(row)

    async def _requeue_over_limit(self, job_id: str, secret: str, now: datetime) -> None:
        """Requeue a job whose account is at its limit; does nothing if the job was claimed or is finished."""
        ticket = new_ticket()

        async def work(tx: Transaction) -> None:
            row = await tx.fetchrow(
                """update jobs set ticket = $3, deferrals = deferrals + 1,
                     due_at = $4::timestamptz + make_interval(secs => least(2 * 1.5 ^ least(deferrals, 10), 30))
                   where id = $1 and ticket = $2 and status = 'queued' and account is not null
                   returning due_at, function""",
                job_id, secret, ticket, now,
            )  # fmt: skip
            if row is not None:
                delay = (row["due_at"] - now) * random.uniform(0.5, 1)  # noqa: S311
                await enqueue(tx, job_id, ticket, delay, self.lane_of(row["function"]))

        await self._database.mutate(work)

    def lane_of(self, function: str) -> Lane:
        """Return the lane of a function's jobs; QUICK for a function of another release."""
        found = self._registry.named(function)
        return Lane.QUICK if found is None else found.lane

    async def take_due(self, until: datetime, now: datetime) -> tuple[Job, datetime] | None:
        """Claim the earliest queued job due at or before `until`, independent of the database's clock. For drains."""
        row = await self._database.pool.fetchrow(TAKE_DUE_SQL, until, new_ticket(), now)
        job = _job(row)
        return (job, row["due_at"]) if job and row else None

    async def mark_done(self, tx: Transaction, job: Job, now: datetime) -> None:
        """Mark a job as done, for a mutation in its own transaction; one statement. Errors: Superseded."""
        ended = await tx.fetchval(
            f"""update jobs set status = 'done', finished_at = $3, last_error = null
                where id = $1 and ticket = $2 and status = 'running' returning id, {UNFLUSHED}""",  # noqa: S608
            job.id, job.ticket, now,
        )  # fmt: skip
        _check(ended)

    async def put_back(
        self,
        tx: Transaction,
        job: Job,
        *,
        failures: int,
        due_at: datetime,
        delay: timedelta,
        error: str | None,
        deferrals: int = 0,
    ) -> None:
        """Requeue a failed or deferred job. Without an `error` the last is kept. Errors: Superseded."""
        ticket = new_ticket()
        ended = await tx.fetchval(
            """update jobs set status = 'queued', ticket = $4, failures = $5, starts = 0, due_at = $6,
               last_error = coalesce($7, last_error), deferrals = $8
               where id = $1 and ticket = $2 and starts = $3 and status = 'running' returning id""",
            job.id, job.ticket, job.starts, ticket, failures, due_at, error, deferrals,
        )  # fmt: skip
        _check(ended)
        await enqueue(tx, job.id, ticket, delay, self.lane_of(job.function))

    async def mark_dead(self, tx: Transaction, job: Job, now: datetime, error: str | None) -> None:
        """Mark a job as a dead letter, to be retried by hand. Without an `error` keeps the last. Errors: Superseded."""
        ended = await tx.fetchval(
            """update jobs set status = 'dead', finished_at = $4, failures = failures + 1,
               last_error = coalesce($5, last_error, 'unknown')
               where id = $1 and ticket = $2 and starts = $3 and status = 'running' returning id""",
            job.id, job.ticket, job.starts, now, error,
        )  # fmt: skip
        _check(ended)

    async def retry(self, job_id: str, now: datetime) -> bool:
        """Requeue a dead job; False when there is no such dead job."""

        async def work(tx: Transaction) -> bool:
            return await self.retry_in(tx, job_id, now)

        return await self._database.mutate(work)

    async def retry_in(self, tx: Transaction, job_id: str, now: datetime) -> bool:
        """Requeue a dead job in the caller's transaction; False when there is no such dead job."""
        ticket = new_ticket()
        found = await tx.fetchval(
            """update jobs set status = 'queued', ticket = $2, starts = 0, failures = 0, due_at = $3,
               finished_at = null where id = $1 and status = 'dead' returning function""",
            job_id, ticket, now,
        )  # fmt: skip
        if found:
            await enqueue(tx, job_id, ticket, timedelta(0), self.lane_of(found))
        return found is not None

    async def lock_queued(self, tx: Transaction, job_id: str) -> OpenJob | None:
        """Lock a queued job, so that no worker claims it; None when it is not queued."""
        row = await tx.fetchrow(
            "select function, args from jobs where id = $1 and status = 'queued' for update", job_id
        )
        if row is None:
            return None
        function = self._registry.named(row["function"])
        if function is None or function.on_exhausted is None:
            return OpenJob(row["function"], None, None)
        return OpenJob(row["function"], function.on_exhausted, msgspec.convert(row["args"], function.args_type))

    async def cancel_in(self, tx: Transaction, job_id: str, now: datetime, error: str) -> bool:
        """Make a queued job a dead letter in the caller's transaction; False when it is not queued."""
        found = await tx.fetchval(
            """update jobs set status = 'dead', ticket = $2, finished_at = $3, last_error = $4
               where id = $1 and status = 'queued' returning id""",
            job_id, new_ticket(), now, error,
        )  # fmt: skip
        return found is not None

    def handler_named(self, identifier: str) -> Callable[..., Awaitable[Any]] | None:
        """Return the handler of a function; None when this release has none of that name."""
        found = self._registry.named(identifier)
        return None if found is None else found.handler

    async def rescue(self, now: datetime) -> int:
        """Requeue jobs whose queue row is lost (their worker died); return how many."""

        async def work(tx: Transaction) -> int:
            lost = await tx.fetch(LOST_SQL, now - RESCUE_AFTER)
            for row in lost:
                ticket = new_ticket()
                await tx.execute("update jobs set status = 'queued', ticket = $2 where id = $1", row["id"], ticket)
                await enqueue(tx, row["id"], ticket, timedelta(0), self.lane_of(row["function"]))
            return len(lost)

        return await self._database.mutate(work)

    async def tick(self, cron: Cron, tick: datetime, args: msgspec.Struct) -> None:
        """Schedule one run of a cron; the dedupe key makes it one, however many workers tick."""

        async def work(tx: Transaction) -> None:
            key = f"{cron.name}@{tick.isoformat()}"
            await self.schedule(tx, cron.handler, args, due_at=tick, delay=timedelta(0), key=key)

        await self._database.mutate(work)

    async def pending(self) -> int:
        """Return how many jobs are queued or running."""
        count: int = await self._database.pool.fetchval(PENDING_SQL)
        return count

    async def list(self, status: str | None, limit: int) -> Sequence[asyncpg.Record]:
        """Return the newest jobs, optionally of one status."""
        rows: list[asyncpg.Record] = await self._database.pool.fetch(
            """select id, function, status, due_at, starts, failures, last_error from jobs
               where $1::text is null or status = $1 order by due_at desc limit $2""",
            status, limit,
        )  # fmt: skip
        return rows


def new_ticket() -> str:
    """Return a new ticket: it makes one queue row valid for one attempt of a job."""
    return secrets.token_hex(8)


async def enqueue(tx: Transaction, job_id: str, ticket: str, delay: timedelta, lane: Lane) -> None:
    """Insert a queue row for that lane; `delay` counts from the database's clock, which delivery uses."""
    carried = f"{job_id}:{ticket}"
    await load_aside()
    await queries_on(tx).enqueue(
        lane.value, carried.encode(), execute_after=max(delay, timedelta(0)), dedupe_key=carried
    )  # fmt: skip


def _check(ended: str | None) -> None:
    if ended is None:
        raise Superseded("another worker has finished the job or taken it over")


def _job(row: asyncpg.Record | None) -> Job | None:
    if row is None:
        return None
    return Job(*(row[name] for name in COLUMNS.split(", ")))
