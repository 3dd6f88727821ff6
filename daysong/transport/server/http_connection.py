"""One HTTP connection: uvicorn's, with limits to how large and how slow the head of a request may be, to what is looked
at before others have their turn, and to how long a client may leave an answer unread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from daysong.transport.server.writing import Stalls

HEAD = 64 * 1024  # bytes
HEAD_WITHIN = 30.0  # seconds
HEADERS = 128
LEFTOVER_WITHIN = 15.0  # seconds
# Bytes that are looked at before others have their turn: in as many, hundreds of requests may be told. Those of a body
# whose length was said are only handed on, and not counted.
AT_ONCE = 4096
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 "
BAD = "Invalid HTTP request received."
NO_HOST = "HTTP/1.1 requests have exactly one Host header."


class Http(HttpToolsProtocol):
    """A connection that asks over HTTP, until it may become a socket."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        # Bytes of a head that has not ended.
        self._head: int | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        # What has come and is still to be looked at.
        self._rest = b""
        self._body_left = 0
        self._stalls: Stalls | None = None
        self._leftover: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """A client has connected, and should send a request soon."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self._go_on)
        self._head_timer = self.loop.call_later(HEAD_WITHIN, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is lost."""
        self._head_has_ended()
        self._rest = b""
        if self._stalls is not None:
            self._stalls.end()
        if self._leftover is not None:
            self._leftover.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not take in what it has asked for."""
        super().pause_writing()
        client = self.cycle.scope["client"] if self.cycle else None
        self._stalls = self._stalls or Stalls(self.transport, client[0] if client else "")
        self._stalls.begin()

    def resume_writing(self) -> None:
        """It does."""
        super().resume_writing()
        if self._stalls is not None:
            self._stalls.end()

    def data_received(self, data: bytes) -> None:
        """Some of what is asked."""
        if self._rest:
            self._rest += data
        else:
            self._hear(data)

    def _hear(self, data: bytes) -> None:
        size = max(AT_ONCE, self._body_left)
        self._rest = data[size:]
        self._body_left = max(0, self._body_left - len(data))
        self._parse(data[:size])
        if self._rest and not self.transport.is_closing():
            self.transport.pause_reading()
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Look at some more of what has come, unless there is enough to do."""
        if self.parser is None or self.transport.is_closing():
            return
        if self.flow.read_paused or self.pipeline:
            if self._rest:
                self.transport.pause_reading()
            return
        rest, self._rest = self._rest, b""
        if rest:
            self._hear(rest)
            if not self._rest and not self.flow.read_paused and not self.transport.is_closing():
                self.transport.resume_reading()

    def _parse(self, data: bytes) -> None:
        """As uvicorn's, but what comes right behind an upgrade is not lost, and heads have limits."""
        self._unset_keepalive_if_required()
        before = self._head
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if _has_no_host(self.scope):
                self.send_400_response(NO_HOST)
            elif self._should_upgrade():
                behind, self._rest = data[upgrade.args[0] :] + self._rest, b""
                self.handle_websocket_upgrade()
                self.transport.resume_reading()
                if behind:
                    self.transport.get_protocol().data_received(behind)  # type: ignore[attr-defined]
            return
        except httptools.HttpParserError:
            self._head_has_ended()
            self.send_400_response(BAD)
            return
        if self._head is None:
            return
        if before is not None:
            self._head += len(data)
            if self._head > HEAD or len(self.headers) > HEADERS:
                self.transport.write(TOO_LARGE)
                self.transport.close()
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_WITHIN, self.transport.close)

    def on_response_complete(self) -> None:
        """An answer has gone out. The rest of an unread body must arrive within a time limit."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body and self._leftover is None:
            self._leftover = self.loop.call_later(LEFTOVER_WITHIN, self.transport.close)

    def on_message_complete(self) -> None:
        """A request has come whole."""
        super().on_message_complete()
        if self._leftover is not None:
            self._leftover.cancel()
            self._leftover = None

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head = 0

    def on_headers_complete(self) -> None:
        """It has ended."""
        self._head_has_ended()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is before:
            return
        answer = _Answer(self.transport, self.on_response_complete)
        self.cycle.transport = cast("asyncio.Transport", answer)
        self.cycle.on_response = answer.complete
        length = next((value for name, value in self.headers if name == b"content-length"), b"")
        self._body_left = int(length) if length.isdigit() else 0

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, _no_host if _has_no_host(cycle.scope) else app)

    def _head_has_ended(self) -> None:
        self._head = None
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _Flow(FlowControl):
    """uvicorn's, which tells when reading goes on."""

    def __init__(self, transport: asyncio.Transport, go_on: Callable[[], None]) -> None:
        super().__init__(transport)
        self._go_on = go_on

    def resume_reading(self) -> None:
        super().resume_reading()
        self._go_on()


def _has_no_host(scope: Any) -> bool:
    hosts: int = sum(name == b"host" for name, _ in scope["headers"])
    return hosts > 1 or (hosts == 0 and scope["http_version"] == "1.1")


async def _no_host(_scope: Any, _receive: Any, send: Any) -> None:
    """Refuse a request that does not say for whom it is."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": NO_HOST.encode()})


class _Answer:
    """Where uvicorn writes an answer: its head goes out with what comes next, which saves a call of the kernel's."""

    __slots__ = ("_begun", "_head", "_on_response", "_transport")

    def __init__(self, transport: asyncio.Transport, on_response: Callable[[], None]) -> None:
        self._transport = transport
        self._on_response = on_response
        self._head = b""
        self._begun = False

    def write(self, data: bytes) -> None:
        if not self._begun and not data.startswith(CONTINUE):
            self._begun, self._head = True, data
        elif self._head:
            self._transport.writelines([self._head, data])
            self._head = b""
        else:
            self._transport.write(data)

    def complete(self) -> None:
        self._flush()
        self._on_response()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""
