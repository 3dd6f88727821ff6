"""`daysong dev`: server, worker, embedded PostgreSQL and the vendors' sandbox in one process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import httpx2
from litestar.types import ASGIApp

from daysong import app as composition
from daysong.app import App
from daysong.commands import checks, environment, staging
from daysong.kernel import logs, settings
from daysong.kernel.errors import DaysongError
from daysong.kernel.monitoring import trace_export
from daysong.transport.server.server import Server, listen

READY_WITHIN = 60.0
ANY_HOST = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with

LOCAL = frozenset({"127.0.0.1", "::1", "localhost"})

Tell = Callable[[str], None]

log = logs.get_logger("process")


class NotReady(DaysongError):
    """A part of the system did not come up."""


@asynccontextmanager
async def running(
    *, port: int, data_dir: Path, sandbox: bool, tell: Tell, environ: Mapping[str, str], host: str = environment.HOST
) -> AsyncIterator[App]:
    """A whole daysong, ready on `port`; everything is taken down again at the end."""
    listener = listen(host, port)
    origin = origin_of(host, port)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        defaults = environment.local_defaults(data_dir, origin)
        mounts: dict[str, ASGIApp] = {}
        if sandbox:
            vendors = await stack.enter_async_context(staging.playing(origin, data_dir))
            mounts["/sandbox"] = cast("ASGIApp", vendors.asgi)
            defaults |= environment.with_sandbox(vendors, environ)
        configured = settings.load({**environ, "DAYSONG_DATA_DIR": str(data_dir)}, defaults)
        if configured.production:
            raise NotReady("daysong dev is not for production; use daysong serve and daysong work.")
        tell("starting PostgreSQL" if configured.database_url is None else "connecting to PostgreSQL")
        configured = await stack.enter_async_context(environment.database(configured, migrate=True))
        app = composition.build(configured, mounts=mounts)
        app.checks = checks.of(configured)
        await app.open()
        stack.push_async_callback(app.close)
        tell("starting the server and the worker")
        stack.enter_context(trace_export.exporting(environ))
        server = Server(app.asgi, lifespan=True, close_sockets=app.hub.close_sockets, message=app.hub.largest_message)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        working = asyncio.create_task(app.worker.run_forever(configured.listen_url))

        async def take_down() -> None:
            await app.worker.stop()
            server.stop()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(serving, working, return_exceptions=True)

        stack.push_async_callback(take_down)
        await _until_ready(origin, app, serving, working)
        environment.remember_origin(data_dir, origin)
        yield app


async def _until_ready(origin: str, app: App, *parts: asyncio.Task[None]) -> None:
    ready = asyncio.create_task(_answers(origin, app))
    try:
        done, _ = await asyncio.wait({ready, *parts}, timeout=READY_WITHIN, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ready.cancel()
    if ready not in done:
        raise NotReady("daysong did not get ready; the log above says more.")
    ready.result()


async def _answers(origin: str, app: App) -> None:
    await app.worker.ready.wait()
    async with httpx2.AsyncClient(base_url=origin, trust_env=False) as http:
        while True:
            with suppress(httpx2.TransportError):
                if (await http.get("/readyz")).status_code == httpx2.codes.OK:
                    return
            await asyncio.sleep(0.05)


def origin_of(host: str, port: int) -> str:
    """Return the address of a server that listens there; of one that listens everywhere, its address on this machine.

    It is the default of SITE_URL, so other machines that are to play media need one with a name they know.
    """
    name = environment.HOST if host in ANY_HOST else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


async def dev(*, host: str, port: int, data_dir: Path, sandbox: bool) -> None:
    """Run until Ctrl-C or a kill."""
    logs.configure(readable=True)
    stop = environment.until_asked_to_stop()
    if sandbox and host not in LOCAL:
        _say(f"warning: anyone who reaches {host} can sign in as any user of the sandbox")
    async with running(port=port, data_dir=data_dir, sandbox=sandbox, tell=_say, environ=os.environ, host=host):
        _say(f"daysong ready on {origin_of(host, port)}")
        if sandbox:
            _say(f"the studio: {origin_of(host, port)}/ (sign in with one click, as alice)")
        await stop.wait()
        _say("stopping")


def _say(text: str) -> None:
    with suppress(OSError, ValueError):  # the reader may have exited; the server goes on
        print(text, flush=True)
