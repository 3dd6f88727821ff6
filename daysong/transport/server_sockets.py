"""One WebSocket: uvicorn's, for clients that do not read, do not answer, or do not leave.

`send` returns once next to nothing of what was sent is left here, so whoever sends is no faster than the client.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# How long the connection may last behind its end: a client that does not read would keep what was said to it in memory.
LINGER = 15.0
# What a client may say before it is answered; in bytes.
EARLY = 512 * 1024
# When the server stops, for the client's own goodbye.
LAST_GOODBYE = 1.0


class Socket(WebSocketsSansIOProtocol):
    """A connection that has become a socket."""

    _last: asyncio.TimerHandle | None = None
    _early = b""

    async def run_asgi(self) -> None:
        """The app's part, from the handshake to its end; the connection does not outlast it by much."""
        await super().run_asgi()
        if not self.disconnected:
            self._last = self.loop.call_later(LINGER, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        if self._last is not None:
            self._last.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of what the client says. Who does not await the handshake's answer is heard once it is given."""
        if not self.handshake_initiated or self.handshake_complete:
            super().data_received(data)
            return
        self._early += data
        if len(self._early) > EARLY:
            self.transport.abort()

    async def send(self, message: Any) -> None:
        """Send, and wait until the client has taken it in but for a small rest."""
        await super().send(message)
        if message["type"] == "websocket.accept":
            # Of no use any more, for as long as the socket lasts.
            del self.request, self.response
            early, self._early = self._early, b""
            if early and not self.disconnected:
                super().data_received(early)
        await self.writable.wait()

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
