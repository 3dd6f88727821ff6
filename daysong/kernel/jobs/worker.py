"""Runs jobs and crons: a loop over pgqueuer in production, a drain with a moved clock in tests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from daysong.kernel import logs
from daysong.kernel.database.connections import Pool
from daysong.kernel.database.job_queue import queries_on_pool
from daysong.kernel.database.transactions import Transaction, close_pool
from daysong.kernel.errors import DaysongError, ExpectedError, VendorError
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.declarations import Kind, NoArgs, Retry
from daysong.kernel.functions.registry import Function
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.jobs.queue import Cron, Job, Superseded
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.limits.lanes import Lane, slots, slots_of_account
from daysong.kernel.limits.lines import on_behalf_of
from daysong.kernel.time.clock import Clock, MovableClock
from daysong.kernel.time.clock_check import ClockWrong, require_agreement

if TYPE_CHECKING:
    from pgqueuer.domain.models import Job as QueueRow

    from daysong.kernel.jobs.lane_manager import LaneManager

MAX_STARTS = 5
HEARTBEAT = timedelta(seconds=30)
GRACE = timedelta(seconds=20)
# Most jobs wait for a vendor, so there may be more of them than connections; further ones are left to other workers.
AT_ONCE = 100
LONGEST_RESTART_PAUSE = 30.0
# Until a job is delivered again whose outcome could not be stored.
UNSETTLED_PAUSE = 5.0
# A job may be put back that often, each time for that many seconds at most, before waiting counts as a failure.
MOST_DEFERRALS = 200
LONGEST_DEFERRAL = 900.0
# A job of a newer release waits for a worker of it, a quarter of an hour at a time at most: for ten days in all.
FIRST_WAIT = 15.0
MOST_WAITS = 960
# How often, and for how many seconds at most, a drain looks whether this worker's own jobs have ended.
BESIDE, LONGEST_BESIDE = 0.02, 20.0
LISTENER_CHECK = timedelta(seconds=10)
# The run of a tick longer ago is not made up for: the row that says whether it has run may be purged.
OLDEST_TICK = timedelta(days=7)

log = logs.get_logger("worker")


class KilledTooOften(DaysongError):
    """The job's worker died several times in a row while it ran."""


class UnknownFunction(DaysongError):
    """No function of this release has the job's name; a worker of another release may have it."""


class UsedUp(DaysongError):
    """All attempts have failed; only what is to follow on that is still to be done."""


class Worker:
    """Runs the jobs of an app, and its crons. Any number of workers may share one database."""

    def __init__(
        self,
        runtime: Runtime,
        timetable: Sequence[Cron],
        *,
        heartbeat: timedelta = HEARTBEAT,
        grace: timedelta = GRACE,
        at_once: int = AT_ONCE,
    ) -> None:
        """A worker that runs up to `at_once` (at least 20) jobs at a time.

        A dead worker's jobs are taken over after `heartbeat`; `grace` is what running jobs get when it stops.
        """
        self._runtime = runtime
        self._queue = runtime.queue
        self._timetable = timetable
        self._heartbeat = heartbeat
        self._grace = grace
        self._at_once = at_once
        self._manager: LaneManager | None = None
        self._stopping = asyncio.Event()
        self._free = asyncio.Event()
        self._free.set()
        self._at_work = self._drains = 0
        self.ready = asyncio.Event()

    async def run_forever(self, database_url: str) -> None:
        """Work until `stop`; when the database goes away, come back to it with growing pauses."""
        ticking = asyncio.create_task(self._tick_forever())
        failures = 0
        try:
            while not self._stopping.is_set():
                started = asyncio.get_running_loop().time()
                try:
                    await self._work(database_url)
                except Exception as error:  # noqa: BLE001 - whatever it was, jobs wait for a worker
                    # A worker that ran well for a while starts its pauses anew.
                    ran = asyncio.get_running_loop().time() - started
                    failures = 0 if ran > LONGEST_RESTART_PAUSE else min(failures + 1, 10)
                    pause = min(LONGEST_RESTART_PAUSE, 0.5 * 2**failures) * random.uniform(0.5, 1)  # noqa: S311
                    # What ended it may have ended the other connections too.
                    await self._runtime.database.renew()
                    log.warning("worker restarts", error=logs.describe(error), pause=round(pause, 1))
                    await self._wait(pause)
        finally:
            self._stopping.set()
            await ticking

    async def stop(self) -> None:
        """Take no more jobs; those running may finish."""
        self._stopping.set()
        if self._manager is not None:
            self._manager.shutdown.set()

    async def _work(self, database_url: str) -> None:
        # A pool of its own: heartbeats must get through when jobs hold every other connection.
        pool = await Pool(database_url, name="daysong worker", min_size=2, max_size=4)
        try:
            await self._work_with(pool)
        finally:
            await close_pool(pool)

    async def _work_with(self, pool: asyncpg.Pool) -> None:
        # Here and not above: a process that only serves does without pgqueuer's loop.
        from daysong.kernel.jobs.lane_manager import LaneManager  # noqa: PLC0415

        manager = LaneManager(queries_on_pool(pool), {lane.value: slots(lane, self._at_once) for lane in Lane})
        for lane in Lane:
            # Queue rows are gone when they have been handled: what became of a job is written in `jobs`.
            manager.entrypoint(lane.value, on_failure="delete")(self._on_queue_row)
        self._manager = manager
        running = asyncio.create_task(
            manager.run(
                heartbeat_timeout=self._heartbeat,
                dequeue_timeout=self._heartbeat / 2,
                # Nobody reads pgqueuer's statistics, so none are made.
                log_aggregation_interval=timedelta(0),
            )
        )
        stopping = asyncio.create_task(self._stopping.wait())
        listening = asyncio.create_task(_check_listener(manager))
        self.ready.set()
        try:
            await asyncio.wait({running, stopping, listening}, return_when=asyncio.FIRST_COMPLETED)
            manager.shutdown.set()
            # Before a restart running jobs have all the time they need; before a stop they have not.
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({running}, timeout=self._grace.total_seconds())
            if not running.done():
                log.warning("jobs still running are left for another worker")
        finally:
            stopping.cancel()
            listening.cancel()
            self._manager = None
            # The first cancellation ends the loop, which then waits for its jobs; the next one reaches them.
            while not running.done():
                running.cancel()
                await asyncio.wait({running}, timeout=1)
        for task in (running, listening):
            if task.done() and not task.cancelled():
                task.result()

    async def _on_queue_row(self, row: QueueRow) -> None:
        from pgqueuer.domain.errors import RetryRequested  # noqa: PLC0415 - loaded by _work_with

        try:
            # A drain takes jobs by new tickets: what it has taken is not to be had here any more.
            await self._free.wait()
            part = slots_of_account(Lane(row.entrypoint), self._at_once)
            self._at_work += 1
            try:
                job = await self._queue.claim(
                    (row.payload or b"").decode(), self._runtime.clock.now(), of_account=part
                )  # fmt: skip
                if job is not None:
                    await self.run(job, self._runtime.clock)
            finally:
                self._at_work -= 1
        except asyncio.CancelledError:
            pass  # out of time: another worker may have it
        except Exception as error:  # noqa: BLE001 - the database could not be told what became of the job
            log.error("job unsettled", error=logs.describe(error))  # noqa: TRY400 - its text may quote a person
            # A database that went away is given time to come back, so that the queue row can be put back into it.
            with suppress(asyncio.CancelledError):
                await self._wait(UNSETTLED_PAUSE)
        else:
            return
        # Raised here and not above, so that no other error's text comes with it: pgqueuer writes all of it down.
        raise RetryRequested(timedelta(0), "the job did not come to an end here")

    async def run(self, job: Job, clock: Clock) -> None:
        """Run a claimed job and settle it: done, to be tried again, or dead."""
        with logs.request_scope(job.request_id or logs.new_request_id()):
            function = self._runtime.registry.named(job.function)
            try:
                try:
                    with on_behalf_of(job.account or "", returning=job.deferrals > 0):
                        await self._run(job, function, clock)
                    log.info("job done", job=job.id, function=job.function)
                except Superseded:
                    raise
                except Exception as error:  # noqa: BLE001 - a job's failure is an outcome, to be stored
                    await self._after_failure(job, function, error, clock)
            except Superseded:
                log.info("job ended elsewhere", job=job.id, function=job.function)

    async def _run(self, job: Job, function: Function | None, clock: Clock) -> None:
        if function is None:
            raise UnknownFunction("this release has no such function: the job waits for a worker that has")
        if job.starts > MAX_STARTS:
            raise KilledTooOften(f"started {job.starts - 1} times without an end")
        if job.failures >= function.retry.attempts:
            raise UsedUp
        if function.punctual:
            await require_agreement(self._runtime.database.one_statement(), clock)
        args = msgspec.convert(job.args, function.args_type)

        async def mark_done(tx: Transaction) -> None:
            await self._queue.mark_done(tx, job, clock.now())

        if function.kind is Kind.MUTATION:
            # In one transaction with what it did: a mutation's job happens exactly once.
            await self._runtime.mutate(
                function.handler, args, SYSTEM, clock, afterwards=mark_done, isolation=function.isolation
            )
        else:
            await self._runtime.call(function, args, SYSTEM, clock)
            await self._runtime.database.mutate(mark_done)

    async def _after_failure(self, job: Job, function: Function | None, error: Exception, clock: Clock) -> None:
        if isinstance(error, Deferred) and job.deferrals < MOST_DEFERRALS:
            await self._defer(job, error, clock)
            return
        told = _told(error)
        if isinstance(error, UnknownFunction | ClockWrong) and job.deferrals < MOST_WAITS:
            log.warning("job waits", job=job.id, function=job.function, why=str(error))
            wait = timedelta(seconds=min(FIRST_WAIT * 2 ** min(job.deferrals, 10), LONGEST_DEFERRAL))
            await self._put_back(
                job, clock, failures=job.failures, delay=wait, error=told, deferrals=job.deferrals + 1
            )  # fmt: skip
            return
        final = isinstance(error, ExpectedError | KilledTooOften | UsedUp | UnknownFunction) or (
            isinstance(error, VendorError) and error.permanent
        )
        retry = function.retry if function else Retry()
        retry_after = error.retry_after if isinstance(error, VendorError) else None
        failures = job.failures + 1
        delay = None if final else retry.delay(failures, retry_after=retry_after, jitter=random.random())  # noqa: S311
        if delay is not None:
            log.warning("job failed, to be tried again", job=job.id, function=job.function, error=logs.describe(error))
            await self._put_back(job, clock, failures=failures, delay=delay, error=told)
            return
        try:
            await self._bury(job, function, told, clock)
            log.error("job dead", job=job.id, function=job.function, error=logs.describe(error))
        except Superseded:
            raise
        except Exception as another:  # noqa: BLE001 - a job that cannot be buried must not run for ever
            log.error("what follows a dead job failed", job=job.id, error=logs.describe(another))  # noqa: TRY400
            if failures >= retry.attempts + MAX_STARTS:
                await self._bury(job, None, told, clock)
                return
            # Its attempts count as used up, so that only what is to follow is tried again.
            used_up = max(failures, retry.attempts)
            await self._put_back(job, clock, failures=used_up, delay=retry.longest, error=told)

    async def _defer(self, job: Job, error: Deferred, clock: Clock) -> None:
        """Put a job back for which a line was too long: no failure, and not to be kept as one."""
        log.info("job deferred", job=job.id, function=job.function, vendor=error.vendor)
        delay = timedelta(seconds=min(error.retry_after or 0.0, LONGEST_DEFERRAL))
        await self._put_back(
            job, clock, failures=job.failures, delay=delay, error=None, deferrals=job.deferrals + 1
        )  # fmt: skip

    async def _bury(self, job: Job, function: Function | None, told: str | None, clock: Clock) -> None:
        async def bury(tx: Transaction) -> None:
            await self._queue.bury(tx, job, clock.now(), told)

        if function is None or function.on_exhausted is None:
            await self._runtime.database.mutate(bury)
        else:
            args = msgspec.convert(job.args, function.args_type)
            await self._runtime.mutate(function.on_exhausted, args, SYSTEM, clock, afterwards=bury)

    async def _put_back(
        self, job: Job, clock: Clock, *, failures: int, delay: timedelta, error: str | None, deferrals: int = 0
    ) -> None:
        due_at = clock.now() + delay

        async def put_back(tx: Transaction) -> None:
            await self._queue.put_back(
                tx, job, failures=failures, due_at=due_at, delay=delay, error=error, deferrals=deferrals
            )

        await self._runtime.database.mutate(put_back)

    async def _tick_forever(self) -> None:
        while not self._stopping.is_set():
            await self.tick()
            now = self._runtime.clock.now()
            await self._wait(60 - now.second + random.uniform(0, 0.5))  # noqa: S311

    async def tick(self) -> bool:
        """Rescue lost jobs and schedule the crons that are due; False when that was not possible now."""
        now = self._runtime.clock.now()
        try:
            await self._queue.rescue(now)
            await require_agreement(self._runtime.database.one_statement(), self._runtime.clock)
            for cron in self._timetable:
                tick = cron.latest_tick(now)
                if now - tick < OLDEST_TICK:
                    await self._queue.tick(cron, tick, NoArgs())
        except ClockWrong as error:
            log.error("crons and calls pause", why=str(error))  # noqa: TRY400 - no error of a program
            return False
        except Exception as error:  # noqa: BLE001 - the next minute is another try
            log.warning("a tick was missed", error=logs.describe(error))
            return False
        return True

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def drain(
        self, *, until: datetime | None, clock: MovableClock, progress: Callable[[], None] | None = None
    ) -> int:
        """Run every job due by `until` (or now), and the crons on the way, each at its time; how many jobs ran.

        The clock is moved to each job's time, and to `until` at the end. For tests: no queue and no waiting. What this
        worker runs beside it is waited for, and takes no further jobs meanwhile.
        """
        self._drains += 1
        self._free.clear()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_BESIDE):
                    while self._at_work:
                        await asyncio.sleep(BESIDE)
            return await self._drain(until=until, clock=clock, progress=progress)
        finally:
            self._drains -= 1
            if not self._drains:
                self._free.set()

    async def _drain(self, *, until: datetime | None, clock: MovableClock, progress: Callable[[], None] | None) -> int:
        ran = 0
        end = max(until or clock.now(), clock.now())
        while True:
            tick = min((cron.next_tick(clock.now()) for cron in self._timetable), default=None) if until else None
            if tick is not None and tick > end:
                tick = None
            taken = await self._queue.take_due(min(tick or end, end), clock.now())
            if taken is not None:
                job, due_at = taken
                clock.move_to(due_at)
                await self.run(job, clock)
                if progress is not None:
                    progress()
                ran += 1
            elif tick is not None:
                clock.move_to(tick)
                for cron in self._timetable:
                    if cron.latest_tick(tick) == tick:
                        await self._queue.tick(cron, tick, NoArgs())
            else:
                clock.move_to(end)
                return ran


async def _check_listener(manager: LaneManager) -> None:
    """Ends with an error when notifications no longer arrive: without them the queue is looked at only now and then."""
    # Not pgqueuer's own check: that may ask before it listens, and then takes itself for deaf.
    while True:
        await asyncio.sleep(LISTENER_CHECK.total_seconds())
        await manager.listener_healthy(LISTENER_CHECK)


def _told(error: Exception) -> str | None:
    # What is stored to be read: our own words; of other errors only what and where, since their text may quote people.
    if isinstance(error, UsedUp):
        return None
    return (f"{type(error).__name__}: {error}" if isinstance(error, DaysongError) else logs.describe(error))[:500]
