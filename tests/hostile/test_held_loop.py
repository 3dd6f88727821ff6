"""No request holds a server's event loop for long, whatever it contains: others are served meanwhile."""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from daysong.kernel.functions.arguments import LARGEST
from daysong.kernel.limits.declarations import INBOUND
from rehearsal.hostile_clients import HANDSHAKE, hostile_clients
from rehearsal.processes.server import NO_TEST_MODE, Keys
from rehearsal.processes.watched_server import Watched, least_held

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

HELD = 0.020  # seconds of CPU
SECRET = "a-secret-of-the-vendors"
# What remains for arguments in a body of the largest size.
SIZE = LARGEST - 64

WITHIN = 20.0  # seconds for an answer

SHAPES: dict[str, str] = {
    "empty objects": "[" + "{}," * (SIZE // 3 - 1) + "{}]",
    "empty arrays": "[" + "[]," * (SIZE // 3 - 1) + "[]]",
    "numbers": "[" + "1," * (SIZE // 2 - 1) + "1]",
    "floats": "[" + "1.5," * (SIZE // 4 - 1) + "1]",
    "long numbers": "[" + ",".join(["9" * 300] * (SIZE // 301)) + "]",
    "empty strings": "[" + '"",' * (SIZE // 3 - 1) + '""]',
    "keys": "{" + ",".join(f'"{number:x}":1' for number in range(SIZE // 10)) + "}",
    "wrapped numbers": "[" + ",".join(['{"$integer":"BwAAAAAAAAA="}'] * (SIZE // 29)) + "]",
    "deep arrays": "[" * (SIZE // 2) + "]" * (SIZE // 2),
    "deep objects": '{"a":' * (SIZE // 6) + "1" + "}" * (SIZE // 6),
    "nesting of 900": "[" * 900 + "]" * 900,
    "a text": json.dumps("x" * (SIZE - 2)),
    "a text of commas": json.dumps("," * (SIZE - 2)),
    "escapes": '"' + "\\n" * (SIZE // 2 - 1) + '"',
    "backslashes": '"' + "\\\\" * (SIZE // 2 - 1) + '"',
    "quotes": '"' + '\\"' * (SIZE // 2 - 1) + '"',
    "escaped letters": '"' + "\\u00e9" * (SIZE // 6 - 1) + '"',
    "halves of pairs": '"' + "\\ud83d" * (SIZE // 6 - 1) + '"',
    "NUL characters": '"' + "\\u0000" * (SIZE // 6 - 1) + '"',
    "emoji": json.dumps("\U0001f3b5" * (SIZE // 4 - 1), ensure_ascii=False),
    "spaces": " " * (SIZE - 1) + "1",
}


@pytest.fixture(scope="module")
def watched(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server as in production, without the functions of test mode."""
    secrets = {"REVENUECAT_WEBHOOK_SECRET": SECRET, "VAPI_WEBHOOK_SECRET": SECRET}
    # The requests of this test would exceed the rate limits.
    rates = {f"LIMIT_{name.upper()}": "off" for name in INBOUND}
    with Watched(
        environ | secrets | rates | NO_TEST_MODE,
        tmp_path_factory.mktemp("watched"),
    ) as server:
        yield server


@pytest.fixture(scope="module")
def token(keys: Keys) -> str:
    return keys.token(f"user_{uuid.uuid4()}", email="alice@example.test")


BODIES: dict[str, tuple[str, str]] = {
    "an argument nobody asked for": ("/api/query", '{"path":"billing:getPlans","args":{"a":@}}'),
    "the arguments": ("/api/query", '{"path":"billing:getPlans","args":@}'),
    "arguments in an array": ("/api/query", '{"path":"billing:getPlans","args":[@]}'),
    "the text of an entry": ("/api/mutation", '{"path":"diaries:createDiary","args":{"content":@}}'),
    "an integer": ("/api/mutation", '{"path":"callSettings:upsertCallSettings","args":{"daysOfWeek":@}}'),
    "beside a float": ("/api/query", '{"path":"diaries:pageDiaries","args":{"limit":5.0,"cursor":@}}'),
    "an unknown function": ("/api/query", '{"path":"nobody:knows","args":{"a":@}}'),
    "the body": ("/api/query", "@"),
    "the path": ("/api/query", '{"path":@}'),
    "beside the arguments": ("/api/query", '{"path":"billing:getPlans","args":{},"b":@}'),
    "an address": ("/api/run/billing/getPlans", '{"args":{"a":@}}'),
    "a batch": ("/api/query_batch", '{"queries":[{"path":"nobody:knows","args":{"a":@}}]}'),
    "a webhook": ("/http/revenuecat-webhook", "@"),
    "an event": ("/http/revenuecat-webhook", '{"event":{"id":"one","type":"TEST","a":@}}'),
    "a report": ("/http/vapi-webhook", '{"message":{"type":"end-of-call-report","artifact":@}}'),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_g70_no_body_holds_the_loop(watched: Watched, token: str, shape: str) -> None:
    """The loop stays free whatever the body's shape and path, up to the largest size accepted."""
    seen = {}
    async with httpx2.AsyncClient(base_url=watched.origin, trust_env=False) as client:
        for name, (path, body) in BODIES.items():

            async def post(path: str = path, body: str = body.replace("@", SHAPES[shape])) -> None:
                headers = {"Authorization": f"Bearer {SECRET if path.startswith('/http') else token}"}
                answer = await client.post(path, content=body.encode(), headers=headers)
                assert answer.status_code < 500, answer.text

            seen[name] = await least_held(watched, post, HELD)
    worst = max(seen, key=seen.__getitem__)
    print(f"{shape}: held for {seen[worst] * 1000:.1f} ms of CPU by {worst}")
    assert seen[worst] < HELD, seen


def texts(*messages: dict[str, Any] | str) -> list[str]:
    """Return messages as they are sent."""
    return [message if isinstance(message, str) else json.dumps(message) for message in messages]


def asked(*changes: dict[str, Any], base: int = 0) -> dict[str, Any]:
    """Return a ModifyQuerySet message."""
    return {"type": "ModifyQuerySet", "baseVersion": base, "newVersion": base + 1, "modifications": list(changes)}


def add(number: int, path: str = "nobody:knows", args: Any = None) -> dict[str, Any]:
    """Return the addition of a query."""
    return {"type": "Add", "queryId": number, "udfPath": path, "args": [args or {}]}


def request(kind: str, number: int, path: str, value: str) -> str:
    """Return a mutation or an action with arguments of that shape."""
    return '{"type":"%s","requestId":%d,"udfPath":"%s","args":[{"content":%s}]}' % (kind, number, path, value)  # noqa: UP031


# Many values for arguments of 20 KB, which are refused at the first.
MANY = "[" + "1," * 10_000 + "1]"
SAID: dict[str, list[str]] = {
    "1,000 unknown queries": texts(asked(*map(add, range(1_000)))),
    "1,000 known queries": texts(asked(*(add(number, "billing:getPlans") for number in range(1_000)))),
    "8,000 queries": texts(asked(*map(add, range(8_000)))),
    "8,000 removals": texts(asked(*({"type": "Remove", "queryId": number} for number in range(8_000)))),
    "500 changes of many queries": texts(
        asked(*map(add, range(900))),
        *(asked(add(1_000 + base) if base % 2 else {"type": "Remove", "queryId": base // 2}, base=base)
          for base in range(1, 500)),
    ),
    "90 actions with many values": [request("Action", number, "usage:checkUsageWithReconciliation", MANY)
                                    for number in range(90)],
    "90 mutations with floats and many values": [
        request("Mutation", number, "diaries:createDiary", '1.0,"date":' + MANY) for number in range(90)
    ],
    "3,000 events": texts(*[{"type": "Event", "eventType": "x", "event": None}] * 3_000),
    **{f"a mutation with {shape}": [request("Mutation", 0, "diaries:createDiary", SHAPES[shape])]
       for shape in ("empty objects", "halves of pairs", "deep arrays", "keys", "NUL characters", "a text")},
    "a token of 500 KB": texts({"type": "Authenticate", "baseVersion": 0, "tokenType": "User", "value": "x" * SIZE}),
    "an identity of many values": [
        '{"type":"Authenticate","baseVersion":0,"tokenType":"Admin","value":"x","impersonating":'
        + SHAPES["empty objects"]
        + "}"
    ],
}  # fmt: skip


# The last message received: the response to a final request behind all others, or the refusal of too much.
ENDS = (b'"requestId":10000', b"FatalError", b"AuthError", b"InternalServerError")


@pytest.mark.parametrize("said", SAID)
async def test_g70_no_message_holds_the_loop(watched: Watched, said: str) -> None:
    """The loop stays free for any message, and for many small ones sent at once."""

    async def say() -> None:
        async with hostile_clients(watched.port) as them:
            reader, writer = await them.socket()
            frames = []
            for text in [*SAID[said], *texts({"type": "Action", "requestId": 10_000, "udfPath": "x:y", "args": []})]:
                payload = text.encode()
                frames.append(struct.pack("!BBQ", 0x81, 0xFF, len(payload)) + bytes(4) + payload)
            writer.write(b"".join(frames))
            async with asyncio.timeout(WITHIN):
                heard = b""
                while not any(end in heard for end in ENDS) and (more := await reader.read(65_536)):
                    heard = heard[-30:] + more

    held = await least_held(watched, say, HELD)
    print(f"{said}: held for {held * 1000:.1f} ms of CPU")
    assert held < HELD


SENT: dict[str, bytes] = {
    "10,000 requests in a pipeline": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000,
    "a body in pieces of one byte": (
        b"POST /api/query HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n1\r\n" * 80_000
    ),
    "a head of many fields": b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 100_000,
    "a long address": b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"%41" * 20_000),
    "frames of one byte": HANDSHAKE + b"\x81\x81\0\0\0\0x" * 50_000,
    "pings": HANDSHAKE + b"\x89\x80\0\0\0\0" * 50_000,
    "a message in empty frames": HANDSHAKE + b"\x01\x80\0\0\0\0" + b"\0\x80\0\0\0\0" * 50_000,
}


@pytest.mark.parametrize("sent", SENT)
async def test_g70_no_bytes_hold_the_loop(watched: Watched, sent: str) -> None:
    """The loop stays free however many small frames arrive."""

    async def send() -> None:
        async with hostile_clients(watched.port) as them:
            reader, writer = await them.connect()
            writer.write(SENT[sent])
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(1):
                    while await reader.read(65_536):
                        pass

    held = await least_held(watched, send, HELD)
    print(f"{sent}: held for {held * 1000:.1f} ms of CPU")
    assert held < HELD
