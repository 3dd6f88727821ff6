"""A server of this process with any ASGI app, and raw connections to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from daysong.transport.server.server import Server, listen

App = Callable[[Any, Any, Any], Awaitable[None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

UPGRADE = (
    b"GET /api/sync HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Origin: https://elsewhere.test\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Served:
    """A server, and connections to it."""

    def __init__(self, app: App) -> None:
        self.sockets_closed = False
        self.server = Server(app, lifespan=False, close_sockets=self._close_sockets)
        self.listener = listen("127.0.0.1", 0)
        self.port: int = self.listener.getsockname()[1]

    async def _close_sockets(self) -> None:
        self.sockets_closed = True

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self.server.server_state.connections)

    async def connect(self) -> Streams:
        """A connection without a request."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def socket(self) -> Streams:
        """A WebSocket."""
        reader, writer = await self.connect()
        writer.write(UPGRADE)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101")
        return reader, writer


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[Served]:
    """Serve `app` until the end of the block."""
    served = Served(app)
    task = asyncio.create_task(served.server.serve(sockets=[served.listener]))
    try:
        await until(lambda: served.server.started)
        yield served
    finally:
        served.server.stop_immediately()
        await asyncio.wait_for(task, 20)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """All data until the server closes or resets the connection."""
    received = b""
    async with asyncio.timeout(20):
        try:
            while more := await reader.read(65_536):
                received += more
        except ConnectionResetError:
            pass
    return received
