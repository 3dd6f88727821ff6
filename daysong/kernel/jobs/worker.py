"""The worker: runs jobs and crons with pgqueuer in production, and drains them on a moved clock in tests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from daysong.kernel import logs
from daysong.kernel.database import job_queue
from daysong.kernel.database.connections import Pool
from daysong.kernel.database.transactions import Transaction, close_pool
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.declarations import Handler, Kind, NoArgs
from daysong.kernel.functions.registry import Function
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.jobs import metrics
from daysong.kernel.jobs.failures import AttemptsExhausted, KilledTooOften, UnknownFunction
from daysong.kernel.jobs.hold import Holding, OnHold
from daysong.kernel.jobs.outcomes import MAX_STARTS, Outcomes
from daysong.kernel.jobs.queue import Cron, Job, Superseded
from daysong.kernel.jobs.ticking import Ticker
from daysong.kernel.limits.lanes import Lane, slots, slots_of_account
from daysong.kernel.limits.lines import on_behalf_of
from daysong.kernel.monitoring import tracing
from daysong.kernel.time.clock import MovableClock, using
from daysong.kernel.time.clock_check import require_agreement

if TYPE_CHECKING:
    from pgqueuer.domain.models import Job as QueueRow

    from daysong.kernel.jobs.lane_manager import LaneManager

HEARTBEAT = timedelta(seconds=30)
GRACE = timedelta(seconds=20)
# Most jobs wait for a vendor, so there may be more of them than connections.
AT_ONCE = 100
LONGEST_RESTART_PAUSE = 30.0
# Seconds until a job whose outcome could not be stored is redelivered.
UNSETTLED_PAUSE = 5.0
# Seconds between checks, and in all, that a drain waits for jobs the worker loop is running.
DRAIN_POLL, DRAIN_WAIT = 0.02, 20.0
LISTENER_CHECK = timedelta(seconds=10)

log = logs.get_logger("worker")


class Worker:
    """Runs the jobs and crons of an app. Any number of workers may share one database."""

    def __init__(
        self,
        runtime: Runtime,
        timetable: Sequence[Cron],
        *,
        heartbeat: timedelta = HEARTBEAT,
        grace: timedelta = GRACE,
        at_once: int = AT_ONCE,
        runs_on_hold: Collection[Handler] = (),
        each_minute: Sequence[Handler] = (),
        outage: Callable[[str], float | None] = lambda _vendor: None,
    ) -> None:
        """Run up to `at_once` (at least 20) jobs concurrently.

        A dead worker's jobs are redelivered after `heartbeat`; running jobs get `grace` to finish at shutdown.
        After a restore only jobs of `runs_on_hold` run until `daysong resume`. Every worker runs the actions of
        `each_minute`, also then, and at the same time as others. `outage` returns the seconds after which to ask a
        vendor again that does not answer; None for any other.
        """
        self._runtime = runtime
        self._queue = runtime.queue
        self._timetable = timetable
        self._heartbeat = heartbeat
        self._grace = grace
        self._at_once = at_once
        self._manager: LaneManager | None = None
        self._holding = Holding(runtime.database, runs_on_hold)
        self.ticker = Ticker(runtime, timetable, self._holding, each_minute)
        self._outcomes = Outcomes(runtime, outage)
        self._stopping = asyncio.Event()
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._running_jobs = self._drains = 0
        self.ready = asyncio.Event()

    @property
    def is_working(self) -> bool:
        """Whether jobs are being taken: False while the database is away, and once asked to stop."""
        return self._manager is not None and not self._stopping.is_set()

    async def run_forever(self, database_url: str) -> None:
        """Run jobs until `stop`; reconnect with exponential backoff when the database is unavailable."""
        ticking = asyncio.create_task(self._tick_forever())
        failures = 0
        try:
            while not self._stopping.is_set():
                started = asyncio.get_running_loop().time()
                try:
                    await self._work(database_url)
                except Exception as error:  # noqa: BLE001 - the worker must survive any error
                    # The backoff is reset after a while without failures.
                    ran = asyncio.get_running_loop().time() - started
                    failures = 0 if ran > LONGEST_RESTART_PAUSE else min(failures + 1, 10)
                    pause = min(LONGEST_RESTART_PAUSE, 0.5 * 2**failures) * random.uniform(0.5, 1)  # noqa: S311
                    # The other connections may be broken too.
                    await self._runtime.database.renew()
                    log.warning("worker restarting", error=logs.describe(error), pause=round(pause, 1))
                    await self._wait(pause)
        finally:
            self._stopping.set()
            await ticking

    async def stop(self) -> None:
        """Begin a graceful shutdown: take no more jobs, and let running ones finish."""
        self._stopping.set()
        if self._manager is not None:
            self._manager.shutdown.set()

    async def _work(self, database_url: str) -> None:
        # A separate pool, so that heartbeats are sent when jobs hold every other connection.
        pool = await Pool(database_url, name="daysong worker", min_size=2, max_size=4)
        try:
            await self._work_with(pool)
        finally:
            await close_pool(pool)

    async def _work_with(self, pool: asyncpg.Pool) -> None:
        # Imported here, so that a process that only serves does not load pgqueuer's loop.
        await job_queue.load_aside()
        from daysong.kernel.jobs.lane_manager import LaneManager  # noqa: PLC0415

        queries = job_queue.queries_on_pool(pool)
        manager = LaneManager(queries, {lane.value: slots(lane, self._at_once) for lane in Lane})
        for lane in Lane:
            # Queue rows are deleted when handled; the outcome of a job is stored in `jobs`.
            manager.entrypoint(lane.value, on_failure="delete")(self._on_queue_row)
        self._manager = manager
        running = asyncio.create_task(
            manager.run(
                heartbeat_timeout=self._heartbeat,
                dequeue_timeout=self._heartbeat / 2,
                # pgqueuer's statistics are not used.
                log_aggregation_interval=timedelta(0),
            )
        )
        stopping = asyncio.create_task(self._stopping.wait())
        listening = asyncio.create_task(_check_listener(manager))
        self.ready.set()
        try:
            await asyncio.wait({running, stopping, listening}, return_when=asyncio.FIRST_COMPLETED)
            manager.shutdown.set()
            # Before a restart running jobs may take their time; before a stop they get `grace`.
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({running}, timeout=self._grace.total_seconds())
            if not running.done():
                log.warning("running jobs left to another worker")
        finally:
            stopping.cancel()
            listening.cancel()
            self._manager = None
            # The first cancellation ends the loop, which then waits for its jobs; the next one cancels them.
            while not running.done():
                running.cancel()
                await asyncio.wait({running}, timeout=1)
        for task in (running, listening):
            if task.done() and not task.cancelled():
                task.result()

    async def _on_queue_row(self, row: QueueRow) -> None:
        from pgqueuer.domain.errors import RetryRequested  # noqa: PLC0415 - loaded by _work_with

        try:
            # A drain changes tickets, so the claim below fails for jobs that it has taken.
            await self._resumed.wait()
            part = slots_of_account(Lane(row.entrypoint), self._at_once)
            self._running_jobs += 1
            try:
                job = await self._queue.claim(
                    (row.payload or b"").decode(), self._runtime.clock.now(), of_account=part
                )  # fmt: skip
                if job is not None:
                    await self.run(job)
            finally:
                self._running_jobs -= 1
        except asyncio.CancelledError:
            pass  # the grace period is over: the job is redelivered to another worker
        except Exception as error:  # noqa: BLE001 - the outcome could not be stored
            log.error("job outcome not stored", error=logs.describe(error))  # noqa: TRY400 - its text may be private
            # Wait for the database to recover, so that the queue row can be written back.
            with suppress(asyncio.CancelledError):
                await self._wait(UNSETTLED_PAUSE)
        else:
            return
        # Raised outside of `except`, because pgqueuer stores the text of chained errors.
        raise RetryRequested(timedelta(0), "the job did not come to an end here")

    async def run(self, job: Job) -> None:
        """Run a claimed job and store its outcome: done, queued for a retry, or dead."""
        # The name becomes a label: it is one of the registry's, or of another release.
        name = job.function if self._runtime.registry.named(job.function) else "unknown"
        identifier = job.request_id or logs.new_request_id()
        span = tracing.span(
            f"job {name}", "consumer", parent=job.traceparent, function=name, attempt=job.failures + 1,
            request=identifier,
        )  # fmt: skip
        with logs.request_scope(identifier), span:
            outcome = await metrics.measured(name, self._run_to_outcome(job))
            tracing.annotate(outcome=outcome, failed=outcome in {"retried", "dead"})

    async def _run_to_outcome(self, job: Job) -> str:
        function = self._runtime.registry.named(job.function)
        try:
            try:
                with on_behalf_of(job.account or "", returning=job.deferrals > 0):
                    await self._run(job, function)
                log.info("job done", job=job.id, function=job.function)
            except Superseded:
                raise
            except Exception as error:  # noqa: BLE001 - a failure is an outcome to store
                return await self._outcomes.after_failure(job, function, error)
        except Superseded:
            log.info("job ended elsewhere", job=job.id, function=job.function)
            return "superseded"
        return "done"

    async def _run(self, job: Job, function: Function | None) -> None:
        if function is None:
            raise UnknownFunction("this release has no such function: the job waits for a worker that has")
        if job.starts > MAX_STARTS:
            raise KilledTooOften(f"started {job.starts - 1} times without an end")
        if job.failures >= function.retry.attempts:
            raise AttemptsExhausted
        if await self._holding.stops(function.handler):
            raise OnHold("restored from a backup: `daysong resume` lets jobs run again")
        if function.punctual:
            await require_agreement(self._runtime.database.one_statement(), self._runtime.clock)
        args = msgspec.convert(job.args, function.args_type)

        async def mark_done(tx: Transaction) -> None:
            await self._queue.mark_done(tx, job, self._runtime.clock.now())

        if function.kind is Kind.MUTATION:
            # In the mutation's own transaction, so that its job takes effect exactly once.
            await self._runtime.mutate(
                function.handler, args, SYSTEM, afterwards=mark_done, isolation=function.isolation
            )
        else:
            await self._runtime.call(function, args, SYSTEM)
            # What the action did is on disk. If the server crashes before this is, the job runs again, as after a kill.
            await self._runtime.database.mutate(mark_done, one_statement=True, durable=False)

    async def _tick_forever(self) -> None:
        while not self._stopping.is_set():
            await self.ticker.tick()
            await self.ticker.run_each_minute()
            now = self._runtime.clock.now()
            await self._wait(60 - now.second + random.uniform(0, 0.5))  # noqa: S311

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def drain(
        self, *, until: datetime | None, clock: MovableClock, progress: Callable[[], None] | None = None
    ) -> int:
        """Run every job due by `until` (or now), and the crons before it, in order; return how many jobs ran.

        Moves the clock to the time of each job, and to `until` at the end. For tests and test mode. Waits for jobs
        that this worker's loop is running; the loop takes no jobs meanwhile.
        """
        self._drains += 1
        self._resumed.clear()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_WAIT):
                    while self._running_jobs:
                        await asyncio.sleep(DRAIN_POLL)
            with using(clock):
                return await self._drain(until=until, clock=clock, progress=progress)
        finally:
            self._drains -= 1
            if not self._drains:
                self._resumed.set()

    async def _drain(self, *, until: datetime | None, clock: MovableClock, progress: Callable[[], None] | None) -> int:
        ran = 0
        end = max(until or clock.now(), clock.now())
        ticks = {cron: cron.next_tick(clock.now()) for cron in self._timetable} if until else {}
        while True:
            tick = min(ticks.values(), default=None)
            if tick is not None and tick > end:
                tick = None
            taken = await self._queue.take_due(min(tick or end, end), clock.now())
            if taken is not None:
                job, due_at = taken
                clock.move_to(due_at)
                await self.run(job)
                if progress is not None:
                    progress()
                ran += 1
            elif tick is not None:
                clock.move_to(tick)
                for cron in [cron for cron, due_at in ticks.items() if due_at == tick]:
                    if not await self._holding.stops(cron.handler):
                        await self._queue.tick(cron, tick, NoArgs())
                    ticks[cron] = cron.next_tick(tick)
            else:
                clock.move_to(end)
                return ran


async def _check_listener(manager: LaneManager) -> None:
    """Raise when notifications no longer arrive, since without them the queue is polled only rarely."""
    # Replaces pgqueuer's own check, which may run before it listens, and then fails.
    while True:
        await asyncio.sleep(LISTENER_CHECK.total_seconds())
        await manager.listener_healthy(LISTENER_CHECK)
