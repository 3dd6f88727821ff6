"""A WebSocket connection: uvicorn's, with limits for clients that do not read, respond or disconnect, or send too much.

`send` returns once almost all data is written to the kernel, which gives backpressure. A message that is too large is
dropped: the app receives its first bytes under `too_large`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from daysong.transport.server.frames import HEAD, Dropped, Frames
from daysong.transport.server.held_bytes import UNREAD, Hold
from daysong.transport.server.writing import StallTimeout

# Seconds until the connection is aborted after the app has finished: unsent data of a client that does not read would
# stay in memory.
LINGER = 15.0
# Bytes that a client may send before the handshake completes.
LARGEST_EARLY_DATA = 512 * 1024
# Seconds for the client's close frame when the server stops.
CLOSE_TIMEOUT = 1.0
# Seconds from the first byte of a message to its last; and for one that is too large, which takes no memory.
MESSAGE_TIMEOUT = 30.0
DRAIN_TIMEOUT = 300.0
# Frames parsed before other connections are served.
FRAMES_AT_ONCE = 64

TOO_LARGE = (1009, "MessageTooLarge")
TOO_SLOW = (1008, "MessageTooSlow")
TOO_MANY_BYTES = (1013, "TooManyBytes")


class Socket(WebSocketsSansIOProtocol):
    """A connection after its upgrade."""

    _linger_timer: asyncio.TimerHandle | None = None
    _message_timer: asyncio.TimerHandle | None = None
    _frames: Frames | None = None
    _hold: Hold | None = None
    _stall_timeout: StallTimeout | None = None
    # Received bytes that are not parsed yet: before the handshake completes, or while other connections are served.
    _buffer = b""
    _resume_scheduled = False
    _address = ""
    _queued_bytes = 0
    # The first bytes of a message that is dropped: from complete frames so far, and all of them at the end.
    _dropped_head = _dropped = b""

    async def run_asgi(self) -> None:
        """Run the app, then abort the connection after LINGER."""
        await super().run_asgi()
        if not self.disconnected:
            self._linger_timer = self.loop.call_later(LINGER, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release timers and buffers."""
        for timer in (self._linger_timer, self._message_timer):
            if timer is not None:
                timer.cancel()
        self._buffer = b""
        if self._stall_timeout is not None:
            self._stall_timeout.end()
        if self._hold is not None:
            self._hold.set(0)
            self._hold = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; those before the end of the handshake are buffered."""
        if not self.handshake_initiated:
            super().data_received(data)
            return
        if not self.handshake_complete:
            self._buffer += data
            if len(self._buffer) > LARGEST_EARLY_DATA:
                self.transport.abort()
            return
        if self._buffer:
            self._buffer += data
        else:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        """Pass the filtered frames to the parser, at most FRAMES_AT_ONCE."""
        if self._frames is None:
            self._frames = Frames(self.config.ws_max_size)
        frames = self._frames
        pieces, taken = frames.feed(data, FRAMES_AT_ONCE)
        for piece in pieces:
            if self.close_sent and self.transport.is_closing():
                return
            if isinstance(piece, Dropped):
                self._dropped = (self._dropped_head + b"".join(self.frames) + piece.head)[:HEAD]
                self._dropped_head, self.frames = b"", []
                super().data_received(piece.frame)
            else:
                super().data_received(piece)
        if frames.dropping and self.frames:
            self._dropped_head, self.frames = b"".join(self.frames)[:HEAD], []
        if frames.endless:
            self._refuse(*TOO_LARGE)
            return
        self._watch(frames)
        self._buffer = data[taken:]
        if self._buffer and not self._resume_scheduled:
            self._resume_scheduled = True
            self.transport.pause_reading()
            self.loop.call_soon(self._resume)

    def _resume(self) -> None:
        """Parse more of the buffered bytes."""
        self._resume_scheduled = False
        buffered, self._buffer = self._buffer, b""
        if self.disconnected or self.transport.is_closing():
            return
        if buffered:
            self._feed(buffered)
        if not self._resume_scheduled and not self.read_paused:
            self.transport.resume_reading()

    def _watch(self, frames: Frames) -> None:
        """Enforce the timeout of a message, and the budget of unread bytes."""
        if frames.started and self._message_timer is None:
            self._message_timer = self.loop.call_later(
                MESSAGE_TIMEOUT, self._check_message, frames.ended, self.loop.time()
            )
        elif not frames.started and self._message_timer is not None:
            self._message_timer.cancel()
            self._message_timer = None
        if not self._count_held():
            self._refuse(*TOO_MANY_BYTES)

    def _check_message(self, ended: int, since: float) -> None:
        self._message_timer = None
        frames = self._frames
        if self.close_sent or frames is None or not frames.started:
            return
        now = self.loop.time()
        if frames.ended != ended:
            since = now  # it is another message
        # While reading is paused a message cannot end; a dropped message has a longer timeout.
        elif not self.read_paused and not (frames.dropping and now - since < DRAIN_TIMEOUT):
            self._refuse(*TOO_SLOW)
            return
        self._message_timer = self.loop.call_later(MESSAGE_TIMEOUT, self._check_message, frames.ended, since)

    def _count_held(self) -> bool:
        """Record the bytes held for this client; False when they exceed the budget."""
        assert self._frames is not None  # noqa: S101 - only called after the handshake
        size = self._queued_bytes + self._frames.received
        if self._hold is None:
            if not size:
                return True
            self._hold = Hold(UNREAD, self._address)
        return self._hold.set(size)

    def _refuse(self, code: int, reason: str) -> None:
        """Close the connection of a client that sends too much, or too slowly."""
        if not self.close_sent and not self.transport.is_closing():
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
            self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.frames = []
        self.transport.close()

    def send_receive_event_to_app(self) -> None:
        """Queue a complete or dropped message for the app."""
        if self._dropped and not self.close_sent:
            message: Any = {"type": "websocket.receive", "text": "", "too_large": self._dropped}
            self._dropped, self.frames = b"", []
            self.queue.put_nowait(message)
            if not self.read_paused:
                self.read_paused = True
                self.transport.pause_reading()
            return
        self._queued_bytes += sum(map(len, self.frames))
        super().send_receive_event_to_app()

    async def receive(self) -> Any:
        """Return the next event."""
        event = await super().receive()
        if self.queue.empty() and self._queued_bytes:
            self._queued_bytes = 0
            self._count_held()
        if self._resume_scheduled and not self.read_paused:
            # Buffered bytes must be parsed first.
            self.transport.pause_reading()
        return event

    async def send(self, message: Any) -> None:
        """Send a message, and wait until almost all of it is written."""
        if message["type"] == "websocket.accept":
            # From the scope, where it is the client's address also behind a proxy.
            client = self.scope.get("client")
            self._address = client[0] if client else ""
        await super().send(message)
        if message["type"] == "websocket.accept":
            # Not needed after the handshake; this saves memory.
            del self.request, self.response
            early, self._buffer = self._buffer, b""
            if early and not self.disconnected:
                self._feed(early)
        if not self.writable.is_set():
            self._stall_timeout = self._stall_timeout or StallTimeout(self.transport, self._address)
            self._stall_timeout.begin()
            try:
                await self.writable.wait()
            finally:
                self._stall_timeout.end()

    def keepalive_timeout(self) -> None:
        """Close the connection without a pong, unless reading is paused: the pong may be unread."""
        if self.read_paused:
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
        else:
            self.transport.abort()

    def shutdown(self) -> None:
        """Stop the connection; a client that got a close frame may still send its own."""
        if self.close_sent:
            self.stop_keepalive()
            self.loop.call_later(CLOSE_TIMEOUT, self.transport.close)
        else:
            super().shutdown()
