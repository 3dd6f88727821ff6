"""Many idle apps in one process, for `script/bench live`: a minimal WebSocket client.

    python -m bench.sockets

Reads one line of JSON from its input: origin, tokens, sockets (of each token), prefix. Opens all sockets, subscribes
each to three queries, and prints `{"ready": …}`. An entry whose content is `<prefix><person>:<time.monotonic()>`
carries the time of its write. When its input ends, it prints what every socket received, and exits.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import struct
import sys
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

AT_ONCE = 40  # sockets opening at the same time
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
SHORT, LONG, LONGER = 125, 126, 127
QUERIES = ("users:getUserProfile", "diaries:pageDiaries", "usage:getCurrentUserUsage")
ARGS: dict[str, Any] = {"diaries:pageDiaries": {"limit": 1}}


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a client's frame, masked with zeros, which changes nothing."""
    length = len(payload)
    if length <= SHORT:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | LONG, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | LONGER, length)
    return head + bytes(4) + payload


class App(asyncio.Protocol):
    """One app: opens its socket, subscribes, and counts what it receives."""

    __slots__ = ("_buffer", "_first_words", "_upgraded", "answered", "latencies", "owner", "transport", "wakes")

    written = re.compile(rb"")

    def __init__(self, owner: int) -> None:
        self.owner = owner
        self.wakes = 0
        self.latencies: list[float] = []
        self.answered: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self._buffer = b""
        self._upgraded = False
        self._first_words = b""

    def begin(self, host: str, token: str) -> None:
        """Send the upgrade, and the first messages of an app."""
        add = [
            {"type": "Add", "queryId": number, "udfPath": path, "args": [ARGS.get(path, {})]}
            for number, path in enumerate(QUERIES)
        ]
        said: list[dict[str, Any]] = [
            {"type": "Connect", "sessionId": str(uuid.uuid4()), "connectionCount": 0, "lastCloseReason": None},
            {"type": "Authenticate", "baseVersion": 0, "tokenType": "User", "value": token},
            {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": add},
        ]
        upgrade = (
            f"GET /api/1.48.0/sync HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert self.transport is not None
        self.transport.write(upgrade.encode())
        self._first_words = b"".join(frame(TEXT, json.dumps(one).encode()) for one in said)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection was lost."""
        self.transport = None
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(exc or ConnectionError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        """Read what the server sends."""
        self._buffer += data
        if not self._upgraded:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                raise RuntimeError(head.decode())
            self._upgraded, self._buffer = True, rest
            assert self.transport is not None
            self.transport.write(self._first_words)
            self._first_words = b""
        while (found := split(self._buffer)) is not None:
            opcode, payload, self._buffer = found
            self._hear(opcode, payload)

    def _hear(self, opcode: int, payload: bytes) -> None:
        now = time.monotonic()
        if opcode == PING and self.transport is not None:
            self.transport.write(frame(PONG, payload))
        elif opcode == CLOSE:
            raise RuntimeError(f"closed: {payload[2:].decode(errors='replace')}")
        if opcode != TEXT or b'"Transition"' not in payload:
            return
        if self.answered is not None:
            if b'"querySet":1' in payload.partition(b'"endVersion"')[2] and not self.answered.done():
                self.answered.set_result(None)
            return
        self.wakes += 1
        if found := App.written.search(payload):
            assert int(found[1]) == self.owner, "another user's entry"
            self.latencies.append(now - float(found[2]))


def split(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Return the first frame's opcode and payload, and the rest; None while it is incomplete."""
    # The length is in the second byte, or in the 2 or 8 bytes after it.
    length, start = (data[1] & 0x7F if len(data) > 1 else 0), 2
    if length >= LONG:
        start = 4 if length == LONG else 10
        length = int.from_bytes(data[2:start])
    if len(data) < start or len(data) < start + length:
        return None
    return data[0] & 0xF, data[start : start + length], data[start + length :]


async def opened(app: App, origin: str, token: str, turns: asyncio.Semaphore) -> None:
    """Open a socket, and wait for its first results."""
    address = urlsplit(origin)
    async with turns:
        await asyncio.get_running_loop().create_connection(lambda: app, address.hostname or "", address.port or 0)
        app.begin(address.netloc, token)
        assert app.answered is not None
        await asyncio.wait_for(app.answered, 60)
        app.answered = None


async def main() -> None:
    """Run as the input says."""
    asked = json.loads(await asyncio.to_thread(sys.stdin.readline))
    App.written = re.compile(re.escape(asked["prefix"]).encode() + rb"(\d+):(\d+\.\d+)")
    apps = [App(owner) for owner in range(len(asked["tokens"])) for _ in range(asked["sockets"])]
    turns = asyncio.Semaphore(AT_ONCE)
    started = time.monotonic()
    await asyncio.gather(*(opened(app, asked["origin"], asked["tokens"][app.owner], turns) for app in apps))
    print(json.dumps({"ready": len(apps), "seconds": time.monotonic() - started}), flush=True)
    for app in apps:
        app.wakes = 0
    await asyncio.to_thread(sys.stdin.read)
    heard = [{"owner": app.owner, "wakes": app.wakes, "latencies": app.latencies} for app in apps]
    lost = sum(app.transport is None for app in apps)
    print(json.dumps({"heard": heard, "lost": lost}), flush=True)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(main())
