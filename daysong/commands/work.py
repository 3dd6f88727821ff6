"""`daysong work`: runs jobs and crons until a signal says to stop."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress

import asyncpg

from daysong import app as composition
from daysong.commands import environment
from daysong.kernel import logs
from daysong.kernel.database.transactions import LOST
from daysong.kernel.errors import DatabaseMisconfigured, DatabaseUnavailable
from daysong.kernel.settings import Settings

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between two looks for a database that is away

log = logs.get_logger("process")


async def work(configured: Settings) -> None:
    """Work with these settings, from when the database can be reached."""
    stop = environment.until_asked_to_stop()
    app = composition.build(configured)
    if not await _opened(app, configured, stop):
        return
    app.report()
    # As in the server: collections then scan only what jobs have made.
    gc.collect()
    gc.freeze()
    working = asyncio.create_task(app.worker.run_forever(configured.listen_url))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await app.worker.stop()
        await working
    finally:
        stopping.cancel()
        await app.close()


async def _opened(app: composition.App, configured: Settings, stop: asyncio.Event) -> bool:
    """Wait for the database, which may come up later than we do; False when asked to stop meanwhile."""
    pause = FIRST_PAUSE
    while not stop.is_set():
        try:
            await environment.check_migrated(configured)
            await app.open()
        except DatabaseMisconfigured:
            raise
        except (DatabaseUnavailable, *LOST, OSError, asyncpg.TooManyConnectionsError) as error:
            log.warning("waiting for the database", error=logs.describe(error), pause=pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        else:
            return True
    return False
