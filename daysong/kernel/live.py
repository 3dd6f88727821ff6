"""Notifications of changed rows: one connection of this process listens, and wakes the watchers of changed rows.

Triggers (migrations/0001_schema.sql) notify the table and the owner of changed rows when the change commits. Watchers
are indexed by owner, so that the cost of a notification does not depend on their number. After a reconnect all watchers
are woken, since notifications may have been missed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

import asyncpg
from prometheus_client import Counter

from daysong.kernel import logs
from daysong.kernel.database import connections
from daysong.kernel.errors import DatabaseUnavailable

CHANNEL = "daysong_live"
EVERYTHING = "*"
ANY_OWNER = "*"

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
# Seconds between pings of the listening connection, which detect a dead one, and in which it must answer.
PING_TIMEOUT = 3.0

NOTIFIED = Counter("daysong_live_notifications_total", "Notifications of changed rows that reached this process")
LOST = Counter("daysong_live_connections_lost_total", "How often the listening connection was lost")

log = logs.get_logger("live")


class Watcher(Protocol):
    """Is woken when rows of an owner change in one of `tables`."""

    tables: frozenset[str]

    def touched(self) -> None: ...


class Live:
    """The notifications of one database. Connects when opened."""

    def __init__(self, url: str, *, lost: Callable[[], Awaitable[None]] | None = None) -> None:
        """`lost` is called when the connection is lost, since others to the same server may be dead too."""
        self._url = url
        self._lost = lost
        self._watchers: dict[str, set[Watcher]] = {}
        self._listening: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Start listening, if not started. All watchers are woken once it is connected."""
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop listening."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.cancel()
            await asyncio.wait({listening})

    def watch(self, watcher: Watcher, owner: str) -> None:
        """Wake `watcher` for rows of `owner`, or of any owner with ANY_OWNER."""
        self._watchers.setdefault(owner, set()).add(watcher)

    def forget(self, watcher: Watcher, owner: str) -> None:
        """Stop waking `watcher` for rows of `owner`."""
        watchers = self._watchers.get(owner)
        if watchers is not None:
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[owner]

    def touch(self, table: str, owner: str) -> None:
        """Wake the watchers of rows of `owner` in `table`."""
        for key in (owner, ANY_OWNER):
            for watcher in self._watchers.get(key, ()):
                if table in watcher.tables:
                    watcher.touched()

    def touch_everything(self) -> None:
        """Wake all watchers."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.touched()

    def _on_notification(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        NOTIFIED.inc()
        table, _, owner = payload.partition(" ")
        if table == EVERYTHING:
            self.touch_everything()
        else:
            self.touch(table, owner)

    async def _listen(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                connection = await connections.connect(self._url, name="daysong live")
                try:
                    # The server may fall silent just then, and nothing else would end the wait.
                    async with asyncio.timeout(PING_TIMEOUT):
                        await connection.add_listener(CHANNEL, self._on_notification)
                    self.touch_everything()
                    pause = FIRST_PAUSE
                    await self._until_lost(connection)
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DatabaseUnavailable) as error:
                log.warning("cannot listen to the database", error=logs.describe(error))
            LOST.inc()
            if self._lost is not None:
                await self._lost()
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _until_lost(self, connection: asyncpg.Connection) -> None:
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        if connection.is_closed():
            return
        while not lost.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(lost.wait(), PING_TIMEOUT)
                log.warning("listening connection lost")
                return
            await connection.fetchval("select 1", timeout=PING_TIMEOUT)
