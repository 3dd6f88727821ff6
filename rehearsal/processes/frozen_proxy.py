"""A TCP proxy that can stop forwarding bytes without closing anything, or close all: a dead server, and one away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

HOST = "127.0.0.1"
PIECE = 65536


def proxy_to(database_url: str) -> FrozenProxy:
    """Return a proxy for the server of a DSN whose host is a socket's folder."""
    given = parse_qs(urlsplit(database_url).query)
    return FrozenProxy(f"{given['host'][0]}/.s.PGSQL.{given['port'][0]}")


class FrozenProxy:
    """A proxy in front of a server: `async with FrozenProxy(host, port) as proxy`, then connect to `proxy.port`.

    `port` of the server may be the path of a Unix socket. `freeze` silences open connections, and with `also_new` later
    ones; bytes are still read, so that no kernel notices anything. `cut` closes connections, and new ones at once,
    until `restore`.
    """

    def __init__(self, target: tuple[str, int] | str) -> None:
        self._target = target
        self._flowing: set[asyncio.Event] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._new_flow = True
        self._away = False
        self.port = 0
        self.accepted = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, database_url: str) -> str:
        """Return the DSN of a database through this proxy."""
        return f"postgresql://postgres@{HOST}:{self.port}{urlsplit(database_url).path}"

    def freeze(self, *, also_new: bool = False) -> None:
        """Stop forwarding."""
        for flowing in self._flowing:
            flowing.clear()
        self._new_flow = not also_new

    def thaw(self) -> None:
        """Forward new connections again; silenced ones stay silent."""
        self._new_flow = True

    def cut(self) -> None:
        """Close all connections, and new ones as soon as they are opened."""
        self._away = True
        for task in self._tasks:
            task.cancel()

    def restore(self) -> None:
        """Forward new connections again."""
        self._away = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.accepted += 1
        if self._away:
            writer.transport.abort()
            return
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        flowing = asyncio.Event()
        if self._new_flow:
            flowing.set()
        self._flowing.add(flowing)
        ends = [writer]
        try:
            if isinstance(self._target, str):
                onward, back = await asyncio.open_unix_connection(self._target)
            else:
                onward, back = await asyncio.open_connection(*self._target)
            ends.append(back)
            await asyncio.gather(self._pass(reader, back, flowing), self._pass(onward, writer, flowing))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in ends:
                end.transport.abort()
                with suppress(OSError):
                    await end.wait_closed()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        while piece := await source.read(PIECE):
            await flowing.wait()
            sink.write(piece)
            await sink.drain()
        await flowing.wait()
        sink.close()
