"""`daysong serve`: one process that serves, or one that looks after several.

Several processes share a port, and the kernel deals out the connections. One that dies is followed by another. Each
holds the reading end of a pipe whose other end only the first process has: when that is gone, however it went, they
stop by themselves.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import Process
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import cast

import msgspec
import uvloop
from litestar.types import ASGIApp

from daysong import app as composition
from daysong.commands import checks, signals, starting
from daysong.kernel import logs
from daysong.kernel.errors import DaysongError
from daysong.kernel.settings import Settings
from daysong.transport.metrics.processes import Processes
from daysong.transport.server.server import Server, freeze_startup_objects, listen

PAUSE = 1.0  # seconds before a process that died is followed by another
LEAST_CONNECTIONS = 2
# For goodbyes, requests under way, and what was begun.
WITHIN = 40.0  # seconds

log = logs.get_logger("serve")


def serve(
    host: str, port: int, processes: int, configured: Settings, *, drain: float = 0, played_at: str | None = None
) -> None:
    """Serve until a signal says to stop. PortTaken when another program listens there.

    For `drain` seconds after the signal, /readyz answers 503 and all else goes on, so that a proxy which asks it sends
    new requests elsewhere. `played_at` is the address of a sandbox that this server has as a part, for staging.
    """
    if played_at is not None and processes > 1:
        raise DaysongError("The sandbox keeps its state in one process: use --with-sandbox without --processes.")
    listener = listen(host, port)
    where: tuple[str, int] = listener.getsockname()[:2]
    log.info("serving", host=where[0], port=where[1], processes=processes)
    if processes == 1:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(listener, configured, drain=drain, played_at=played_at))
        return
    # Only now is it known that the port was free: processes that share one do not notice each other.
    listener.close()
    with listen(*where, shared=True), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Processes(where, drain).run(processes))


async def _serve(
    listener: socket.socket,
    configured: Settings,
    parent: int | None = None,
    sharers: int = 1,
    drain: float = 0,
    played_at: str | None = None,
    processes: Processes | None = None,
) -> None:
    # However many processes there are, together they have the connections of one.
    connections = max(LEAST_CONNECTIONS, configured.database_pool // sharers)
    configured = msgspec.structs.replace(configured, database_pool=connections)
    async with AsyncExitStack() as stack:
        mounts = {}
        if played_at is not None:
            from daysong.commands import staging  # noqa: PLC0415 - needs the extra `dev`

            played = await stack.enter_async_context(staging.playing(played_at, configured.data_dir))
            mounts["/sandbox"] = cast("ASGIApp", played.asgi)
        if processes is not None:
            await stack.enter_async_context(processes.listening())
        app = composition.build(configured, mounts=mounts, processes=processes)
        await _serve_app(app, listener, parent, drain)


async def _serve_app(app: composition.App, listener: socket.socket, parent: int | None, drain: float) -> None:
    app.checks = checks.of(app.settings)
    server = Server(app.asgi, lifespan=True, close_sockets=app.hub.close_sockets, message=app.hub.largest_message)
    freeze_startup_objects()
    loop = asyncio.get_running_loop()

    def asked() -> None:
        # A signal may come twice: from a process manager that stops all, and from the first. Only that ends at once.
        if (server.should_exit or app.runtime.is_draining) and parent is None:
            server.stop_immediately()
        if not app.runtime.is_draining:
            app.runtime.is_draining = True
            loop.call_later(drain, server.stop)

    def orphaned(pipe: int) -> None:
        loop.remove_reader(pipe)
        server.stop()

    for number in signals.stops():
        loop.add_signal_handler(number, asked)
    if parent is not None:
        loop.add_reader(parent, orphaned, parent)
    await server.serve(sockets=[listener])


class _Processes:
    """The processes that serve, and who looks after them."""

    def __init__(self, where: tuple[str, int], drain: float) -> None:
        self._where = where
        self._drain = drain
        self._running: set[Process] = set()
        self._stopping = asyncio.Event()
        self._pipe, self._held = os.pipe()
        # Where they answer each other for metrics.
        self._folder = tempfile.TemporaryDirectory(prefix="daysong-")

    async def run(self, count: int) -> None:
        """Keep that many going until a signal says to stop; a second one stops them at once."""
        loop = asyncio.get_running_loop()
        for number in signals.stops():
            loop.add_signal_handler(number, self._stop)
        going = asyncio.gather(*(self._keep_one(number, count) for number in range(count)))
        await self._stopping.wait()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(going), WITHIN + self._drain)
        self._tell(signal.SIGKILL)
        await going
        self._folder.cleanup()

    def _stop(self) -> None:
        self._tell(signal.SIGKILL if self._stopping.is_set() else signal.SIGTERM)
        self._stopping.set()

    def _tell(self, number: signal.Signals) -> None:
        for process in self._running:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def _keep_one(self, number: int, count: int) -> None:
        host, port = self._where
        while not self._stopping.is_set():
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "daysong.commands.serve", host, str(port), str(self._pipe), str(count),
                str(number), self._folder.name, str(self._drain),
                pass_fds=[self._pipe],
            )  # fmt: skip
            self._running.add(process)
            if self._stopping.is_set():
                process.terminate()
            code = await process.wait()
            self._running.discard(process)
            if not self._stopping.is_set():
                log.warning("a server process ended", code=code)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), PAUSE)


def _one_of_several(host: str, port: str, parent: str, sharers: str, number: str, folder: str, drain: str) -> None:
    configured = starting.configured_for("serve", None)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        processes = Processes(Path(folder), int(number), int(sharers))
        listener = listen(host, int(port), shared=True)
        runner.run(_serve(listener, configured, int(parent), int(sharers), float(drain), processes=processes))


if __name__ == "__main__":
    _one_of_several(*sys.argv[1:])
