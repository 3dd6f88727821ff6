"""A request and its response: uvicorn's, which also writes a whole response at once, and sends parts of files."""

from __future__ import annotations

from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

from daysong.transport.server.outbox import LARGEST_WAITING, Writer
from daysong.vendors.local_files import Part

# In a scope, the connection's `Writer`: the server takes a message `http.response.start` that has the whole body under
# this name, which must not be empty. Its headers have lower-case names that need no check, and a Content-Length; the
# connection is kept. A layer that changes bodies removes it from the scope. With it, a body may also be a `Part` of a
# file, whose Content-Length was announced.
WHOLE = "daysong.whole"


class Cycle(RequestResponseCycle):
    """A request and its response."""

    async def send(self, message: Any) -> None:
        """Send a part of the response, or all of it."""
        body = message.get(WHOLE)
        if body is None:
            if isinstance(part := message.get("body"), Part):
                await self._send_part(part)
            else:
                await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_started:
            raise RuntimeError("The response has been started")
        head = self._head(message)
        self.response_started = True
        self.waiting_for_100_continue = False
        if isinstance(body, Part):
            await self._write_file(head, body)
        elif len(body) < LARGEST_WAITING:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _head(self, message: Any) -> bytes:
        parts = [STATUS_LINE[message["status"]]]
        headers = [*self.default_headers, *message["headers"]]
        # Some values are the client's own.
        if HEADER_VALUE_RE.search(b"".join([value for _, value in headers])):
            raise RuntimeError("Invalid HTTP header value.")
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return b"".join(parts)

    async def _send_part(self, part: Part) -> None:
        """Send a part of a file after the start of the response, with more to follow."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        size = part.end - part.start
        if size > self.expected_content_length:
            raise RuntimeError("Response content longer than Content-Length")
        self.expected_content_length -= size
        await self._write_file(b"", part)

    async def _write_file(self, head: bytes, part: Part) -> None:
        """Write `head` and a part of a file; what the kernel does not take is read and waits for the client."""
        size = part.end - part.start
        sent = cast("Writer", self.transport).send_part(head, part)
        if sent == size:
            return
        rest = await part.read(sent)
        if len(rest) < size - sent:
            raise RuntimeError("Response content shorter than Content-Length")
        self.transport.write(rest)
