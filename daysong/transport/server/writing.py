"""Clients that do not read: what is to go out to them is given up after a while, and sooner when memory is short."""

from __future__ import annotations

import asyncio

from daysong.transport.server.held_bytes import UNSENT

STEP = 2.0  # seconds
# Without a byte taken, while there is memory; when there is not, or for an address that holds its share, one step.
PATIENCE = 30.0


class Stalls:
    """Watches a connection while its writing is held up, and cuts it off when the client takes nothing."""

    __slots__ = ("_address", "_left", "_loop", "_since", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, address: str) -> None:
        self._transport = transport
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._left = 0
        self._since = 0.0

    def begin(self) -> None:
        """The client does not read for now."""
        self._left = self._transport.get_write_buffer_size()
        self._since = self._loop.time()
        self._go_on()

    def end(self) -> None:
        """It does."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        self.end()
        self._timer = self._loop.call_later(STEP, self._look)

    def _look(self) -> None:
        self._timer = None
        left, now = self._transport.get_write_buffer_size(), self._loop.time()
        if left < self._left:
            self._left, self._since = left, now
        elif UNSENT.crowded(self._address) or now - self._since >= PATIENCE:
            self._transport.abort()
            return
        self._go_on()
