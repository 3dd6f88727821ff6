"""Outbound limits: requests to a vendor wait in line for its rate, which all processes share.

Each process has one line per vendor. It reserves turns in PostgreSQL, several at once while many requests wait, and
serves accounts round-robin: an account with ninety songs does not delay the others by ninety turns. A request whose
turn is more than a few seconds away raises `Deferred`; the worker reschedules its job for a moment of its own, and
returning jobs are served before new ones.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import asyncpg
from prometheus_client import Counter, Histogram

from daysong.kernel import logs
from daysong.kernel.errors import DaysongError
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.limits.rates import Rate
from daysong.kernel.limits.store import RateStore

PATIENCE = 4.0
# Seconds that turns are reserved ahead: reserved requests are sent even when the vendor asks for a pause.
AHEAD = 0.5
MOST_AT_ONCE = 50
# Seconds until a database that did not answer is asked again.
UNKNOWN_PAUSE = 5.0

WAITS = Histogram("daysong_vendor_line_seconds", "How long requests to vendors waited in line", ["vendor"])
DEFERRED = Counter("daysong_vendor_deferred_total", "Requests to vendors for which the line was too long", ["vendor"])
HOLDS = Counter("daysong_vendor_holds_total", "Pauses that vendors have asked for", ["vendor"])

log = logs.get_logger("limits")


class Turn(NamedTuple):
    """The account that vendor requests are made for (its hash, or empty), and whether its job was deferred before."""

    account: str = ""
    returning: bool = False


_NOBODY = Turn()
_turn: ContextVar[Turn] = ContextVar("turn", default=_NOBODY)


@contextmanager
def on_behalf_of(account: str, *, returning: bool = False) -> Iterator[None]:
    """Attribute vendor requests within this block to `account`."""
    token = _turn.set(Turn(account, returning))
    try:
        yield
    finally:
        _turn.reset(token)


class Line:
    """The requests of this process that wait for one vendor."""

    def __init__(self, vendor: str, rate: Rate, store: RateStore, *, patience: float = PATIENCE) -> None:
        self.vendor = vendor
        self._rate = rate
        self._store = store
        self._patience = patience
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._pump: asyncio.Task[None] | None = None
        # As last read from PostgreSQL, on the loop's clock: when the line is free, and until when deferred jobs return.
        self._free_at = self._overflow_until = 0.0
        self._held_until = 0.0

    async def wait(self) -> None:
        """Return when it is the caller's turn. Errors: Deferred when that would take too long."""
        loop = asyncio.get_running_loop()
        turn, started = _turn.get(), loop.time()
        if not turn.returning and self._overflow_until - started > self._patience:
            raise await self._deferred()
        if self._free_at - started + self._ahead_of(turn.account) * self._rate.interval > self._patience:
            raise await self._deferred()
        future = loop.create_future()
        self._waiting.setdefault(turn.account, deque()).append(future)
        if self._pump is None:
            self._pump = loop.create_task(self._run())
        try:
            await future
        finally:
            WAITS.labels(self.vendor).observe(loop.time() - started)

    async def hold(self, seconds: float) -> None:
        """Pause requests to the vendor, as it has asked, in all processes."""
        HOLDS.labels(self.vendor).inc()
        log.warning("vendor asked for a pause", vendor=self.vendor, seconds=round(seconds, 1))
        self._held_until = max(self._held_until, asyncio.get_running_loop().time() + seconds)
        self._free_at = max(self._free_at, self._held_until)
        try:
            await self._store.hold(self.vendor, seconds)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DaysongError) as error:
            log.warning("pause not noted", vendor=self.vendor, error=logs.describe(error))

    def _ahead_of(self, account: str) -> int:
        """Return how many requests of this process are served before the next one of `account`."""
        own = len(self._waiting.get(account, ()))
        return own + sum(min(len(line), own + 1) for name, line in self._waiting.items() if name != account)

    async def _run(self) -> None:
        try:
            while count := self._count():
                await self._serve(count)
        except Exception as error:  # noqa: BLE001 - waiting requests must end
            log.error("line failed", vendor=self.vendor, error=logs.describe(error))  # noqa: TRY400
            self._send_away(UNKNOWN_PAUSE)
        finally:
            self._pump = None

    def _count(self) -> int:
        for account in list(self._waiting):
            line = self._waiting[account]
            while line and line[0].done():
                line.popleft()
            if not line:
                del self._waiting[account]
        return sum(map(len, self._waiting.values()))

    async def _serve(self, waiting: int) -> None:
        """Reserve turns for some of the waiting requests, and serve them."""
        loop = asyncio.get_running_loop()
        count = max(1, min(waiting, MOST_AT_ONCE, int(AHEAD / self._rate.interval)))
        try:
            reserved = await self._store.take(self.vendor, "", self._rate, count, patience=self._patience)
            if reserved is None:
                self._free_at = loop.time() + await self._store.wait(self.vendor, "", self._rate)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DaysongError) as error:
            log.warning("turns not reserved", vendor=self.vendor, error=logs.describe(error))
            self._send_away(UNKNOWN_PAUSE)
            return
        if reserved is None:
            await self._defer_all()
            return
        now = loop.time()
        self._overflow_until = now + reserved.overflow
        self._free_at = now + reserved.wait(reserved.size - 1)
        for wait in reserved.waits:
            delay = now + wait - loop.time()
            if delay > 0:
                await asyncio.sleep(delay)
            # A pause requested from another process is visible only in the database.
            if loop.time() < self._held_until or (delay > AHEAD and await self._store.is_held(self.vendor)):
                return
            self._let_one_go()

    def _let_one_go(self) -> None:
        while self._waiting:
            account, line = self._waiting.popitem(last=False)
            while line:
                future = line.popleft()
                if not future.done():
                    if line:
                        self._waiting[account] = line
                    future.set_result(None)
                    return

    async def _defer_all(self) -> None:
        lines, self._waiting = self._waiting, OrderedDict()
        # Round-robin over accounts, so that deferred jobs return in that order too.
        while lines:
            for account in list(lines):
                future = lines[account].popleft()
                if not future.done():
                    error = await self._deferred()
                    if not future.done():
                        future.set_exception(error)
                if not lines[account]:
                    del lines[account]

    def _send_away(self, seconds: float) -> None:
        for line in self._waiting.values():
            for future in line:
                if not future.done():
                    future.set_exception(Deferred(self.vendor, seconds))
        self._waiting.clear()

    async def _deferred(self) -> Deferred:
        DEFERRED.labels(self.vendor).inc()
        seconds = UNKNOWN_PAUSE
        try:
            seconds = await self._store.overflow(self.vendor, self._rate, self._patience)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DaysongError) as error:
            log.warning("line not known", vendor=self.vendor, error=logs.describe(error))
        self._overflow_until = max(self._overflow_until, asyncio.get_running_loop().time() + seconds)
        return Deferred(self.vendor, seconds)
