"""One socket: a queue of outgoing messages, and incoming messages read no faster than they are processed.

`close` sets the close frame, and the receiving task sends it after the queued messages. Messages of the client after
that are read and dropped (`server/socket_connection.py`), so that the last messages arrive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from litestar.types import Receive, Send

from daysong.transport.server.held_bytes import UNSENT, Hold

# Seconds in which the client must receive the queued messages, and then the close frame.
DRAIN_TIMEOUT = 5.0
CLOSE_TIMEOUT = 2.0


class Close(NamedTuple):
    """The close code and reason of a socket."""

    code: int
    reason: str


class TooLarge(NamedTuple):
    """The first bytes of a client's message that was too large to keep."""

    head: bytes


# The client has disconnected: no close frame is sent.
GONE = Close(1006, "Gone")


class Wire:
    """The sending side of a socket, and its closing handshake.

    on_idle  called whenever all queued messages are sent
    unsent   bytes queued and not sent yet
    """

    __slots__ = (
        "_hold", "_outbox", "_receiver", "_send", "_sender", "_waiters", "closing", "ended", "has_received",
        "last_sent", "on_idle", "sending_since", "unsent",
    )  # fmt: skip

    def __init__(self, send: Send, on_idle: Callable[[], None], address: str = "") -> None:
        self._send = send
        self._outbox: list[str] = []
        self._sender: asyncio.Task[None] | None = None
        self._receiver = asyncio.current_task()
        self._waiters: list[asyncio.Future[None]] = []
        self.on_idle = on_idle
        self.unsent = 0
        self._hold = Hold(UNSENT, address)
        self.closing: Close | None = None
        self.ended = False
        self.has_received = False
        self.last_sent = asyncio.get_running_loop().time()
        self.sending_since: float | None = None

    @property
    def idle(self) -> bool:
        """Whether all queued messages are sent."""
        return self._sender is None

    def send(self, text: str) -> None:
        """Queue a message. Does nothing on a socket that is closing or closed."""
        if self.ended or self.closing:
            return
        self._outbox.append(text)
        self.unsent += len(text)
        self._hold.set(self.unsent)
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
                self.unsent -= len(text)
                self._hold.set(self.unsent)
                self.last_sent = loop.time()
                self.notify_waiters()
        except Exception:  # noqa: BLE001 - any error means that the client has disconnected
            self._outbox.clear()
            self.close(*GONE)
            self.ended = True
            self.notify_waiters()
        finally:
            self._sender = self.sending_since = None
            self._hold.set(0)
        if not self.ended:
            self.on_idle()

    async def receive(self, receive: Receive, ready: Callable[[], bool]) -> str | TooLarge | None:
        """Return the client's next message, read once `ready` holds; "" for binary, None when it has disconnected."""
        await self.wait_until(ready)
        while not self.ended:
            message: Any = await receive()
            if message["type"] == "websocket.receive":
                self.has_received = True
                if "too_large" in message:
                    return TooLarge(message["too_large"])
                return message.get("text") or ""
            if message["type"] == "websocket.disconnect":
                break
        return None

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, checked at each `notify_waiters`, or the socket has ended."""
        while not (condition() or self.ended):
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def notify_waiters(self) -> None:
        """Make `wait_until` check its condition again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def close(self, code: int, reason: str) -> None:
        """Close the socket after the queued messages are sent. Any task may call it; only the first call counts."""
        if self.closing is None and not self.ended:
            self.closing = Close(code, reason)
            if self._receiver is not None and self._receiver is not asyncio.current_task():
                self._receiver.cancel()

    async def finish(self) -> None:
        """Send the queued messages and the close frame; called by the receiving task."""
        if self._sender is not None and self.closing is not None and not self.ended:
            await asyncio.wait({self._sender}, timeout=0 if self.sending_too_long else DRAIN_TIMEOUT)
        gone, self.ended = self.ended, True
        self.notify_waiters()
        if self._sender is not None:
            self._sender.cancel()
        if self.closing is not None and not gone:
            code, reason = self.closing
            with suppress(Exception):
                closing: Any = {"type": "websocket.close", "code": code, "reason": reason}
                await asyncio.wait_for(self._send(closing), CLOSE_TIMEOUT)

    @property
    def sending_too_long(self) -> bool:
        """Whether the client has not received a message for longer than DRAIN_TIMEOUT."""
        now = asyncio.get_running_loop().time()
        return self.sending_since is not None and now - self.sending_since > DRAIN_TIMEOUT
