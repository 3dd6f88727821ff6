"""Saying goodbye to sockets before a server process stops: once Granian stops, nothing can be sent any more."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from granian import _signals

Goodbye = Callable[[], Awaitable[None]]


def before_stopping(goodbye: Goodbye) -> None:
    """Have `goodbye` come to its end before a signal stops this process of Granian's; a second signal stops it at once.

    Called before Granian looks after its signals, for which it has one function and no hook.
    """
    usual: Callable[[asyncio.AbstractEventLoop], Any] = _signals.set_loop_signals

    def look_after_signals(loop: asyncio.AbstractEventLoop) -> Any:
        stop = usual(loop)
        farewell = _Farewell(loop, goodbye, stop.set)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, farewell)
        return stop

    _signals.set_loop_signals = look_after_signals


class _Farewell:
    """What a signal does here: says goodbye, and then stops the server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, goodbye: Goodbye, stop: Callable[[], None]) -> None:
        self._loop = loop
        self._goodbye = goodbye
        self._stop = stop
        self._going: asyncio.Task[None] | None = None

    def __call__(self) -> None:
        if self._going is None:
            self._going = self._loop.create_task(self._go())
        else:
            self._stop()

    async def _go(self) -> None:
        try:
            await self._goodbye()
        finally:
            self._stop()
