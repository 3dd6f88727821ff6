"""Clients that try to take a server's memory, all from one address; see `tests/hostile/test_hostile_clients.py`.

Each attack takes as much as it can, and holds it until the context ends.
"""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

HANDSHAKE = (
    b"GET /api/1.48.0/sync HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
PIECE = 2**16
GIVEN_UP = (OSError, EOFError, asyncio.IncompleteReadError, TimeoutError)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Attack = Callable[[int], Any]


class HostileClients:
    """Connections to a server on that port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self.refused = 0

    async def __aenter__(self) -> HostileClients:
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.transport.abort()
        for writer in self._writers:
            with suppress(OSError):
                await writer.wait_closed()

    async def connect(self) -> Streams:
        """Open a connection, kept until the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=PIECE)
        self._writers.append(writer)
        return reader, writer

    async def socket(self) -> Streams:
        """Open a WebSocket."""
        reader, writer = await self.connect()
        writer.write(HANDSHAKE)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        return reader, writer

    async def all(self, count: int, act: Callable[[], Awaitable[Any]]) -> None:
        """Run an act so many times, some at once; count those that the server refuses."""
        slots = asyncio.Semaphore(50)

        async def once() -> None:
            async with slots:
                try:
                    await asyncio.wait_for(act(), 20)
                except GIVEN_UP:
                    self.refused += 1

        await asyncio.gather(*(once() for _ in range(count)))

    async def stall_uploads(self, count: int, size: int, *, said: bool) -> None:
        """Send bodies without their last byte; their length is declared (`said`), or they are chunked."""

        async def upload() -> None:
            _, writer = await self.connect()
            length = f"Content-Length: {size}" if said else "Transfer-Encoding: chunked"
            writer.write(f"POST /api/query HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode())
            left = size - 1
            while left:
                piece = b"x" * min(PIECE, left)
                left -= len(piece)
                writer.write(piece if said else b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()

        await self.all(count, upload)

    async def send_half(self, count: int, size: int) -> None:
        """Send messages on sockets without their last byte."""

        async def say() -> None:
            _, writer = await self.socket()
            writer.write(struct.pack("!BBQ", 0x81, 0xFF, size) + bytes(4))
            left = size - 1
            while left:
                piece = b"x" * min(PIECE, left)
                left -= len(piece)
                writer.write(piece)
                await writer.drain()

        await self.all(count, say)

    async def open_sockets(self, count: int) -> None:
        """Open sockets and send nothing; those closed at once count as refused."""

        async def open_one() -> None:
            reader, _ = await self.socket()
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.readexactly(1), 0.2)
                self.refused += 1

        await self.all(count, open_one)

    async def never_read(self, count: int, token: str, path: str) -> None:
        """Request a large result on sockets, and read none of it."""

        async def ask() -> None:
            reader, writer = await self.socket()
            transport: Any = writer.transport
            transport.pause_reading()
            del reader
            session = {"sessionId": str(uuid.uuid4()), "connectionCount": 0, "lastCloseReason": None, "clientTs": 0}
            add = {"type": "Add", "queryId": 0, "udfPath": path, "args": [{}]}
            for message in (
                {"type": "Connect", **session},
                {"type": "Authenticate", "baseVersion": 0, "tokenType": "User", "value": token},
                {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]},
            ):
                payload = json.dumps(message).encode()
                writer.write(struct.pack("!BBH", 0x81, 0xFE, len(payload)) + bytes(4) + payload)
            await writer.drain()

        await self.all(count, ask)


@asynccontextmanager
async def hostile_clients(port: int) -> AsyncIterator[HostileClients]:
    """Yield clients that are closed at the end."""
    async with HostileClients(port) as all_of_them:
        yield all_of_them
