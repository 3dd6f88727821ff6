"""`daysong serve`: one process that serves, or one that looks after several.

Several processes share a port, and the kernel deals out the connections. The supervisor builds the app once and forks
them, so that they start at once and share the memory of what was built; it opens no connection and starts no thread,
which a fork would break. One that dies is followed by another. Each holds the reading end of a pipe whose other end
only the supervisor has: when that is gone, however it went, they stop by themselves.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import NoReturn, cast

import msgspec
import uvloop
from litestar.types import ASGIApp

from daysong import app as composition
from daysong.commands import checks, signals
from daysong.kernel import garbage, logs
from daysong.kernel.errors import DaysongError
from daysong.kernel.monitoring import trace_export
from daysong.kernel.settings import Settings
from daysong.transport.metrics.processes import Processes
from daysong.transport.server.server import Server, listen

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
    with listen(*where, shared=True) as held:
        _Supervisor(where, configured, processes, drain).run(held)


async def _serve(listener: socket.socket, configured: Settings, *, drain: float, played_at: str | None) -> None:
    async with AsyncExitStack() as stack:
        mounts = {}
        if played_at is not None:
            from daysong.commands import staging  # noqa: PLC0415 - needs the extra `dev`

            played = await stack.enter_async_context(staging.playing(played_at, configured.data_dir))
            mounts["/sandbox"] = cast("ASGIApp", played.asgi)
        await _serve_app(composition.build(configured, mounts=mounts), listener, None, drain)


async def _serve_app(app: composition.App, listener: socket.socket, parent: int | None, drain: float) -> None:
    app.checks = checks.of(app.settings)
    server = Server(app.asgi, lifespan=True, close_sockets=app.hub.close_sockets, message=app.hub.largest_message)
    garbage.settle()
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
    # Here, since forked processes do not have the threads of the first.
    with trace_export.exporting(os.environ):
        await server.serve(sockets=[listener])


class _Supervisor:
    """Forks the processes that serve, and replaces those that die, until a signal says to stop."""

    def __init__(self, where: tuple[str, int], configured: Settings, count: int, drain: float) -> None:
        self._where = where
        self._drain = drain
        # Where they answer each other for metrics.
        self._folder = tempfile.TemporaryDirectory(prefix="daysong-")
        self._processes = Processes(Path(self._folder.name), 0, count)
        # However many processes there are, together they have the connections of one.
        connections = max(LEAST_CONNECTIONS, configured.database_pool // count)
        configured = msgspec.structs.replace(configured, database_pool=connections)
        self._app = composition.build(configured, processes=self._processes)
        self._stops = signals.stops()
        self._pipe, self._held = os.pipe()
        # By process id, the number of each; and when those that do not run are started.
        self._running: dict[int, int] = {}
        self._due = dict.fromkeys(range(count), 0.0)
        self._stopping = False

    def run(self, held: socket.socket) -> None:
        """Supervise until all have stopped; a second signal stops them at once. `held` reserves the port."""
        woken, wake = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wake, False)
        # The number of each signal arrives in the pipe; without a handler there would be none.
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for each in (*self._stops, signal.SIGCHLD):
            signal.signal(each, _ignore)
        inherited = (woken, wake, self._held, held.fileno())
        garbage.settle()
        deadline = float("inf")
        while self._running or not self._stopping:
            now = time.monotonic()
            if now >= deadline:
                self._tell(signal.SIGKILL)
                deadline = float("inf")
            for number in [] if self._stopping else [number for number, due in self._due.items() if due <= now]:
                self._start(number, inherited)
            until = deadline if self._stopping else min(self._due.values(), default=deadline)
            select.select([woken], [], [], None if until == float("inf") else max(0.0, until - now))
            with suppress(BlockingIOError):
                for number in os.read(woken, select.PIPE_BUF):
                    if number in self._stops:
                        self._stop()
                        deadline = min(deadline, time.monotonic() + WITHIN + self._drain)
            self._reap()
        self._folder.cleanup()

    def _start(self, number: int, inherited: tuple[int, ...]) -> None:
        sys.stdout.flush()
        # A signal must not meet the supervisor's handlers in the new process, which would lose it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._stops)
        pid = os.fork()
        if pid == 0:
            self._serve(number, inherited, before)
        del self._due[number]
        self._running[pid] = number
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _serve(self, number: int, inherited: tuple[int, ...], mask: set[int]) -> NoReturn:
        """Serve in a forked process, which ends here: what the supervisor was about to do is not for it."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for each in (*self._stops, signal.SIGCHLD):
                signal.signal(each, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for descriptor in inherited:
                os.close(descriptor)
            self._processes.number = number
            host, port = self._where
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve_one(listen(host, port, shared=True)))
            code = 0
        except BaseException as error:  # noqa: BLE001 - nothing may run further up
            log.error("a server process failed", error=logs.describe(error))  # noqa: TRY400 - its text may be private
        finally:
            logs.flush()
            os._exit(code)

    async def _serve_one(self, listener: socket.socket) -> None:
        async with self._processes.listening():
            await _serve_app(self._app, listener, self._pipe, self._drain)

    def _stop(self) -> None:
        self._tell(signal.SIGKILL if self._stopping else signal.SIGTERM)
        self._stopping = True

    def _tell(self, number: signal.Signals) -> None:
        for pid in self._running:
            # One that has ended is a zombie until it is reaped, and its id is not given to another.
            os.kill(pid, number)

    def _reap(self) -> None:
        for pid in list(self._running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            number = self._running.pop(pid)
            self._due[number] = time.monotonic() + PAUSE
            if not self._stopping:
                log.warning("a server process ended", code=os.waitstatus_to_exitcode(status))


def _ignore(*_: object) -> None:
    """Handle a signal of the supervisor, which reads its number from a pipe."""
