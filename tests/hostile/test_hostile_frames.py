"""Malformed frames: the server answers as the protocol says, logs no errors, and keeps serving."""

from __future__ import annotations

import base64
import copy
import json
import socket as sockets
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rehearsal.processes.server import Keys, Server
from rehearsal.sync_socket import Message, SocketClosed, SyncSocket

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

# The messages a client may receive, and the close codes of a socket.
KNOWN = {"Transition", "MutationResponse", "ActionResponse", "AuthError", "FatalError", "Ping"}
ENDS = {1000, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1013}
PROBE = 4_000_000
SECRET = f"canary {uuid.uuid4()}"


class Alice:
    """A user whose diary must not leak, and who must be served throughout."""

    def __init__(self, socket: SyncSocket) -> None:
        self.socket = socket
        self.writes = 0

    async def is_served(self) -> None:
        """Write an entry, and receive it."""
        request, self.writes = self.writes, self.writes + 1
        await self.socket.mutate(request, "diaries:createDiary", {"content": f"{SECRET} {request}"})
        answer = await self.socket.response(request)
        assert answer["success"], answer
        await self.socket.receive(lambda m: m["type"] == "Transition" and f"{SECRET} {request}" in json.dumps(m))


@pytest.fixture
async def alice(server: Server, keys: Keys) -> AsyncIterator[Alice]:
    async with SyncSocket(server.origin) as socket:
        await socket.connect()
        await socket.authenticate(0, keys.token(f"user_{uuid.uuid4()}", email="alice@example.test"))
        await socket.subscribe(0, q0=("diaries:listDiaries", {}), q1=("users:getUserProfile", {}))
        await socket.transition(1)
        yield Alice(socket)


def complaints(server: Server) -> list[str]:
    """Return the errors in the server's log, except of functions that fail on purpose."""
    return [line for line in server.complaints() if "errors:" not in line]


async def outcome(socket: SyncSocket) -> str:
    """Return `served` or the close code of a socket; fails when it is neither served nor closed."""
    try:
        await socket.send({"type": "Action", "requestId": PROBE, "udfPath": "actions:add", "args": [{"a": 1, "b": 2}]})
        await socket.receive(lambda m: m["type"] == "ActionResponse" and m["requestId"] == PROBE, within=30)
    except SocketClosed as closed:
        return str(closed.code)
    return "served"


def lawful(received: list[Message], ended: str) -> None:
    """Check that the messages follow the protocol, in order, and contain nothing of alice's."""
    version = {"querySet": 0, "identity": 0, "ts": base64.b64encode(bytes(8)).decode()}
    for message in received:
        assert message["type"] in KNOWN
        if message["type"] == "Transition":
            assert message["startVersion"] == version
            version = message["endVersion"]
    assert SECRET not in json.dumps(received)
    if any(message["type"] in {"FatalError", "AuthError"} for message in received):
        assert ended != "served", "the socket stays open after a final message"
    # 1005: no reason given. 1006: a client that keeps sending while the server closes is cut off by TCP before the last
    # frames.
    assert ended == "served" or int(ended) in ENDS, ended


BOB = "a token of bob's"
SESSION = "a session of his"
FRAMES: list[Message] = [
    {"type": "Connect", "sessionId": SESSION, "connectionCount": 0, "lastCloseReason": None, "clientTs": 1},
    {"type": "Authenticate", "baseVersion": 0, "tokenType": "User", "value": BOB},
    {
        "type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1,
        "modifications": [
            {"type": "Add", "queryId": 0, "udfPath": "diaries:listDiaries", "args": [{}]},
            {"type": "Add", "queryId": 1, "udfPath": "counter:get", "args": [{"key": "fuzz"}], "journal": None},
        ],
    },
    {"type": "Mutation", "requestId": 0, "udfPath": "counter:increment", "args": [{"key": "fuzz"}]},
    {"type": "Action", "requestId": 1, "udfPath": "actions:add", "args": [{"a": 1.0, "b": 2.0}]},
    {"type": "Event", "eventType": "ClientConnect", "event": [{"name": "x", "startTime": 1.5}]},
    {
        "type": "ModifyQuerySet", "baseVersion": 1, "newVersion": 2,
        "modifications": [{"type": "Remove", "queryId": 0}],
    },
    {"type": "Mutation", "requestId": 2, "udfPath": "diaries:createDiary", "args": [{"content": "Rain."}]},
    {"type": "Authenticate", "baseVersion": 1, "tokenType": "None"},
]  # fmt: skip

odd_values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.sampled_from([
        -1, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, 2**200, -(2**63), 0.5, 1e308, "", "\0", "\ud800", "a:b:c", "::",
        "x" * 5000, [], {}, [{}, {}], [[[]]], {"$integer": "AA=="}, {"$float": 1}, {"$bytes": "%"}, {"$x": 1},
        {"": {"": ""}}, "users:getUserProfile", "internalFns:secret", "diaries:createDiaryInternal", "todos:page",
        "errors:plain_query", "Connect", "Ping", "Transition", "Admin", "AAAAAAAAAAA=", "//////////8=", "null",
    ]),
    st.recursive(st.none() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3), max_leaves=6),
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to every nested value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inner for found in [(*at, key), *places(item, (*at, key))]]


@st.composite
def changed(draw: st.DrawFn, message: Message) -> Message:
    """Return the message with something replaced, renamed or left out."""
    message = copy.deepcopy(message)
    *way, last = draw(st.sampled_from(places(message)))
    inside: Any = message
    for step in way:
        inside = inside[step]
    how = draw(st.sampled_from(["replace", "replace", "rename", "leave out"]))
    if how == "replace":
        inside[last] = draw(odd_values)
    elif how == "rename" and isinstance(inside, dict):
        inside[draw(st.text(max_size=10))] = inside.pop(last)
    else:
        del inside[last]
    return message


@st.composite
def hostile(draw: st.DrawFn) -> list[Message | str | bytes]:
    """Generate a valid exchange with up to four defects."""
    frames: list[Message | str | bytes] = list(FRAMES)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(frames) - 1))
        frame = frames[at]
        match draw(st.sampled_from(["change", "change", "change", "drop", "twice", "swap", "cut", "text", "bytes"])):
            case "change" if isinstance(frame, dict):
                frames[at] = draw(changed(frame)) if places(frame) else {}
            case "drop" if len(frames) > 1:
                del frames[at]
            case "twice":
                frames.insert(at, frame)
            case "swap":
                other = draw(st.integers(0, len(frames) - 1))
                frames[at], frames[other] = frames[other], frames[at]
            case "cut" if isinstance(frame, dict):
                whole = json.dumps(frame)
                frames[at] = whole[: draw(st.integers(0, len(whole)))]
            case "text":
                frames.insert(at, draw(st.text(st.characters(codec="utf-8"), max_size=60)))
            case _:
                frames.insert(at, draw(st.binary(max_size=60)))
    return frames


def as_bob(frame: Message | str | bytes, token: str, session: str) -> str | bytes:
    """Return the frame as it is sent, with bob's token and session filled in."""
    if isinstance(frame, bytes):
        return frame
    # Python writes NaN and Infinity, which are not JSON; a hostile client may as well.
    text = frame if isinstance(frame, str) else json.dumps(frame)
    return text.replace(BOB, token).replace(SESSION, session)


async def play(server: Server, frames: list[str | bytes]) -> tuple[list[Message], str]:
    """Send all frames on one socket; return the messages received, and the outcome."""
    received: list[Message] = []
    try:
        async with SyncSocket(server.origin) as socket:
            received = socket.received
            try:
                for frame in frames:
                    await socket.send(frame)
            except SocketClosed:
                pass
            return received, await outcome(socket)
    except SocketClosed as closed:
        return received, str(closed.code)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(frames=hostile())
@example(frames=[*FRAMES])
async def test_a_malformed_exchange_hurts_no_other_client(
    server: Server, keys: Keys, alice: Alice, frames: list[Message | str | bytes]
) -> None:
    """It is answered or closed as the protocol says, leaks nothing of alice's, and alice is served."""
    before = len(complaints(server))
    token = keys.token("user_bob", email="bob@example.test")
    received, ended = await play(server, [as_bob(frame, token, str(uuid.uuid4())) for frame in frames])
    lawful(received, ended)
    assert complaints(server)[before:] == []
    await alice.is_served()


HUGE = {
    "a message of 40 MB": [json.dumps({"type": "Event", "eventType": "x", "event": "x" * 40_000_000})],
    "nesting of 100,000 levels": ["[" * 100_000],
    "nested arguments": [
        '{"type":"Mutation","requestId":0,"udfPath":"values:echo_mutation","args":[{"value":'
        + "[" * 5000 + "]" * 5000 + "}]}"
    ],
    "100,000 queries at once": [
        json.dumps({
            "type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1,
            "modifications": [
                {"type": "Add", "queryId": number, "udfPath": "counter:get", "args": [{"key": "many"}]}
                for number in range(100_000)
            ],
        })
    ],
    "5,000 requests at once": [
        json.dumps({"type": "Mutation", "requestId": number, "udfPath": "counter:noop", "args": [{}]})
        for number in range(5_000)
    ],
    "a number of 100,000 digits": ['{"type":"Connect","sessionId":"x","connectionCount":' + "9" * 100_000 + "}"],
    "200,000 keys": [json.dumps({"type": "Event", **{f"k{number}": 0 for number in range(200_000)}})],
}  # fmt: skip


@pytest.mark.parametrize("what", HUGE)
async def test_too_much_of_something_hurts_no_other_client(server: Server, alice: Alice, what: str) -> None:
    """The socket is closed or served; memory is as before, and alice is served."""
    before, memory = len(complaints(server)), resident(server)
    received, ended = await play(server, list(HUGE[what]))
    lawful(received, ended)
    assert complaints(server)[before:] == []
    await alice.is_served()
    assert resident(server) - memory < 400 * 1024, "KB"


def resident(server: Server) -> int:
    """Return the resident memory of the server's processes, in KB."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in server.workers()]
    return sum(int(line.split()[1]) for text in status for line in text.splitlines() if line.startswith("VmRSS"))


UPGRADE = (
    b"GET /api/1.48.0/sync HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
RAW = {
    "no upgrade at all": b"GET /api/sync HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "half a handshake": UPGRADE[:90],
    "an unmasked frame": UPGRADE + b"\x81\x02{}",
    "an unknown opcode": UPGRADE + b"\x83\x80\0\0\0\0",
    "reserved bits": UPGRADE + b"\xf1\x80\0\0\0\0",
    "text that is no UTF-8": UPGRADE + b"\x81\x82\0\0\0\0\xff\xfe",
    "a frame that is never finished": UPGRADE + b"\x81\xff\0\0\0\0\0\1\0\0\0\0\0\0{",
    "a frame of 2^63 bytes": UPGRADE + b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0{",
    "a continuation of nothing": UPGRADE + b"\x80\x80\0\0\0\0",
    "a ping that is too long": UPGRADE + b"\x89\xfe\x01\0\0\0\0\0" + bytes(256),
    "noise": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("what", RAW)
async def test_bytes_that_are_no_websocket_hurt_no_other_client(server: Server, alice: Alice, what: str) -> None:
    """Either side drops the connection; alice is served meanwhile and after."""
    before = len(complaints(server))
    with sockets.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
        raw.sendall(RAW[what])
        await alice.is_served()
    await alice.is_served()
    assert complaints(server)[before:] == []
