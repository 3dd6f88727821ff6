"""One WebSocket: uvicorn's, for clients that do not read, do not answer, do not leave, or send too much.

`send` returns once next to nothing of what was sent is left here, so the sender is no faster than the client. A
message that is too large is not kept: the app receives its beginning, under `too_large`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from daysong.transport.server.frames import HEAD, Dropped, Frames
from daysong.transport.server.held_bytes import UNREAD, Hold
from daysong.transport.server.writing import Stalls

# How long the connection may last behind its end: a client that does not read would keep what was said to it in memory.
LINGER = 15.0
# What a client may say before it is answered; in bytes.
EARLY = 512 * 1024
# When the server stops, for the client's own goodbye.
LAST_GOODBYE = 1.0
# From the first byte of a message to its last; and of one that is too large, which takes no memory.
MESSAGE_WITHIN = 30.0
DRAINED_WITHIN = 300.0
# Frames that are looked at before others have their turn.
AT_ONCE = 64

TOO_LARGE = (1009, "MessageTooLarge")
TOO_SLOW = (1008, "MessageTooSlow")
FULL = (1013, "TooManyBytes")


class Socket(WebSocketsSansIOProtocol):
    """A connection that has become a socket."""

    _last: asyncio.TimerHandle | None = None
    _slow: asyncio.TimerHandle | None = None
    _frames: Frames | None = None
    _hold: Hold | None = None
    _stalls: Stalls | None = None
    # What has come and is still to be looked at: a handshake that is not answered yet is waited for, and others are.
    _rest = b""
    _going_on = False
    _address = ""
    _queued = 0
    # Of a message that is dropped: the beginning, as far as it came in frames of its own; and all of it at the end.
    _first = _dropped = b""

    async def run_asgi(self) -> None:
        """The app's part, from the handshake to its end; the connection does not outlast it by much."""
        await super().run_asgi()
        if not self.disconnected:
            self._last = self.loop.call_later(LINGER, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is lost."""
        for timer in (self._last, self._slow):
            if timer is not None:
                timer.cancel()
        self._rest = b""
        if self._stalls is not None:
            self._stalls.end()
        if self._hold is not None:
            self._hold.set(0)
            self._hold = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of what the client says. Who does not await the handshake's answer is heard once it is given."""
        if not self.handshake_initiated:
            super().data_received(data)
            return
        if not self.handshake_complete:
            self._rest += data
            if len(self._rest) > EARLY:
                self.transport.abort()
            return
        if self._rest:
            self._rest += data
        else:
            self._hear(data)

    def _hear(self, data: bytes) -> None:
        """Give the parser what it is to have, some frames at a time."""
        if self._frames is None:
            self._frames = Frames(self.config.ws_max_size)
        frames = self._frames
        pieces, taken = frames.feed(data, AT_ONCE)
        for piece in pieces:
            if self.close_sent and self.transport.is_closing():
                return
            if isinstance(piece, Dropped):
                self._dropped = (self._first + b"".join(self.frames) + piece.head)[:HEAD]
                self._first, self.frames = b"", []
                super().data_received(piece.frame)
            else:
                super().data_received(piece)
        if frames.dropping and self.frames:
            self._first, self.frames = b"".join(self.frames)[:HEAD], []
        if frames.endless:
            self._refuse(*TOO_LARGE)
            return
        self._watch(frames)
        self._rest = data[taken:]
        if self._rest and not self._going_on:
            self._going_on = True
            self.transport.pause_reading()
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Look at some more of what has come."""
        self._going_on = False
        rest, self._rest = self._rest, b""
        if self.disconnected or self.transport.is_closing():
            return
        if rest:
            self._hear(rest)
        if not self._going_on and not self.read_paused:
            self.transport.resume_reading()

    def _watch(self, frames: Frames) -> None:
        """See to it that a message ends in time, and that not too much is kept of all that have not been read."""
        if frames.started and self._slow is None:
            self._slow = self.loop.call_later(MESSAGE_WITHIN, self._is_slow, frames.ended, self.loop.time())
        elif not frames.started and self._slow is not None:
            self._slow.cancel()
            self._slow = None
        if not self._count():
            self._refuse(*FULL)

    def _is_slow(self, ended: int, since: float) -> None:
        self._slow = None
        frames = self._frames
        if self.close_sent or frames is None or not frames.started:
            return
        now = self.loop.time()
        if frames.ended != ended:
            since = now  # of another message
        # What is not read cannot end, and a message that is dropped may take its time.
        elif not self.read_paused and not (frames.dropping and now - since < DRAINED_WITHIN):
            self._refuse(*TOO_SLOW)
            return
        self._slow = self.loop.call_later(MESSAGE_WITHIN, self._is_slow, frames.ended, since)

    def _count(self) -> bool:
        """Whether what is held of this client's is not too much."""
        assert self._frames is not None  # noqa: S101 - there is none before the handshake
        size = self._queued + self._frames.received
        if self._hold is None:
            if not size:
                return True
            self._hold = Hold(UNREAD, self._address)
        return self._hold.set(size)

    def _refuse(self, code: int, reason: str) -> None:
        """Hang up on a client that says too much, or too slowly."""
        if not self.close_sent and not self.transport.is_closing():
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
            self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.frames = []
        self.transport.close()

    def send_receive_event_to_app(self) -> None:
        """A message is whole, or was dropped."""
        if self._dropped and not self.close_sent:
            message: Any = {"type": "websocket.receive", "text": "", "too_large": self._dropped}
            self._dropped, self.frames = b"", []
            self.queue.put_nowait(message)
            if not self.read_paused:
                self.read_paused = True
                self.transport.pause_reading()
            return
        self._queued += sum(map(len, self.frames))
        super().send_receive_event_to_app()

    async def receive(self) -> Any:
        """The next event."""
        event = await super().receive()
        if self.queue.empty() and self._queued:
            self._queued = 0
            self._count()
        if self._going_on and not self.read_paused:
            # There is something left from before.
            self.transport.pause_reading()
        return event

    async def send(self, message: Any) -> None:
        """Send, and wait until the client has taken it in but for a small rest."""
        if message["type"] == "websocket.accept":
            # As the app knows it, which may be behind a proxy.
            client = self.scope.get("client")
            self._address = client[0] if client else ""
        await super().send(message)
        if message["type"] == "websocket.accept":
            # Of no use any more, for as long as the socket lasts.
            del self.request, self.response
            early, self._rest = self._rest, b""
            if early and not self.disconnected:
                self._hear(early)
        if not self.writable.is_set():
            self._stalls = self._stalls or Stalls(self.transport, self._address)
            self._stalls.begin()
            try:
                await self.writable.wait()
            finally:
                self._stalls.end()

    def keepalive_timeout(self) -> None:
        """The client has not answered. While its words are not read, the answer may be among them."""
        if self.read_paused:
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
        else:
            self.transport.abort()

    def shutdown(self) -> None:
        """The server stops. Who has been told may still say goodbye."""
        if self.close_sent:
            self.stop_keepalive()
            self.loop.call_later(LAST_GOODBYE, self.transport.close)
        else:
            super().shutdown()
