"""Aborts connections of clients that do not read: after a timeout, and sooner when memory is short."""

from __future__ import annotations

import asyncio

from daysong.transport.server.held_bytes import UNSENT

CHECK_INTERVAL = 2.0  # seconds
# Seconds without a byte written. When the budget or the address's share is used up, one interval is enough.
STALL_TIMEOUT = 30.0


class StallTimeout:
    """Watches a connection while writing is paused, or to its end, and aborts it when the client reads nothing."""

    __slots__ = ("_address", "_left", "_loop", "_since", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, address: str) -> None:
        self._transport = transport
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._left = 0
        self._since = 0.0

    def begin(self) -> None:
        """Start watching: writing is paused."""
        self._left = self._transport.get_write_buffer_size()
        self._since = self._loop.time()
        self._schedule()

    def end(self) -> None:
        """Stop watching: writing is resumed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self.end()
        self._timer = self._loop.call_later(CHECK_INTERVAL, self._check)

    def _check(self) -> None:
        self._timer = None
        left, now = self._transport.get_write_buffer_size(), self._loop.time()
        if not left:
            return
        if left < self._left:
            self._left, self._since = left, now
        elif UNSENT.crowded(self._address) or now - self._since >= STALL_TIMEOUT:
            self._transport.abort()
            return
        self._schedule()
