"""One socket: what goes out waits in line, and what comes in is read no faster than it is worked off.

A task that wants it closed sets `end`, and the receiving task closes it once all was sent. What the client sends
after that is read and dropped (`server/socket_connection.py`), so that the last messages arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from litestar.types import Receive, Send

from daysong.transport.server.held_bytes import UNSENT, Hold

# How long a client has to take in the last words said to it.
LAST_WORDS = 5.0
CLOSING = 2.0


class Close(NamedTuple):
    """How a socket ends: the close code and reason."""

    code: int
    reason: str


class TooLarge(NamedTuple):
    """A message of the client's that was too large to be kept: its beginning."""

    head: bytes


# No close frame is sent.
GONE = Close(1006, "Gone")


class Wire:
    """The sending side of a socket, and its end.

    on_idle  called whenever all that was said has been handed over
    waiting  bytes that are said and not handed over yet
    """

    __slots__ = (
        "_changes", "_hold", "_listener", "_outbox", "_send", "_sender", "closing", "ended", "heard", "last_sent",
        "on_idle", "sending_since", "waiting",
    )  # fmt: skip

    def __init__(self, send: Send, on_idle: Callable[[], None], address: str = "") -> None:
        self._send = send
        self._outbox: list[str] = []
        self._sender: asyncio.Task[None] | None = None
        self._listener = asyncio.current_task()
        self._changes: list[asyncio.Future[None]] = []
        self.on_idle = on_idle
        self.waiting = 0
        self._hold = Hold(UNSENT, address)
        self.closing: Close | None = None
        self.ended = False
        self.heard = False
        self.last_sent = asyncio.get_running_loop().time()
        self.sending_since: float | None = None

    @property
    def idle(self) -> bool:
        """Whether all that was said has been handed over."""
        return self._sender is None

    def say(self, text: str) -> None:
        """Send `text` after all that was said before. Nothing happens on a socket that ends or has ended."""
        if self.ended or self.closing:
            return
        self._outbox.append(text)
        self.waiting += len(text)
        self._hold.set(self.waiting)
        if self._sender is None:
            self._sender = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._outbox:
                text = self._outbox.pop(0)
                self.sending_since = loop.time()
                message: Any = {"type": "websocket.send", "text": text}
                await self._send(message)
                self.waiting -= len(text)
                self._hold.set(self.waiting)
                self.last_sent = loop.time()
                self.changed()
        except Exception:  # noqa: BLE001 - however the server says that the client is gone
            self._outbox.clear()
            self.close(*GONE)
            self.ended = True
            self.changed()
        finally:
            self._sender = self.sending_since = None
            self._hold.set(0)
        if not self.ended:
            self.on_idle()

    async def listen(self, receive: Receive, ready: Callable[[], bool]) -> str | TooLarge | None:
        """The client's next words, asked for once it is `ready`; None when it has gone. Binary words are empty ones."""
        await self.until(ready)
        while not self.ended:
            message: Any = await receive()
            if message["type"] == "websocket.receive":
                self.heard = True
                if "too_large" in message:
                    return TooLarge(message["too_large"])
                return message.get("text") or ""
            if message["type"] == "websocket.disconnect":
                break
        return None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, looked at whenever something has `changed`; not longer than the socket lasts."""
        while not (condition() or self.ended):
            change = asyncio.get_running_loop().create_future()
            self._changes.append(change)
            await change

    def changed(self) -> None:
        """Have those who wait look again."""
        changes, self._changes = self._changes, []
        for change in changes:
            if not change.done():
                change.set_result(None)

    def close(self, code: int, reason: str) -> None:
        """End the socket, once what was said has been taken in. May be said by anybody, and more than once."""
        if self.closing is None and not self.ended:
            self.closing = Close(code, reason)
            if self._listener is not None and self._listener is not asyncio.current_task():
                self._listener.cancel()

    async def hang_up(self) -> None:
        """Say the last words and close; called by the task that listened."""
        if self._sender is not None and self.closing is not None and not self.ended:
            await asyncio.wait({self._sender}, timeout=0 if self.sending_too_long else LAST_WORDS)
        gone, self.ended = self.ended, True
        self.changed()
        if self._sender is not None:
            self._sender.cancel()
        if self.closing is not None and not gone:
            code, reason = self.closing
            with suppress(Exception):
                closing: Any = {"type": "websocket.close", "code": code, "reason": reason}
                await asyncio.wait_for(self._send(closing), CLOSING)

    @property
    def sending_too_long(self) -> bool:
        """Whether the client has not taken in a message for as long as last words may take."""
        now = asyncio.get_running_loop().time()
        return self.sending_since is not None and now - self.sending_since > LAST_WORDS
