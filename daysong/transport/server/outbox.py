"""Writes the responses that became ready in one turn of the event loop together.

A write wakes a client that waits, which the kernel does at the writer's cost. With several clients in one process, such
as a proxy, the first write wakes it, and the others find it awake.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any
from weakref import WeakKeyDictionary

from daysong.transport.server.writing import StallTimeout
from daysong.vendors.local_files import Part

# Bytes of a connection above which it is written at once, so that a response is not held in memory.
LARGEST_WAITING = 64 * 1024


class Outbox:
    """The connections of an event loop with something to write."""

    def __init__(self) -> None:
        self._waiting: list[Writer] = []

    def add(self, writer: Writer, loop: asyncio.AbstractEventLoop) -> None:
        """Flush `writer` at the next turn of the loop."""
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append(writer)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for writer in waiting:
            writer.flush()


_outboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()


class _Borrowed(socket.socket):
    """The socket of a transport, which closes it: its own object has no way to say that more follows what is sent."""

    def __del__(self) -> None:
        """Leave it open; it may be another's by now."""
        self.detach()


class Writer:
    """A connection's transport, with writes through its loop's outbox. Everything else is the transport's own.

    is_lost   whether the connection has ended: what is written has no reader
    """

    __slots__ = ("_connection", "_loop", "_outbox", "_parts", "_size", "_transport", "is_lost")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._outbox = _outboxes.setdefault(loop, Outbox())
        self._parts: list[bytes] = []
        self._size = 0
        self._connection: _Borrowed | None = None
        self.is_lost = False

    def write(self, data: bytes) -> None:
        """Write behind what waits already."""
        if not self._parts:
            self._outbox.add(self, self._loop)
        self._parts.append(data)
        self._size += len(data)
        if self._size > LARGEST_WAITING:
            self.flush()

    def send_part(self, head: bytes, part: Part) -> int:
        """Write `head`, hand as much of a part of a file to the kernel as it takes, and return how much that was.

        It takes none while earlier bytes wait. The part is not copied: the kernel sends its pages of the file.
        """
        transport = self._transport
        if self._parts or transport.get_write_buffer_size() or transport.is_closing():
            self.write(head)
            return 0
        connection = self._connection
        if connection is None:
            found = transport.get_extra_info("socket")
            connection = self._connection = _Borrowed(found.family, found.type, found.proto, fileno=found.fileno())
        written = sent = 0
        try:
            written = connection.send(head, socket.MSG_MORE) if head else 0
            if written == len(head):
                sent = os.sendfile(connection.fileno(), part.file.descriptor, part.start, part.end - part.start)
        except OSError:
            # The kernel has no room, or the client has gone, which the transport finds out by itself.
            pass
        if written < len(head):
            self.write(head[written:])
        return sent

    def flush(self) -> None:
        """Write what waits."""
        parts, self._parts, self._size = self._parts, [], 0
        if parts and not self._transport.is_closing():
            self._transport.writelines(parts)

    def is_closing(self) -> bool:
        """Whether the connection is closing or closed."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Write what waits, and close the connection once it is sent, or the client reads nothing."""
        self.flush()
        transport = self._transport
        transport.close()
        # So little that writing is not paused would otherwise wait for ever.
        if transport.get_write_buffer_size():
            StallTimeout(transport, "").begin()

    def release(self) -> asyncio.Transport:
        """Write what waits, and return the transport itself."""
        self.flush()
        return self._transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
