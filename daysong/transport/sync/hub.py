"""The state shared by all sync sockets of a process: limits, timestamps, notifications, pings and timeouts.

Sockets have no timers of their own: one task checks all of them every second, pings idle ones, and closes those that
do not read.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from prometheus_client import Counter, Gauge

from daysong.kernel import logs
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.live import Live
from daysong.transport.callers.auth import Authenticator, SignIn
from daysong.transport.http.functions_api import largest_body
from daysong.transport.server.held_bytes import UNSENT
from daysong.transport.sync import messages as sync_messages
from daysong.transport.sync.wire import Close, Wire

if TYPE_CHECKING:
    from daysong.transport.callers.gate import Gate

SOCKETS = Gauge("daysong_sync_sockets", "Open sync sockets")
SUBSCRIPTIONS = Gauge("daysong_sync_subscriptions", "Subscribed queries")
RUNS = Counter("daysong_sync_query_runs_total", "Runs of subscribed queries")
WAKES = Counter("daysong_sync_wakes_total", "Transitions caused by changed rows")
TRANSITIONS = Counter("daysong_sync_transitions_total", "Transitions sent")
CLOSED = Counter("daysong_sync_closed_total", "Sockets closed by this server, by close code", ["code"])

RESTART = Close(1012, "ServerRestart")
TOO_MANY_SOCKETS = Close(1013, "TooManySockets")
TOO_MANY_BYTES = Close(1013, "TooManyBytes")
SLOW_READER = Close(1013, "SlowReader")
SILENT = Close(1000, "Silent")
INTERNAL_ERROR = Close(1011, "InternalServerError")

# Seconds between two checks whether clients have read.
ROOM_INTERVAL = 0.05
# Seconds that a client may leave a message unread while the budget of unsent bytes is used up.
SEND_TIMEOUT_WHEN_FULL = 5.0

log = logs.get_logger("sync")


@dataclass(frozen=True)
class Limits:
    """Limits of one socket and of one process; times in seconds, sizes in bytes (text: characters).

    message        largest message from a client
    frame          largest message to a client: with the Python library from PyPI, which limits frames, and with others
    result         largest result of one function
    queries        subscriptions of one socket
    pending        requests of one socket without a response; no more are read until one is answered
    backlog        unsent bytes of one socket from which its requests wait
    sockets        sockets of one process
    transitions    concurrent Transitions of one process; fewer than the pool has connections, so that calls get some
    ping_interval  idle time after which the server sends a ping
    idle_timeout   time in which a client must send its first message
    send_timeout   time in which a client must receive one message
    pauses         between two runs for changed rows, of small results: the first, and the longest as changes continue
    rate           bytes of results per second that are computed again for changed rows: large results pause longer
    longest_pause  upper bound of the pause after large results
    fresh          age up to which results that depend on the time need no new run for a new token of the same person
    """

    message: int = 16 * 2**20
    frame: tuple[int, int] = (16 * 2**20 - 65_536, 64 * 2**20)
    result: int = 16 * 2**20 - 65_536
    queries: int = 1_000
    pending: int = 100
    backlog: int = 8 * 2**20
    sockets: int = 20_000
    transitions: int = 8
    ping_interval: float = 15.0
    idle_timeout: float = 60.0
    send_timeout: float = 60.0
    pauses: tuple[float, float] = (0.02, 0.1)
    rate: int = 2 * 2**20
    longest_pause: float = 2.0
    fresh: float = 30.0


class OpenSocket(Protocol):
    """The part of a connection that the hub uses; `sync/session.py` implements it."""

    wire: Wire
    address: str
    sign_in: SignIn | None

    def check_time(self, now: datetime) -> None: ...


class Hub:
    """All sync sockets of a process. Notifications and checks start with the first socket."""

    def __init__(
        self,
        runtime: Runtime,
        authenticator: Authenticator,
        live: Live,
        limits: Limits | None = None,
        gate: Gate | None = None,
    ) -> None:
        limits = limits or Limits()
        self.runtime = runtime
        self.authenticator = authenticator
        self.live = live
        self.timestamps = runtime.timestamps
        self.limits = limits
        self.gate = gate
        self.largest_message = min(limits.message, largest_body(runtime.registry))
        self.slots = asyncio.Semaphore(limits.transitions)
        self.sessions: set[OpenSocket] = set()
        self._tables: dict[frozenset[str], frozenset[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._checker: asyncio.Task[None] | None = None
        self._closing = False

    def refusal(self) -> Close | None:
        """Return the close frame for a new socket; None when it is accepted."""
        if self._closing:
            return RESTART
        return TOO_MANY_SOCKETS if len(self.sessions) >= self.limits.sockets else None

    def add(self, session: OpenSocket) -> None:
        """Add an open socket."""
        self.sessions.add(session)
        SOCKETS.inc()
        self.live.open()
        if self._checker is None:
            self._checker = asyncio.create_task(self._check_sockets())

    def remove(self, session: OpenSocket) -> None:
        """Remove a socket that has ended."""
        self.sessions.discard(session)
        SOCKETS.dec()
        if session.wire.closing is not None:
            CLOSED.labels(session.wire.closing.code).inc()

    async def wait_for_room(self, address: str) -> None:
        """Wait while clients at that address have too many unread bytes."""
        while UNSENT.crowded(address) and not self._closing:
            await asyncio.sleep(ROOM_INTERVAL)

    def interned(self, tables: frozenset[str]) -> frozenset[str]:
        """Return one shared set for all sessions that watch these tables, to save memory."""
        if len(self._tables) > self.limits.queries:
            self._tables.clear()
        return self._tables.setdefault(tables, tables)

    def track(self, task: asyncio.Task[None]) -> None:
        """Keep a task running when its socket ends."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close_sockets(self, within: float = 5.0) -> None:
        """Close all sockets and accept no more. Call it before the server stops, while messages can still be sent."""
        self._closing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self.sessions:
                    for session in list(self.sessions):
                        session.wire.close(*RESTART)
                    await asyncio.sleep(0.01)

    async def close(self, within: float = 10.0) -> None:
        """Close all sockets, wait for running requests, and stop listening for notifications."""
        await self.close_sockets()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within)
        for task in self._tasks:
            task.cancel()
        if self._checker is not None:
            self._checker.cancel()
            await asyncio.wait({self._checker})
            self._checker = None
        await self.live.close()

    async def _check_sockets(self) -> None:
        loop = asyncio.get_running_loop()
        limits = self.limits
        step = min(1.0, limits.ping_interval / 4, limits.send_timeout / 4, limits.idle_timeout / 4)
        while True:
            await asyncio.sleep(step)
            now, moment = loop.time(), self.runtime.clock.now()
            for session in list(self.sessions):
                session.check_time(moment)
                wire = session.wire
                if wire.sending_since is not None:
                    if now - wire.sending_since > (SEND_TIMEOUT_WHEN_FULL if UNSENT.full else limits.send_timeout):
                        wire.close(*SLOW_READER)
                elif not wire.has_received:
                    if now - wire.last_sent > limits.idle_timeout:
                        wire.close(*SILENT)
                elif now - wire.last_sent > limits.ping_interval:
                    wire.send(sync_messages.PING)
