"""A request and its response: uvicorn's, which also writes a whole response at once."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

from daysong.transport.server.outbox import LARGEST_WAITING

# In a scope: the server takes a message `http.response.start` that has the whole body under this name, which must not
# be empty. Its headers have lower-case names that need no check, and a Content-Length; the connection is kept. A layer
# that changes bodies removes it from the scope.
WHOLE = "daysong.whole"


class Cycle(RequestResponseCycle):
    """A request and its response."""

    async def send(self, message: Any) -> None:
        """Send a part of the response, or all of it."""
        body = message.get(WHOLE)
        if body is None:
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_started:
            raise RuntimeError("The response has been started")
        parts = [STATUS_LINE[message["status"]]]
        headers = [*self.default_headers, *message["headers"]]
        # Some values are the client's own.
        if HEADER_VALUE_RE.search(b"".join([value for _, value in headers])):
            raise RuntimeError("Invalid HTTP header value.")
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        if len(body) < LARGEST_WAITING:
            parts.append(body)
            self.transport.write(b"".join(parts))
        else:
            self.transport.write(b"".join(parts))
            self.transport.write(body)
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
