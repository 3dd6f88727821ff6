"""Frames nobody should send: the server answers as the protocol says, complains of nothing, and serves on."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import struct
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rehearsal.line import Hangup, Line, Message
from rehearsal.server import Keys, Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

# What a client may be told, and how a socket may end.
KNOWN = {"Transition", "MutationResponse", "ActionResponse", "AuthError", "FatalError", "Ping"}
ENDS = {1000, 1002, 1003, 1007, 1008, 1009, 1011, 1013}
PROBE = 4_000_000
SECRET = f"canary {uuid.uuid4()}"


class Alice:
    """Somebody whose diary nobody else may hear of, and who must be served all the while."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.writes = 0

    async def is_served(self) -> None:
        """She writes, and sees it."""
        request, self.writes = self.writes, self.writes + 1
        await self.line.mutate(request, "diaries:createDiary", {"content": f"{SECRET} {request}"})
        answer = await self.line.response(request)
        assert answer["success"], answer
        await self.line.hear(lambda m: m["type"] == "Transition" and f"{SECRET} {request}" in json.dumps(m))


@pytest.fixture
async def alice(server: Server, keys: Keys) -> AsyncIterator[Alice]:
    async with Line(server.origin) as line:
        await line.connect()
        await line.be(0, keys.token(f"user_{uuid.uuid4()}", email="alice@example.test"))
        await line.ask(0, q0=("diaries:listDiaries", {}), q1=("users:getUserProfile", {}))
        await line.taken(1)
        yield Alice(line)


def complaints(server: Server) -> list[str]:
    """What the server complains of, but for functions that fail on purpose."""
    return [line for line in server.complaints() if "errors:" not in line]


async def outcome(line: Line) -> str:
    """How a line stands after what it said: `served`, or how it ended; fails when it is neither served nor ended."""
    try:
        await line.say({"type": "Action", "requestId": PROBE, "udfPath": "actions:add", "args": [{"a": 1, "b": 2}]})
        await line.hear(lambda m: m["type"] == "ActionResponse" and m["requestId"] == PROBE, within=30)
    except Hangup as hangup:
        return str(hangup.code)
    return "served"


def lawful(heard: list[Message], ended: str) -> None:
    """What was heard is of the protocol, in its order, and has nothing of alice's."""
    version = {"querySet": 0, "identity": 0, "ts": base64.b64encode(bytes(8)).decode()}
    for message in heard:
        assert message["type"] in KNOWN
        if message["type"] == "Transition":
            assert message["startVersion"] == version
            version = message["endVersion"]
    assert SECRET not in json.dumps(heard)
    if any(message["type"] in {"FatalError", "AuthError"} for message in heard):
        assert ended != "served", "the socket stays open after the end was announced"
    # 1006: the line was dropped without a word, which is for frames that are not even WebSocket's.
    assert ended == "served" or int(ended) in ENDS, ended


def conversation(bob: str, session: str) -> list[Message]:
    """What a client of bob's would say."""
    return [
        {"type": "Connect", "sessionId": session, "connectionCount": 0, "lastCloseReason": None, "clientTs": 1},
        {"type": "Authenticate", "baseVersion": 0, "tokenType": "User", "value": bob},
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
        -1, 2**31, 2**32, 2**53 + 1, 2**63, 2**64, 2**200, -(2**63), 0.5, 1e308, "", "\0", "\ud800", "a:b:c", "::", "x" * 5000,
        [], {}, [{}, {}], [[[]]], {"$integer": "AA=="}, {"$float": 1}, {"$bytes": "%"}, {"$x": 1}, {"": {"": ""}},
        "users:getUserProfile", "internalFns:secret", "diaries:createDiaryInternal", "errors:plain_query", "todos:page",
        "Connect", "Ping", "Transition", "Admin", "AAAAAAAAAAA=", "//////////8=", "null", "../../etc/passwd",
    ]),
    st.recursive(st.none() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3), max_leaves=6),
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything within."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in inner for found in [(*at, key), *places(item, (*at, key))]]


def changed(message: Message, draw: st.DrawFn) -> Message:
    """The message with something replaced, renamed or left out."""
    message = json.loads(json.dumps(message))
    *way, last = draw(st.sampled_from(places(message)))
    inside: Any = message
    for step in way:
        inside = inside[step]
    if draw(st.booleans()):
        inside[last] = draw(odd_values)
    elif isinstance(inside, dict):
        value = inside.pop(last)
        if draw(st.booleans()):
            inside[draw(st.text(max_size=10))] = value
    else:
        del inside[last]
    return message


@st.composite
def hostile(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """A conversation gone wrong: what to do with each frame, in order."""
    plan: list[tuple[str, Any]] = [("as it is", number) for number in range(9)]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(plan) - 1))
        how = draw(st.sampled_from(["change", "change", "change", "drop", "twice", "swap", "cut", "noise", "bytes"]))
        match how:
            case "change":
                plan[at] = ("change", (plan[at][1], draw(st.integers(0, 2**32))))
            case "drop":
                if len(plan) > 1:
                    del plan[at]
            case "twice":
                plan.insert(at, plan[at])
            case "swap":
                other = draw(st.integers(0, len(plan) - 1))
                plan[at], plan[other] = plan[other], plan[at]
            case "cut":
                plan[at] = ("cut", (plan[at][1], draw(st.integers(0, 120))))
            case "noise":
                plan.insert(at, ("text", draw(st.text(max_size=60))))
            case "bytes":
                plan.insert(at, ("bytes", draw(st.binary(max_size=60))))
    return plan


@st.composite
def replacement(draw: st.DrawFn, message: Message) -> Message:
    """A changed message."""
    return changed(message, draw)
