"""`daysong work`: runs jobs and crons until a signal says to stop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import uvloop

from daysong import app as composition
from daysong.commands import environment
from daysong.kernel import garbage, logs
from daysong.kernel.database.transactions import LOST
from daysong.kernel.errors import DatabaseMisconfigured, DatabaseUnavailable
from daysong.kernel.monitoring import trace_export
from daysong.kernel.settings import Settings

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between two looks for a database that is away

log = logs.get_logger("process")


def run(configured: Settings, *, metrics_host: str, metrics_port: int | None) -> None:
    """Run `work` to its end, on uvloop as the server does: a job is mostly small messages to and from PostgreSQL."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(configured, metrics_host=metrics_host, metrics_port=metrics_port))


async def work(configured: Settings, *, metrics_host: str, metrics_port: int | None) -> None:
    """Work with these settings, from when the database can be reached.

    With a port for metrics, /metrics, /healthz and /readyz are answered there from the beginning.
    """
    stop = environment.until_asked_to_stop()
    app = composition.build(configured)
    # The database may be away for long.
    garbage.settle()
    with trace_export.exporting(os.environ):
        async with _metrics(app, metrics_host, metrics_port):
            if await _opened(app, configured, stop):
                await _work(app, configured, stop)


@asynccontextmanager
async def _metrics(app: composition.App, host: str, port: int | None) -> AsyncIterator[None]:
    if port is None:
        yield
        return
    # Imported here, so that a worker without the port does not load a server.
    from daysong.transport.server.server import Server, listen  # noqa: PLC0415

    listener = listen(host, port)
    log.info("metrics", host=host, port=listener.getsockname()[1])
    server = Server(app.worker_asgi(), lifespan=False, close_sockets=_no_sockets)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.stop()
        await asyncio.wait({serving})


async def _no_sockets() -> None:
    return


async def _work(app: composition.App, configured: Settings, stop: asyncio.Event) -> None:
    app.report()
    garbage.settle()
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
