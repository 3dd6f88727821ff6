"""The HTTP and WebSocket server: slow, large, silent and running requests and connections."""

from __future__ import annotations

import asyncio
import gc
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from conftest import NOW
from daysong.kernel import garbage
from daysong.transport.http.edge import Edge
from daysong.transport.server import http_connection as server_http
from daysong.transport.server import server as server_module
from daysong.transport.server import socket_connection as server_sockets
from daysong.transport.server.server import HostUnknown, PortTaken, listen
from rehearsal.processes.served import UPGRADE, read_all, serving, until
from rehearsal.world import World, free_port

pytestmark = pytest.mark.anyio

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops: asyncio of tests and `daysong dev`, and uvloop of `daysong serve`."""
    return "asyncio", {"use_uvloop": request.param}


def frame(opcode: int, payload: bytes = b"") -> bytes:
    """A client's frame, masked with zeros."""
    return struct.pack("!BB", 0x80 | opcode, 0x80 | len(payload)) + bytes(4) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The opcode and payload of the server's next short frame."""
    first, length = await reader.readexactly(2)
    return first & 0xF, await reader.readexactly(length)


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Responds with "hi", and echoes the messages of a socket."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"hi"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


LARGE = 200_000  # bytes; more than is held back to be written with other responses


async def various(scope: Any, receive: Any, send: Any) -> None:
    """Responds by path: without a body, in chunks, with the request's body, with a large one, or like `hello`."""
    if scope["path"] == "/empty":
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})
    elif scope["path"] == "/pieces":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"a", b"b"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})
    elif scope["path"] == "/echo":
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": body})
    elif scope["path"] == "/large":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % LARGE)]})
        for _ in range(2):
            await send({"type": "http.response.body", "body": b"l" * (LARGE // 2), "more_body": True})
        await send({"type": "http.response.body"})
    else:
        await hello(scope, receive, send)


async def test_garbage_is_collected_again_once_a_server_has_started() -> None:
    """`daysong serve` starts without, since what is imported and built stays."""
    before = gc.get_threshold()
    garbage.pause()
    try:
        garbage.settle()
        assert gc.isenabled()
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def test_responses_do_not_name_the_server_software() -> None:
    async with serving(hello) as served:
        for raw_request in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", UPGRADE, b"nonsense\r\n\r\n"):
            reader, writer = await served.connect()
            writer.write(raw_request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert b"server:" not in head
            assert b"uvicorn" not in head
            writer.close()


async def test_a_socket_accepts_any_origin_and_messages_sent_right_after_the_upgrade_request() -> None:
    async with serving(hello) as served:
        reader, writer = await served.connect()
        writer.write(UPGRADE + frame(TEXT, b"early") + frame(TEXT, b"bird"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        assert [await read_frame(reader), await read_frame(reader)] == [(TEXT, b"early"), (TEXT, b"bird")]
        writer.close()


async def test_an_endless_request_head_is_refused() -> None:
    async with serving(hello) as served:
        reader, writer = await served.connect()
        writer.write(b"GET / HTTP/1.1\r\n")
        answer = asyncio.create_task(read_all(reader))
        sent = 0
        while not answer.done():
            writer.write(b"x: %s\r\n" % (b"y" * 8_000))
            sent += 8_000
            await asyncio.sleep(0.01)
        assert answer.result().startswith(b"HTTP/1.1 431")
        assert sent < 16 * server_http.LARGEST_HEAD
        writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET"])
async def test_a_request_head_not_completed_in_time_closes_the_connection(sent: bytes, monkeypatch: Any) -> None:
    monkeypatch.setattr(server_http, "HEAD_TIMEOUT", 0.1)
    async with serving(hello) as served:
        reader, writer = await served.connect()
        writer.write(sent)
        await read_all(reader)
        writer.close()


@pytest.mark.slow
async def test_a_connection_is_idle_after_a_late_body_and_is_not_while_a_buffered_request_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is sent after a response keeps no connection open, but a request does, also one that came with another."""
    monkeypatch.setattr(server_module, "KEEP_ALIVE", 0.1)
    released = asyncio.Event()

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await released.wait()
        await hello(scope, receive, send)

    def request(more: bytes, path: bytes = b"/") -> bytes:
        return b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n"

    async with serving(answering) as served:
        slow, writer = await served.connect()
        large_head = b"X-Padding: " + b"x" * server_http.CHUNK + b"\r\n"
        writer.write(request(large_head + b"Content-Length: 0\r\n") + request(b"Content-Length: 0\r\n", b"/slow"))
        await slow.readuntil(b"hi")
        for headers, late in (
            (b"Content-Length: 0\r\n", b"\r\n"),
            (b"Content-Length: 3\r\n", b"abc"),
            (b"Transfer-Encoding: chunked\r\n", b"1\r\na\r\n0\r\n\r\n"),
        ):
            reader, other = await served.connect()
            other.write(request(headers))
            await reader.readuntil(b"hi")
            other.write(late)
            assert await read_all(reader) == b""
            other.close()
        released.set()
        async with asyncio.timeout(20):
            assert (await slow.readuntil(b"hi")).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_trailers_are_no_headers_and_are_limited() -> None:
    """A client could choose its address by them behind a proxy that passes them on, or fill the memory."""
    seen: list[list[tuple[bytes, bytes]]] = []

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        while (event := await receive()).get("more_body"):
            pass
        seen.append(scope["headers"])
        if event["type"] == "http.request":
            await hello(scope, receive, send)

    begun = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    async with serving(reading) as served:
        reader, writer = await served.connect()
        writer.write(begun + b"X-Forwarded-For: 198.51.100.1\r\n\r\n")
        assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200")
        assert seen == [[(b"host", b"x"), (b"transfer-encoding", b"chunked")]]
        writer.close()
        for endless in (b"A: b\r\n" * 1_000, b"A: " + b"b" * 6_000):
            reader, writer = await served.connect()
            writer.write(begun + endless * 20)
            assert await read_all(reader) == b""
            writer.close()


async def test_send_waits_for_the_client_to_read_and_gives_up_on_one_that_never_does(
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr(server_sockets, "LINGER", 0.2)
    loop = asyncio.get_running_loop()
    sent, since = 0, loop.time()

    async def flood(_scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent, since
        await receive()
        await send({"type": "websocket.accept"})
        try:
            async with asyncio.timeout(2):
                while True:
                    since = loop.time()
                    await send({"type": "websocket.send", "text": "x" * 2**20})
                    sent += 1
        except TimeoutError:
            pass

    async with serving(flood) as served:
        reader, writer = await served.connect()
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        transport: Any = writer.transport
        transport.pause_reading()
        await until(lambda: loop.time() - since > 0.5)
        [connection] = served.server.server_state.connections
        # One message in the write buffer, the rest in the kernel.
        assert connection.transport.get_write_buffer_size() < 2 * 2**20
        assert sent < 30
        await until(lambda: served.connections == 0)
        writer.transport.abort()


async def test_a_client_that_does_not_answer_pings_is_disconnected(monkeypatch: Any) -> None:
    monkeypatch.setattr(server_module, "PING_INTERVAL", 0.05)
    monkeypatch.setattr(server_module, "PONG_TIMEOUT", 0.2)
    async with serving(hello) as served:
        reader, writer = await served.socket()
        assert (await read_all(reader))[0] == 0x80 | PING
        await until(lambda: served.connections == 0)
        writer.close()


async def test_a_client_stays_connected_while_the_server_does_not_read(monkeypatch: Any) -> None:
    """Its pongs are queued behind unread messages."""
    monkeypatch.setattr(server_module, "PING_INTERVAL", 0.05)
    monkeypatch.setattr(server_module, "PONG_TIMEOUT", 0.1)
    busy = asyncio.Event()

    async def slow(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await busy.wait()
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    async with serving(slow) as served:
        reader, writer = await served.socket()
        writer.write(frame(TEXT, b"unread"))
        for _ in range(5):
            opcode, payload = await read_frame(reader)
            assert opcode == PING
            writer.write(frame(PONG, payload))
        busy.set()
        while (received := await read_frame(reader))[0] == PING:
            writer.write(frame(PONG, received[1]))
        assert received == (TEXT, b"unread")
        writer.close()


async def test_the_last_messages_arrive_while_the_client_keeps_sending() -> None:
    async def close_first(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        await send({"type": "websocket.send", "text": "farewell"})
        await send({"type": "websocket.close", "code": 1012, "reason": "Gone"})

    async with serving(close_first) as served:
        reader, writer = await served.socket()
        for _ in range(2_000):
            writer.write(frame(TEXT, b"x" * 100))
        await writer.drain()
        assert await read_frame(reader) == (TEXT, b"farewell")
        opcode, payload = await read_frame(reader)
        assert (opcode, payload) == (CLOSE, struct.pack("!H", 1012) + b"Gone")
        writer.write(frame(CLOSE, payload))
        await read_all(reader)
        await until(lambda: served.connections == 0)
        writer.close()


async def test_running_requests_are_finished_when_the_server_stops() -> None:
    requested, proceed = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        requested.set()
        await proceed.wait()
        await hello(scope, receive, send)

    async with serving(slow) as served:
        reader, writer = await served.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await requested.wait()
        served.server.stop()
        await until(lambda: served.listener.fileno() == -1)
        assert served.sockets_closed
        proceed.set()
        assert (await read_all(reader)).endswith(b"\r\n\r\nhi")
        writer.close()


async def test_a_port_in_use_is_refused() -> None:
    with listen("127.0.0.1", 0) as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(PortTaken):
            listen("127.0.0.1", port)
        with pytest.raises(PortTaken):
            listen("127.0.0.1", port, shared=True)


@pytest.mark.parametrize(
    ("raw_request", "body"),
    [
        (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", b""),
        (b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n", b""),
        (b"GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n", b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n"),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", b"abc"),
        (b"GET / HTTP/1.0\r\nHost: x\r\n\r\n", b"hi"),
    ],
)
async def test_every_kind_of_response_is_complete_and_the_next_request_is_served(
    raw_request: bytes, body: bytes
) -> None:
    """Also behind our outermost layer, which serves HEAD as GET."""
    async with serving(cast("Any", Edge(cast("Any", various)))) as served:
        reader, writer = await served.connect()
        writer.write(raw_request)
        if b"Expect" in raw_request:
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"abc")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 204"))
        assert await reader.readexactly(len(body)) == body
        if b"HTTP/1.0" not in raw_request:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
            for _ in range(2):
                assert (await reader.readuntil(b"hi")).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_responses_arrive_in_the_order_of_the_requests() -> None:
    """Also when they are sent together, some are large, and the connection ends with the last."""
    paths = (b"/", b"/large", b"/pieces", b"/")
    async with serving(various) as served:
        reader, writer = await served.connect()
        requests = [b"GET %s HTTP/1.1\r\nHost: x\r\n" % path for path in paths]
        writer.write(b"\r\n".join(requests) + b"Connection: close\r\n\r\n")
        responses = (await read_all(reader)).split(b"HTTP/1.1 ")[1:]
        bodies = [response.partition(b"\r\n\r\n")[2] for response in responses]
        assert bodies == [b"hi", b"l" * LARGE, b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n", b"hi"]
        writer.close()


async def test_a_body_that_is_too_large_is_refused_and_others_are_served(database_url: str, data_dir: Path) -> None:
    """With a Content-Length and with a chunked body."""
    world = World(database_url, data_dir, NOW, port=free_port())

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b"x" * 2**20

    async with world:
        for content in (b"x" * (17 * 2**20), pieces()):
            headers = {"Content-Type": "application/json"}
            answer = await world.http.post("/api/query", content=content, headers=headers, timeout=30)
            assert answer.status_code == 413
        assert (await world.http.get("/readyz")).is_success


@pytest.mark.parametrize("host", ["nowhere.invalid", "203.0.113.7"])
def test_g59_an_error_about_the_host_does_not_blame_the_port(host: str) -> None:
    """For an unknown name, or the address of another machine."""
    with pytest.raises(HostUnknown, match=f"{host}: this machine has no such address"):
        listen(host, 0)
