"""What each worker does every minute: schedule the crons that are due, and run what needs no job."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from daysong.kernel import logs
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.declarations import Handler, NoArgs
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.jobs import metrics
from daysong.kernel.jobs.hold import Holding
from daysong.kernel.jobs.queue import Cron
from daysong.kernel.time.clock_check import ClockWrong, require_agreement

# Older ticks are not caught up on, since the job row that shows whether they ran may be purged.
OLDEST_TICK = timedelta(days=7)

log = logs.get_logger("worker")


class Ticker:
    """Schedules the crons of a timetable. Any number of workers may do so for one database."""

    def __init__(
        self, runtime: Runtime, timetable: Sequence[Cron], holding: Holding, each_minute: Sequence[Handler] = ()
    ) -> None:
        """Every worker runs the actions of `each_minute`, also on hold, and at the same time as others."""
        self._runtime = runtime
        self._timetable = timetable
        self._holding = holding
        self._each_minute = each_minute

    async def tick(self) -> bool:
        """Requeue lost jobs and schedule the crons that are due; False when that failed."""
        now = self._runtime.clock.now()
        queue, database = self._runtime.queue, self._runtime.database
        try:
            await queue.rescue(now)
            is_held = await self._holding.refresh()
            await require_agreement(database.one_statement(), self._runtime.clock)
            for cron in self._timetable:
                tick = cron.latest_tick(now)
                if now - tick < OLDEST_TICK and not (is_held and cron.handler not in self._holding.exempt):
                    await queue.tick(cron, tick, NoArgs())
        except ClockWrong as error:
            log.error("crons and calls paused", why=str(error))  # noqa: TRY400 - a traceback says nothing more
            return False
        except Exception as error:  # noqa: BLE001 - retried in the next minute
            log.warning("tick failed", error=logs.describe(error))
            return False
        metrics.TICKED.set(now.timestamp())
        return True

    async def run_each_minute(self) -> None:
        """Run what is due every minute without a job; what fails is run again in the next one."""
        for handler in self._each_minute:
            try:
                await self._runtime.call(self._runtime.registry.of(handler), NoArgs(), SYSTEM)
            except Exception as error:  # noqa: BLE001 - tried again in the next minute
                log.warning("not done in this minute", function=handler.__name__, error=logs.describe(error))
