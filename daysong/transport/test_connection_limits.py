"""Limits of the time and memory that one connection may take."""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path
from typing import Any, cast

import pytest

from conftest import NOW
from daysong.transport.refusals import Refused
from daysong.transport.server import bodies
from daysong.transport.server import frames as server_frames
from daysong.transport.server import http_connection as server_http
from daysong.transport.server import socket_connection as server_sockets
from daysong.transport.server import writing as server_writing
from daysong.transport.server.bodies import BodyLimits
from daysong.transport.server.held_bytes import SMALL, UNREAD, UNSENT, Budget, Hold
from daysong.transport.server.test_server import CLOSE, TEXT, frame, hello, read_frame, various
from rehearsal.processes.served import UPGRADE, read_all, serving, until
from rehearsal.sync_socket import SocketClosed, SyncSocket
from rehearsal.world import World, free_port

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops: asyncio of tests and `daysong dev`, and uvloop of `daysong serve`."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.mark.parametrize("host", ["", "Host: a\r\nHost: b\r\n"])
async def test_g79_http_1_1_without_one_host_is_refused(host: str) -> None:
    """RFC 9112; also for an upgrade and a pipelined request. HTTP/1.0 needs no Host header."""
    async with serving(hello) as served:
        for request in (
            f"GET / HTTP/1.1\r\n{host}\r\n",
            UPGRADE.decode().replace("Host: x\r\n", host),
            f"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n{host}\r\n",
        ):
            reader, writer = await served.connect()
            writer.write(request.encode())
            assert b"HTTP/1.1 400" in await read_all(reader)
            writer.close()
        reader, writer = await served.connect()
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await read_all(reader)).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_g70_a_request_with_too_many_headers_is_refused() -> None:
    async with serving(hello) as served:
        reader, writer = await served.connect()
        writer.write(b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 5_000)
        assert (await read_all(reader)).startswith(b"HTTP/1.1 431")
        writer.close()


async def test_g70_a_burst_of_data_is_processed_in_turns_and_in_order() -> None:
    """Hundreds of requests, a body in chunks of one byte, and messages right after a handshake."""
    async with serving(various) as served:
        reader, writer = await served.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000)
        for _ in range(1_000):
            await reader.readuntil(b"\r\n\r\nhi")
        body = b"1\r\na\r\n" * 10_000 + b"0\r\n\r\n"
        writer.write(b"POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        await reader.readuntil(b"\r\n\r\nhi")
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\nhi")
        writer.close()
    async with serving(hello) as served:
        reader, writer = await served.socket()
        texts = [b"%d" % number for number in range(2_000)]
        writer.write(b"".join(frame(TEXT, text) for text in texts))
        assert [await read_frame(reader) for _ in texts] == [(TEXT, text) for text in texts]
        writer.close()


async def test_g73_a_message_that_is_not_completed_in_time_closes_the_socket(monkeypatch: Any) -> None:
    monkeypatch.setattr(server_sockets, "MESSAGE_TIMEOUT", 0.2)
    async with serving(hello) as served:
        reader, writer = await served.socket()
        for text in (b"a", b"b"):
            writer.write(frame(TEXT, text))
            assert await read_frame(reader) == (TEXT, text)
        writer.write(frame(TEXT, b"half")[:-2])
        opcode, payload = await read_frame(reader)
        assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", 1008))
        await read_all(reader)
        writer.close()
        await until(lambda: served.connections == 0)
    assert UNREAD.held == 0


async def test_g43_an_endless_message_closes_the_socket(monkeypatch: Any) -> None:
    monkeypatch.setattr(server_frames, "LARGEST_DRAINED", 5_000)
    async with serving(hello) as served:
        reader, writer = await served.socket()
        writer.write(struct.pack("!BBH", 0x81, 0xFE, 5_001) + bytes(4))
        opcode, payload = await read_frame(reader)
        assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", 1009))
        await read_all(reader)
        writer.close()


@pytest.mark.parametrize("fragments", [1, 3])
async def test_g43_the_app_receives_the_first_bytes_of_a_message_that_is_too_large(fragments: int) -> None:
    """In one frame or in several; the messages before and after it arrive."""
    received: list[Any] = []

    async def listener(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            received.append(message.get("too_large", message["text"]))
        del scope

    beginning, size = b'{"type":"Mutation","requestId":7,', 700_000
    async with serving(listener) as served:
        _, writer = await served.socket()
        writer.write(frame(TEXT, b"before"))
        part = size // fragments
        for number in range(fragments):
            first = (TEXT if number == 0 else 0) | (0x80 if number == fragments - 1 else 0)
            payload = (beginning if number == 0 else b"").ljust(part, b"x")
            writer.write(struct.pack("!BBQ", first, 0xFF, part) + bytes(4) + payload)
        writer.write(frame(TEXT, b"after"))
        await until(lambda: len(received) == 3)
        writer.close()
    before, head, after = received
    assert (before, after) == ("before", "after")
    assert head.startswith(beginning)
    assert len(head) <= server_frames.HEAD


async def test_g73_a_body_that_is_not_completed_in_time_is_refused(monkeypatch: Any) -> None:
    monkeypatch.setattr(bodies, "TIMEOUT", 0.2)
    monkeypatch.setattr(server_http, "UNREAD_BODY_TIMEOUT", 0.1)
    statuses: list[int] = []

    async def read_body(_scope: Any, receive: Any, send: Any) -> None:
        try:
            while (await receive())["more_body"]:
                pass
        except Refused as refused:
            statuses.append(refused.status)
            await send({"type": "http.response.start", "status": refused.status, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    async with serving(cast("Any", BodyLimits(cast("Any", read_body)))) as served:
        reader, writer = await served.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        assert (await read_all(reader)).startswith(b"HTTP/1.1 408")
        writer.close()
    assert statuses == [408]
    assert UNREAD.held == 0


@pytest.mark.parametrize("crowded", [True, False])
async def test_g73_a_client_that_does_not_read_a_response_is_disconnected(monkeypatch: Any, crowded: bool) -> None:
    """After a timeout; at once when the budget of unsent bytes is used up."""
    monkeypatch.setattr(server_writing, "CHECK_INTERVAL", 0.1)
    monkeypatch.setattr(server_writing, "STALL_TIMEOUT", 60.0 if crowded else 0.3)
    hold = Hold(UNSENT, "elsewhere")

    async def flood(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": True})

    async with serving(flood) as served:
        reader, writer = await served.connect()
        transport: Any = writer.transport
        transport.pause_reading()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        hold.set(UNSENT.most if crowded else 0)
        await until(lambda: served.server.server_state.total_requests == 0 and served.connections == 1)
        await until(lambda: served.connections == 0)
        transport.abort()
        del reader
    hold.set(0)


def test_g73_a_budget_refuses_large_amounts_when_it_or_an_address_share_is_used_up() -> None:
    """Small amounts always fit."""
    budget = Budget(most=10 * SMALL, share=6 * SMALL)
    one, two, other = Hold(budget, "a"), Hold(budget, "a"), Hold(budget, "b")
    assert one.set(5 * SMALL)
    assert two.set(SMALL)
    assert not two.set(SMALL + 1)
    assert budget.crowded("a")
    assert not budget.crowded("b")
    assert other.set(SMALL)
    assert not other.set(4 * SMALL)
    assert budget.full
    for hold in (one, two, other):
        hold.set(0)
    assert budget.held == 0
    assert not budget.by_address


@pytest.fixture
async def limited(database_url: str, data_dir: Path) -> Any:
    """A world with limits, among them three sockets per address."""
    environ = {"DAYSONG_TEST": "", "LIMIT_SOCKETS_AT_ONCE": "3"}
    async with World(database_url, data_dir, NOW, environ, port=free_port()) as world:
        yield world


async def test_g73_the_open_sockets_of_an_address_are_limited(limited: World) -> None:
    """One more is closed with 1013, after which clients reconnect; a closed socket makes room."""
    sockets = [SyncSocket(limited.origin) for _ in range(4)]
    for socket in sockets:
        await socket.__aenter__()
    with pytest.raises(SocketClosed, match="1013 TooManySocketsFromOneAddress"):
        await sockets[3].receive()
    await sockets[0].__aexit__(None, None, None)
    await until(lambda: len(limited.app.hub.sessions) == 2)
    async with SyncSocket(limited.origin) as socket:
        await (await socket.connect()).subscribe(0)
        await socket.transition(1)
    for socket in sockets[1:]:
        await socket.__aexit__(None, None, None)


async def test_g43_only_the_request_that_is_too_large_fails(limited: World) -> None:
    """In order. A query that is too large is a protocol error, since its id may be anywhere in the message."""
    async with SyncSocket(limited.origin) as socket:
        await socket.connect()
        await socket.mutate(0, "diaries:createDiary", {"content": "x" * 700_000})
        response = await socket.response(0)
        assert not response["success"]
        assert "too large: at most 524288 bytes" in response["result"]
        await socket.send({"type": "Action", "requestId": 1, "udfPath": "no:such", "args": [{}]})
        assert "Could not find" in (await socket.response(1))["result"]
        add = {"type": "Add", "queryId": 0, "udfPath": "billing:getPlans", "args": [{"x": "x" * 700_000}]}
        await socket.send({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]})
        assert (await socket.receive(lambda m: m["type"] != "Transition"))["type"] == "FatalError"


async def test_g42_a_lone_surrogate_does_not_fail_a_request(limited: World) -> None:
    """It is replaced by U+FFFD everywhere in the message, also in protocol fields."""
    alice = await limited.person("alice")
    async with SyncSocket(limited.origin) as socket:
        await socket.connect()
        await socket.authenticate(0, alice.headers["Authorization"].removeprefix("Bearer "))
        await socket.subscribe(0, q0=("diaries:listDiaries", {}))
        content = "Rain. \ud83d"
        await socket.send(json.dumps({
            "type": "Mutation", "requestId": 0, "udfPath": "diaries:createDiary", "args": [{"content": content}],
        }))  # fmt: skip
        assert (await socket.response(0))["success"]
        seen = await socket.receive(lambda m: m["type"] == "Transition" and bool(m["modifications"]))
        assert seen["modifications"][-1]["value"][0]["content"] == "Rain. \ufffd"
        await socket.send(json.dumps({"type": "Action", "requestId": 1, "udfPath": "\udc00:x", "args": [{}]}))
        assert not (await socket.response(1))["success"]
    answer = await limited.http.post(
        "/api/query_batch",
        content=json.dumps(
            {"queries": [{"path": "billing:getPlans", "args": {"\ud83d": 1}}, {"path": "billing:getPlans"}]}
        ),
    )
    assert [result["status"] for result in answer.json()["results"]] == ["error", "success"]
    await asyncio.sleep(0)
