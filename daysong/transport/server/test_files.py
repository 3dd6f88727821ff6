"""Files are sent from the page cache, whatever the client does, and are read where that is not possible."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from daysong.transport.http.edge import Edge
from daysong.transport.http.routes import Reply, Request, Route, Routes
from daysong.transport.server import writing
from daysong.vendors import local_files
from daysong.vendors.local_files import Part
from daysong.vendors.storage import CHUNK, FileStore
from rehearsal.processes.served import UPGRADE, App, read_all, serving, until

pytestmark = pytest.mark.anyio

# More than the kernel takes of a client that does not read.
SONG = bytes(range(256)) * 64 * 1024
RECEIVED_AT_ONCE = 2**16


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
def song(tmp_path: Path) -> Path:
    """A stored song."""
    path = tmp_path / "song"
    path.write_bytes(SONG)
    return path


def app(folder: Path) -> App:
    """Serves /song/<first byte>/<end>, as a whole response if it is small."""
    files = FileStore(folder)

    async def serve(request: Request) -> Reply:
        start, end = int(request.parameters["start"]), int(request.parameters["end"])
        headers = ((b"content-length", b"%d" % (end - start)),)
        if (part := files.at_once("song", start, end)) is not None:
            return Reply(part, 206, headers, is_json=False)
        parts = files.parts("song", start, end)
        return Reply(await anext(parts), 200, headers, is_json=False, rest=parts)

    return cast("App", Edge(Routes([Route("GET", "/song/{start}/{end}", serve, 0)], accept)))


async def accept(_scope: Any, receive: Any, send: Any) -> None:
    """Accepts a socket."""
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


def asking(start: int, end: int, more: bytes = b"") -> bytes:
    return b"GET /song/%d/%d HTTP/1.1\r\nHost: x\r\n%s\r\n" % (start, end, more)


async def body(reader: asyncio.StreamReader, size: int) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"content-length: %d\r\n" % size in head
    return await reader.readexactly(size)


@pytest.mark.parametrize("kernel", ["sends", "does not tell", "knows no part that is cached"])
async def test_every_part_of_a_file_arrives(song: Path, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small and large, alone and requested together, on a connection that goes on, and on one that ends."""
    if kernel == "does not tell":
        monkeypatch.setattr(local_files, "_cached_pages", lambda: None)
    elif kernel == "knows no part that is cached":
        monkeypatch.setattr(local_files, "NO_WAIT", None)
    spans = [(0, 1), (5, 70_005), (CHUNK, 2 * CHUNK), (0, len(SONG)), (9, len(SONG) - 9), (100, 16_484), (0, CHUNK)]
    async with serving(app(song.parent)) as served:
        reader, writer = await served.connect()
        for start, end in spans:
            writer.write(asking(start, end))
            assert await body(reader, end - start) == SONG[start:end]
        writer.write(b"".join(asking(*span) for span in spans))
        for start, end in spans:
            assert await body(reader, end - start) == SONG[start:end]
        writer.write(asking(0, CHUNK, b"Connection: close\r\n"))
        assert (await read_all(reader)).endswith(b"\r\n\r\n" + SONG[:CHUNK])
        writer.close()


async def test_a_client_that_reads_late_gets_all_and_costs_one_chunk_of_memory(song: Path) -> None:
    async with serving(app(song.parent)) as served:
        for spans in ([(0, len(SONG))], [(0, CHUNK)] * 64):
            reader, writer = await served.connect()
            transport: Any = writer.transport
            transport.pause_reading()
            writer.write(b"".join(asking(*span) for span in spans))
            await until(lambda: served.connections == 1)
            connection: Any = next(iter(served.server.server_state.connections))
            await until(partial(getattr, connection.flow, "write_paused"))
            assert 0 < connection.transport.get_write_buffer_size() <= CHUNK + RECEIVED_AT_ONCE
            transport.resume_reading()
            for start, end in spans:
                assert await body(reader, end - start) == SONG[start:end]
            writer.close()
            await until(lambda: served.connections == 0)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not list open files")
async def test_a_client_that_never_reads_is_disconnected_and_the_file_closed(
    song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "CHECK_INTERVAL", 0.02)
    monkeypatch.setattr(writing, "STALL_TIMEOUT", 0.05)
    monkeypatch.setattr(local_files, "STAYS_OPEN", 0.0)

    def is_open() -> bool:
        return song in {path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}

    async with serving(app(song.parent)) as served:
        _, writer = await served.connect()
        cast("Any", writer.transport).pause_reading()
        writer.write(asking(0, len(SONG)))
        await until(is_open)
        await until(lambda: served.connections == 0)
        await until(lambda: not is_open())
        writer.transport.abort()


async def test_a_closed_connection_ends_although_its_client_reads_nothing(
    song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if so little waits that writing is not paused, for which there is a timeout."""
    monkeypatch.setattr(writing, "CHECK_INTERVAL", 0.02)
    monkeypatch.setattr(writing, "STALL_TIMEOUT", 0.05)
    async with serving(app(song.parent)) as served:
        _, writer = await served.connect()
        cast("Any", writer.transport).pause_reading()
        await until(lambda: served.connections == 1)
        transport: Any = next(iter(served.server.server_state.connections)).transport
        transport.set_write_buffer_limits(2 * len(SONG))
        transport.write(SONG)
        transport.close()
        await until(lambda: served.connections == 0)
        writer.transport.abort()


async def test_a_file_that_became_shorter_ends_the_connection(song: Path) -> None:
    """The client is never given other bytes than it was promised."""
    file = local_files.LocalFile(str(song))

    async def shortened(_: Request) -> Reply:
        return Reply(Part(file, 0, CHUNK), 206, ((b"content-length", b"%d" % CHUNK),), is_json=False)

    os.truncate(song, 1000)
    async with serving(cast("App", Routes([Route("GET", "/", shortened, 0)], cast("Any", None)))) as served:
        reader, writer = await served.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await read_all(reader)).partition(b"\r\n\r\n")[2] == SONG[:1000]
        writer.close()


async def test_an_upgrade_request_behind_a_response_that_is_not_finished_closes_the_connection(song: Path) -> None:
    """The rest of the response is not written among the frames of the socket, nor held for a client that reads late."""
    async with serving(app(song.parent)) as served:
        for end in (CHUNK, len(SONG)):
            reader, writer = await served.connect()
            writer.write(asking(0, end) + UPGRADE)
            assert b"HTTP/1.1 101" not in await read_all(reader)
            writer.close()
        reader, writer = await served.connect()
        writer.write(asking(0, CHUNK))
        await body(reader, CHUNK)
        writer.write(UPGRADE)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.close()


@pytest.mark.parametrize("more", [b"", asking(0, 1)], ids=["alone", "with a request behind it"])
async def test_what_a_client_that_has_gone_would_not_receive_is_not_read(more: bytes) -> None:
    """A long file of a bucket would be fetched to its end for nothing."""
    ended = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield bytes(CHUNK)
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def serve(_: Request) -> Reply:
        return Reply(b"1", 200, ((b"content-length", b"%d" % 2**50),), is_json=False, rest=endless())

    async with serving(cast("App", Routes([Route("GET", "/song/{start}/{end}", serve, 0)], accept))) as served:
        reader, writer = await served.connect()
        writer.write(asking(0, 2) + more)
        await reader.readuntil(b"\r\n\r\n1")
        writer.transport.abort()
        await asyncio.wait_for(ended.wait(), 20)
