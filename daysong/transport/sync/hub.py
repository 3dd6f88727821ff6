"""What all sockets of a process share: limits, the clock of moments, the news of changes, and who looks after them.

Sockets have no timers of their own: every second one task visits them all, pings those that were sent nothing for a
while, and ends those that take nothing in.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from prometheus_client import Counter, Gauge

from daysong.kernel import logs
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.live import Live
from daysong.transport.callers.auth import Authenticator
from daysong.transport.callers.auth import Session as SignIn
from daysong.transport.http.functions_api import largest_body
from daysong.transport.server.held_bytes import UNSENT
from daysong.transport.sync import messages as sync_messages
from daysong.transport.sync.wire import Close, Wire

if TYPE_CHECKING:
    from daysong.transport.callers.gate import Gate

SOCKETS = Gauge("daysong_sync_sockets", "Sockets open now")
SUBSCRIPTIONS = Gauge("daysong_sync_subscriptions", "Queries subscribed to now")
RUNS = Counter("daysong_sync_query_runs_total", "Queries run for sockets")
WAKES = Counter("daysong_sync_wakes_total", "Transitions worked out because of changed rows")
TRANSITIONS = Counter("daysong_sync_transitions_total", "Transitions sent")
CLOSED = Counter("daysong_sync_closed_total", "Sockets that this server has closed, by code", ["code"])

RESTART = Close(1012, "ServerRestart")
FULL = Close(1013, "TooManySockets")
HEAVY = Close(1013, "TooManyBytes")
SLOW = Close(1013, "SlowReader")
SILENT = Close(1000, "Silent")
BROKEN = Close(1011, "InternalServerError")

# Between two looks at whether clients have read, in seconds.
ROOM = 0.05
# For how long a client may leave a message unread when there is no room left for others.
SHORT = 5.0

log = logs.get_logger("sync")


@dataclass(frozen=True)
class Limits:
    """How much a socket, and a process, may ask for; times in seconds, sizes in bytes (of text: characters).

    message    longest message of a client
    frame      longest message to a client whose library takes only so much in one piece (PyPI), and to any other
    result     largest result of one function
    queries    subscribed to on one socket
    pending    requests on one socket that are not answered yet; more are not read until some are
    backlog    what may wait to be sent before requests of that socket wait, too
    sockets    in one process
    transitions worked out at once in one process: fewer than the pool has connections, so that calls get theirs
    ping       of silence, after which a client hears from us
    silence    of a client that has not said a word
    stuck      that a client may take to take in one message
    pauses     between two runs for changed rows: the first, and the longest while changes go on, of small results
    rate       bytes of results a second that are worked out anew for changed rows: after large ones a pause is longer
    longest_pause  after the largest
    fresh      for which results are good enough for a person who only shows a new token
    """

    message: int = 16 * 2**20
    frame: tuple[int, int] = (16 * 2**20 - 65_536, 64 * 2**20)
    result: int = 16 * 2**20 - 65_536
    queries: int = 1_000
    pending: int = 100
    backlog: int = 8 * 2**20
    sockets: int = 20_000
    transitions: int = 8
    ping: float = 15.0
    silence: float = 60.0
    stuck: float = 60.0
    pauses: tuple[float, float] = (0.02, 0.1)
    rate: int = 2 * 2**20
    longest_pause: float = 2.0
    fresh: float = 30.0


class OpenSocket(Protocol):
    """What the hub uses of a connected socket; `sync/session.py` implements it."""

    wire: Wire
    address: str
    sign_in: SignIn | None


class Hub:
    """All sockets of a process. `live` and the round begin with the first of them."""

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
        self._work: set[asyncio.Task[None]] = set()
        self._round: asyncio.Task[None] | None = None
        self._closing = False

    def refusal(self) -> Close | None:
        """Why no socket can be taken now; None when one can."""
        if self._closing:
            return RESTART
        return FULL if len(self.sessions) >= self.limits.sockets else None

    def enter(self, session: OpenSocket) -> None:
        """A socket has opened."""
        self.sessions.add(session)
        SOCKETS.inc()
        self.live.open()
        if self._round is None:
            self._round = asyncio.create_task(self._look_after())

    def leave(self, session: OpenSocket) -> None:
        """A socket has ended."""
        self.sessions.discard(session)
        SOCKETS.dec()
        if session.wire.closing is not None:
            CLOSED.labels(session.wire.closing.code).inc()

    async def room(self, address: str) -> None:
        """Wait while clients at that address leave unread what they were sent."""
        while UNSENT.crowded(address) and not self._closing:
            await asyncio.sleep(ROOM)

    def shared(self, tables: frozenset[str]) -> frozenset[str]:
        """The same set for all who watch the same tables. There are as many as pages of the apps."""
        if len(self._tables) > self.limits.queries:
            self._tables.clear()
        return self._tables.setdefault(tables, tables)

    def work(self, task: asyncio.Task[None]) -> None:
        """Remember something that goes on although its socket may end."""
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def goodbye(self, within: float = 5.0) -> None:
        """Close all sockets and take no more; call it before the server stops, since then nothing can be sent."""
        self._closing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self.sessions:
                    for session in list(self.sessions):
                        session.wire.close(*RESTART)
                    await asyncio.sleep(0.01)

    async def close(self, within: float = 10.0) -> None:
        """Say goodbye, let what was begun come to its end, and stop listening."""
        await self.goodbye()
        if self._work:
            await asyncio.wait(self._work, timeout=within)
        for task in self._work:
            task.cancel()
        if self._round is not None:
            self._round.cancel()
            await asyncio.wait({self._round})
            self._round = None
        await self.live.close()

    async def _look_after(self) -> None:
        loop = asyncio.get_running_loop()
        step = min(1.0, self.limits.ping / 4, self.limits.stuck / 4, self.limits.silence / 4)
        while True:
            await asyncio.sleep(step)
            now = loop.time()
            for session in list(self.sessions):
                wire = session.wire
                if wire.sending_since is not None:
                    if now - wire.sending_since > (SHORT if UNSENT.full else self.limits.stuck):
                        wire.close(*SLOW)
                elif not wire.heard:
                    if now - wire.last_sent > self.limits.silence:
                        wire.close(*SILENT)
                elif now - wire.last_sent > self.limits.ping:
                    wire.say(sync_messages.PING)
