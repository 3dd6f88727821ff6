"""Runs jobs and crons: a loop over pgqueuer in production, a drain with a moved clock in tests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import asyncpg
import msgspec
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.models import Job as QueueRow

from daysong.kernel import logs
from daysong.kernel.clock import Clock, MovableClock
from daysong.kernel.context import SYSTEM
from daysong.kernel.database import Transaction
from daysong.kernel.errors import DaysongError, ExpectedError, VendorError
from daysong.kernel.jobs import ENTRYPOINT, Cron, Job
from daysong.kernel.registry import Function, Kind, NoArgs, Retry
from daysong.kernel.runtime import Runtime

MAX_STARTS = 5
HEARTBEAT = timedelta(seconds=30)
GRACE = timedelta(seconds=20)
LONGEST_RESTART_PAUSE = 30.0

log = logs.get_logger("worker")


class KilledTooOften(DaysongError):
    """The job's worker died several times in a row while it ran."""


class Worker:
    """Runs the jobs of an app, and its crons. Any number of workers may share one database."""

    def __init__(self, runtime: Runtime, timetable: Sequence[Cron], *, heartbeat: timedelta = HEARTBEAT) -> None:
        self._runtime = runtime
        self._queue = runtime.queue
        self._timetable = timetable
        self._heartbeat = heartbeat
        self._manager: QueueManager | None = None
        self._stopping = asyncio.Event()
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
                except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DaysongError, RuntimeError) as error:
                    # A worker that ran well for a while starts its pauses anew.
                    ran = asyncio.get_running_loop().time() - started
                    failures = 1 if ran > LONGEST_RESTART_PAUSE else failures + 1
                    pause = min(LONGEST_RESTART_PAUSE, 0.5 * 2**failures) * random.uniform(0.5, 1)  # noqa: S311
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
        async with asyncpg.create_pool(database_url, min_size=2, max_size=4) as pool:
            manager = QueueManager(Queries.from_asyncpg_pool(pool))
            manager.entrypoint(ENTRYPOINT, on_failure="hold")(self._on_queue_row)
            self._manager = manager
            running = asyncio.create_task(
                manager.run(heartbeat_timeout=self._heartbeat, dequeue_timeout=self._heartbeat / 2)
            )
            self.ready.set()
            stopping = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
                manager.shutdown.set()
                await asyncio.wait_for(running, GRACE.total_seconds())
            except TimeoutError:
                log.warning("jobs still running were left for another worker")
            finally:
                stopping.cancel()
                self._manager = None

    async def _on_queue_row(self, row: QueueRow) -> None:
        job = await self._queue.claim((row.payload or b"").decode(), self._runtime.clock.now())
        if job is not None:
            await self.run(job, self._runtime.clock)

    async def run(self, job: Job, clock: Clock) -> None:
        """Run a claimed job and settle it: done, to be tried again, or dead."""
        with logs.request_scope(job.request_id or logs.new_request_id()):
            function = self._runtime.registry.named(job.function)
            if function is None:
                # Another version's job: leave it to a worker that knows it.
                await self._after_failure(job, None, DaysongError("unknown function"), clock)
                return
            try:
                await self._run(job, function, clock)
                log.info("job done", job=job.id, function=job.function)
            except Exception as error:  # noqa: BLE001 - a job's failure is an outcome, to be stored
                await self._after_failure(job, function, error, clock)

    async def _run(self, job: Job, function: Function, clock: Clock) -> None:
        if job.starts > MAX_STARTS:
            raise KilledTooOften(f"started {job.starts - 1} times without an end")
        args = msgspec.convert(job.args, function.args_type)

        async def mark_done(tx: Transaction) -> None:
            await self._queue.mark_done(tx, job, clock.now())

        if function.kind is Kind.MUTATION:
            # In one transaction with what it did: a mutation's job happens exactly once.
            await self._runtime.mutate(function.handler, args, SYSTEM, clock, afterwards=mark_done)
        else:
            await self._runtime.call(function, args, SYSTEM, clock)
            await self._runtime.database.mutate(mark_done)

    async def _after_failure(self, job: Job, function: Function | None, error: Exception, clock: Clock) -> None:
        told = f"{type(error).__name__}: {error}" if isinstance(error, DaysongError) else logs.describe(error)
        final = isinstance(error, ExpectedError | KilledTooOften) or (
            isinstance(error, VendorError) and error.permanent
        )  # fmt: skip
        retry = function.retry if function else Retry()
        retry_after = error.retry_after if isinstance(error, VendorError) else None
        delay = None if final else retry.delay(
            job.failures + 1, retry_after=retry_after, jitter=random.random()  # noqa: S311
        )  # fmt: skip
        now = clock.now()
        if delay is not None:
            log.warning("job failed, to be tried again", job=job.id, function=job.function, error=logs.describe(error))

            async def put_back(tx: Transaction) -> None:
                await self._queue.put_back(tx, job, due_at=now + delay, delay=delay, error=told[:500])

            await self._runtime.database.mutate(put_back)
            return
        log.error("job dead", job=job.id, function=job.function, error=logs.describe(error))

        async def bury(tx: Transaction) -> None:
            await self._queue.bury(tx, job, now, told[:500])

        if function is not None and function.on_exhausted is not None:
            args = msgspec.convert(job.args, function.args_type)
            await self._runtime.mutate(function.on_exhausted, args, SYSTEM, clock, afterwards=bury)
        else:
            await self._runtime.database.mutate(bury)

    async def _tick_forever(self) -> None:
        while not self._stopping.is_set():
            now = self._runtime.clock.now()
            try:
                for cron in self._timetable:
                    await self._queue.tick(cron, cron.latest_tick(now), NoArgs())
                await self._queue.rescue(now)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DaysongError) as error:
                log.warning("a tick was missed", error=logs.describe(error))
            await self._wait(60 - now.second + random.uniform(0, 0.5))  # noqa: S311

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    async def drain(
        self, *, until: datetime | None, clock: MovableClock, progress: Callable[[], None] | None = None
    ) -> int:
        """Run every job due by `until` (or now), and the crons on the way, each at its time; how many jobs ran.

        The clock is moved to each job's time, and to `until` at the end. For tests: no queue and no waiting.
        """
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
