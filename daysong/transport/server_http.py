"""One HTTP connection: uvicorn's, with a limit to how large and how slow the head of a request may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD = 64 * 1024  # bytes
HEAD_WITHIN = 30.0  # seconds
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 "
BAD = "Invalid HTTP request received."


class Http(HttpToolsProtocol):
    """A connection that asks over HTTP, until it may become a socket."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        # Bytes of a head that has not ended.
        self._head: int | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        """Somebody has connected, and should ask soon."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_WITHIN, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._head_has_ended()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of what is asked.

        As uvicorn's, but what comes right behind an upgrade is not lost, and heads have limits.
        """
        self._unset_keepalive_if_required()
        before = self._head
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
                if rest := data[upgrade.args[0] :]:
                    self.transport.get_protocol().data_received(rest)  # type: ignore[attr-defined]
            return
        except httptools.HttpParserError:
            self._head_has_ended()
            self.send_400_response(BAD)
            return
        if self._head is None:
            return
        if before is not None:
            self._head += len(data)
            if self._head > HEAD:
                self.transport.write(TOO_LARGE)
                self.transport.close()
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_WITHIN, self.transport.close)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head = 0

    def on_headers_complete(self) -> None:
        """It has ended."""
        self._head_has_ended()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            answer = _Answer(self.transport, self.on_response_complete)
            self.cycle.transport = cast("asyncio.Transport", answer)
            self.cycle.on_response = answer.complete

    def _head_has_ended(self) -> None:
        self._head = None
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


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
