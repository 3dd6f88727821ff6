"""An HTTP connection: uvicorn's, with limits on the size and time of the request head, on the bytes parsed at once, and
on the time that a client may leave a response unread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from daysong.transport.server.bodies import COMPLETE
from daysong.transport.server.cycle import WHOLE, Cycle
from daysong.transport.server.headers import announced_size, headers_of, only_value
from daysong.transport.server.held_bytes import SMALL
from daysong.transport.server.outbox import Writer
from daysong.transport.server.writing import StallTimeout

LARGEST_HEAD = 64 * 1024  # bytes
HEAD_TIMEOUT = 30.0  # seconds
MOST_HEADERS = 128
UNREAD_BODY_TIMEOUT = 15.0  # seconds
# Bytes parsed before other connections are served; they may hold hundreds of requests. A body with a Content-Length is
# passed on without parsing, and does not count.
CHUNK = 4096
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
BAD_REQUEST = "Invalid HTTP request received."
NO_HOST = "HTTP/1.1 requests have exactly one Host header."


class Http(HttpToolsProtocol):
    """An HTTP connection, until it is upgraded to a WebSocket."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        # Bytes of an incomplete head.
        self._head: int | None = None
        # Bytes received since the head or the last of the body: trailers, chunk headers, empty lines.
        self._trailing = 0
        self._head_timer: asyncio.TimerHandle | None = None
        # Received bytes that are not parsed yet.
        self._buffer = b""
        self._announced = self._body_left = 0
        self._stall_timeout: StallTimeout | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        # Since when no request is being received or served; None while one is.
        self._idle_since: float | None = None
        # The request that is served, which is not the last one if more are pipelined.
        self._served: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Start the timeout of the first request."""
        super().connection_made(transport)
        self.transport = cast("asyncio.Transport", Writer(transport, self.loop))
        self.flow = _Flow(transport, self._resume)
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release timers and buffers, and let the request that is served know."""
        self._end_head()
        self._unset_keepalive_if_required()
        self._buffer = b""
        if self._stall_timeout is not None:
            self._stall_timeout.end()
        if self._body_timer is not None:
            self._body_timer.cancel()
        if self._served is not None:
            self.cycle = self._served
            cast("Writer", self.transport).is_lost = True
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the timeout of a client that does not read the response."""
        super().pause_writing()
        client = self.cycle.scope["client"] if self.cycle else None
        self._stall_timeout = self._stall_timeout or StallTimeout(self.transport, client[0] if client else "")
        self._stall_timeout.begin()

    def resume_writing(self) -> None:
        """Stop the timeout: the client reads again."""
        super().resume_writing()
        if self._stall_timeout is not None:
            self._stall_timeout.end()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, or buffer them behind earlier ones."""
        if self._buffer:
            self._buffer += data
            return
        size, body = len(data), self._body_left
        self._body_left = body - size if body > size else 0
        if size <= CHUNK or size <= body:
            self._parse(data)
            return
        size = max(CHUNK, body)
        self._buffer = data[size:]
        self._parse(data[:size])
        if self._buffer and not self.transport.is_closing():
            self.transport.pause_reading()
            self.loop.call_soon(self._resume)

    def _resume(self) -> None:
        """Parse more of the buffered bytes, unless requests are waiting for their responses."""
        if not self._buffer or self.parser is None or self.transport.is_closing():
            return
        if self.flow.read_paused or self.pipeline:
            self.transport.pause_reading()
            return
        buffered, self._buffer = self._buffer, b""
        self.data_received(buffered)
        if not self._buffer and not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _parse(self, data: bytes) -> None:
        """Parse like uvicorn, but keep the bytes after an upgrade request, and limit heads."""
        before = self._head
        self._trailing += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if _lacks_host(self.scope):
                self.send_400_response(NO_HOST)
            elif self._should_upgrade() and self.cycle and not self.cycle.response_complete:
                # What is left of that response would go among the frames, and past the limit of what waits unread.
                self.transport.close()
            elif self._should_upgrade():
                self._unset_keepalive_if_required()
                after_upgrade, self._buffer = data[upgrade.args[0] :] + self._buffer, b""
                self.transport = cast("Writer", self.transport).release()
                self.handle_websocket_upgrade()
                self.transport.resume_reading()
                if after_upgrade:
                    self.transport.get_protocol().data_received(after_upgrade)  # type: ignore[attr-defined]
            return
        except httptools.HttpParserError:
            self._end_head()
            self.send_400_response(BAD_REQUEST)
            return
        if self._head is not None:
            self._limit_head(0 if before is None else len(data))
        elif self._trailing > LARGEST_HEAD:
            self.transport.close()

    def _limit_head(self, more: int) -> None:
        """Count `more` bytes of a head that had begun before them, and start its timeout."""
        self._head = (self._head or 0) + more
        if more and (self._head > LARGEST_HEAD or len(self.headers) > MOST_HEADERS):
            self.transport.write(TOO_LARGE)
            self.transport.close()
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self.transport.close)

    def on_response_complete(self) -> None:
        """After a response, serve the next request or wait for one, with a timeout; as uvicorn, with fewer timers.

        The rest of a body that was not read has a timeout too.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._buffer or self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self.cycle.response_complete or self._head is not None:
            pass  # The buffer had the next request, or began it.
        elif self.cycle.more_body:
            self._body_timer = self._body_timer or self.loop.call_later(UNREAD_BODY_TIMEOUT, self.transport.close)
        else:
            self._begin_idle()

    def _begin_idle(self) -> None:
        """Wait for the next request, with a timeout that only its first byte ends, not an empty line before it."""
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._check_idle)

    def _check_idle(self) -> None:
        """Close a connection that has been idle for too long. The timer goes on while requests come and go."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self._check_idle)
        else:
            self.transport.close()

    def on_body(self, body: bytes) -> None:
        """Add to the body."""
        self._trailing = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the timeout of the body, and pass a small one on at once."""
        super().on_message_complete()
        cycle = self.cycle
        if cycle is not None and cycle.scope is self.scope:
            size = self._announced
            # Unless a part of it was passed on before.
            if 0 < size < SMALL and len(cycle.body) == size:
                cycle.scope[COMPLETE] = bytes(cycle.body)  # type: ignore[literal-required] # ours
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
            self._begin_idle()

    def on_message_begin(self) -> None:
        """Start counting the bytes of a head."""
        super().on_message_begin()
        self._head = 0
        self._idle_since = None

    def on_headers_complete(self) -> None:
        """Stop the head's timeout, and serve the request; as uvicorn, with our `Cycle`."""
        self._end_head()
        self._trailing = 0
        parser = self.parser
        scope: Any = self.scope
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        if parser.should_upgrade() and self._should_upgrade():
            return
        # Trailers go to another list: among the headers they would pass for those that a proxy adds.
        self.headers = []
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["raw_path"] = url.path
        scope["query_string"] = url.query or b""
        scope[WHOLE] = self.transport
        before = self.cycle
        self.cycle = Cycle(
            scope=self.scope, transport=self.transport, flow=self.flow, logger=self.logger,
            access_logger=self.access_logger, access_log=False, default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(), expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(), on_response=self.on_response_complete,
        )  # fmt: skip
        self._announced = self._body_left = announced_size(scope) or 0
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, _no_host if _lacks_host(cycle.scope) else app)

    def _end_head(self) -> None:
        self._head = None
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _Flow(FlowControl):
    """uvicorn's flow control, with a callback when reading resumes."""

    def __init__(self, transport: asyncio.Transport, resume: Callable[[], None]) -> None:
        super().__init__(transport)
        self._resume = resume

    def resume_reading(self) -> None:
        if self.read_paused:
            super().resume_reading()
        self._resume()


def _lacks_host(scope: Any) -> bool:
    if only_value(scope, b"host") is not None:
        return False
    return b"host" in headers_of(scope) or scope["http_version"] == "1.1"


async def _no_host(_scope: Any, _receive: Any, send: Any) -> None:
    """Refuse a request without exactly one Host header."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": NO_HOST.encode()})
