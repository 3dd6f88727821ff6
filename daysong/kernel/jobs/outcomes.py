"""Stores the outcome of jobs that failed: deferred, queued for a retry, or dead."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

import msgspec

from daysong.kernel import logs
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.errors import ExpectedError, VendorError
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.declarations import Retry
from daysong.kernel.functions.registry import Function
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.jobs.failures import AttemptsExhausted, KilledTooOften, UnknownFunction, deferral, text_of
from daysong.kernel.jobs.hold import OnHold
from daysong.kernel.jobs.queue import Job, Superseded
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.time.clock_check import ClockWrong

MAX_STARTS = 5
# How often, and for how many seconds at most, a job is deferred before a deferral counts as a failure.
MOST_DEFERRALS = 200
LONGEST_DEFERRAL = 900.0
# A job of a newer release is deferred for up to 15 minutes at a time, for ten days in all.
FIRST_WAIT = 15.0
MOST_WAITS = 960
# Between two looks of a job that waits for the end of a hold.
HOLD_PAUSE = timedelta(minutes=1)

log = logs.get_logger("worker")


class Outcomes:
    """The outcomes of failed jobs. `outage` returns the seconds after which to ask a vendor again; see `Worker`."""

    def __init__(self, runtime: Runtime, outage: Callable[[str], float | None]) -> None:
        self._runtime = runtime
        self._queue = runtime.queue
        self._outage = outage

    async def after_failure(self, job: Job, function: Function | None, error: Exception) -> str:
        """Store the outcome of a job that failed; return it for metrics."""
        error_text = text_of(error)
        waits = deferral(function, error, self._outage)
        if waits is not None and job.deferrals < MOST_DEFERRALS:
            # A deferral says nothing that the error before it did not.
            await self._defer(job, waits, None if waits is error else error_text)
            return "deferred"
        if isinstance(error, OnHold):
            await self._put_back(
                job, failures=job.failures, delay=HOLD_PAUSE, error=error_text, deferrals=job.deferrals
            )  # fmt: skip
            return "deferred"
        if isinstance(error, UnknownFunction | ClockWrong) and job.deferrals < MOST_WAITS:
            log.warning("job deferred", job=job.id, function=job.function, why=str(error))
            wait = timedelta(seconds=min(FIRST_WAIT * 2 ** min(job.deferrals, 10), LONGEST_DEFERRAL))
            await self._put_back(
                job, failures=job.failures, delay=wait, error=error_text, deferrals=job.deferrals + 1
            )  # fmt: skip
            return "deferred"
        final = isinstance(error, ExpectedError | KilledTooOften | AttemptsExhausted | UnknownFunction) or (
            isinstance(error, VendorError) and error.permanent
        )
        retry = function.retry if function else Retry()
        retry_after = error.retry_after if isinstance(error, VendorError) else None
        failures = job.failures + 1
        delay = None if final else retry.delay(failures, retry_after=retry_after, jitter=random.random())  # noqa: S311
        if delay is not None:
            log.warning("job failed, retry scheduled", job=job.id, function=job.function, error=logs.describe(error))
            await self._put_back(job, failures=failures, delay=delay, error=error_text)
            return "retried"
        try:
            await self._mark_dead(job, function, error_text)
            log.error("job dead", job=job.id, function=job.function, error=logs.describe(error))
        except Superseded:
            raise
        except Exception as another:  # noqa: BLE001 - a failing on_exhausted must end too
            log.error("on_exhausted failed", job=job.id, error=logs.describe(another))  # noqa: TRY400
            if failures >= retry.attempts + MAX_STARTS:
                await self._mark_dead(job, None, error_text)
                return "dead"
            # Its attempts stay exhausted, so that only `on_exhausted` is retried.
            used_up = max(failures, retry.attempts)
            await self._put_back(job, failures=used_up, delay=retry.longest, error=error_text)
            return "retried"
        return "dead"

    async def _defer(self, job: Job, error: Deferred, error_text: str | None = None) -> None:
        """Reschedule a job that a vendor could not serve now, without counting a failure."""
        log.info("job deferred", job=job.id, function=job.function, vendor=error.vendor)
        delay = timedelta(seconds=min(error.retry_after or 0.0, LONGEST_DEFERRAL))
        await self._put_back(
            job, failures=job.failures, delay=delay, error=error_text, deferrals=job.deferrals + 1
        )  # fmt: skip

    async def _mark_dead(self, job: Job, function: Function | None, error_text: str | None) -> None:
        async def mark_dead(tx: Transaction) -> None:
            await self._queue.mark_dead(tx, job, self._runtime.clock.now(), error_text)

        if function is None or function.on_exhausted is None:
            await self._runtime.database.mutate(mark_dead)
        else:
            args = msgspec.convert(job.args, function.args_type)
            await self._runtime.mutate(function.on_exhausted, args, SYSTEM, afterwards=mark_dead)

    async def _put_back(
        self, job: Job, *, failures: int, delay: timedelta, error: str | None, deferrals: int = 0
    ) -> None:
        due_at = self._runtime.clock.now() + delay

        async def put_back(tx: Transaction) -> None:
            await self._queue.put_back(
                tx, job, failures=failures, due_at=due_at, delay=delay, error=error, deferrals=deferrals
            )

        await self._runtime.database.mutate(put_back)
