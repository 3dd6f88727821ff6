"""A bare client of the sync protocol, frame by frame, for messages that no official client sends."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import websockets
from websockets.asyncio.client import ClientConnection, connect

Message = dict[str, Any]


def moment(text: str) -> int:
    """Return a timestamp of the wire as a number."""
    return int.from_bytes(base64.b64decode(text), "little")


class SocketClosed(Exception):
    """The server closed the socket with `code` and `reason`, or the connection was cut (1006)."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class SyncSocket:
    """One socket: `async with SyncSocket(origin) as socket`. A session may continue on another socket.

    session   the id of the client's session
    received  every message so far
    """

    def __init__(self, origin: str, *, session: str | None = None, connections: int = 0) -> None:
        self._address = origin.replace("http", "ws", 1) + "/api/1.48.0/sync"
        self.session = session or str(uuid.uuid4())
        self._connections = connections
        self.received: list[Message] = []
        self._connection: ClientConnection | None = None

    @property
    def connection(self) -> ClientConnection:
        """Return the underlying connection."""
        assert self._connection is not None
        return self._connection

    async def __aenter__(self) -> Self:
        try:
            # No deflate: frames are measured and mutated as they are.
            self._connection = await connect(
                self._address, max_size=None, compression=None, ping_interval=None, proxy=None
            )
        except (OSError, websockets.InvalidHandshake, websockets.ConnectionClosed, EOFError) as error:
            raise SocketClosed(1006, type(error).__name__) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.connection.close()

    async def send(self, message: Message | str | bytes) -> None:
        """Send a message, or text that may be malformed; SocketClosed when the connection is closed."""
        try:
            await self.connection.send(json.dumps(message) if isinstance(message, dict) else message)
        except websockets.ConnectionClosed as closed:
            raise _closed(closed) from None

    async def connect(self, **more: Any) -> Self:
        """Send Connect."""
        said = {"sessionId": self.session, "connectionCount": self._connections, "lastCloseReason": None, "clientTs": 0}
        await self.send({"type": "Connect", **said, **more})
        return self

    async def authenticate(self, base: int, token: str | None) -> None:
        """Sign in, or out without a token."""
        who = {"tokenType": "User", "value": token} if token else {"tokenType": "None"}
        await self.send({"type": "Authenticate", "baseVersion": base, **who})

    async def subscribe(self, base: int, **queries: Any) -> None:
        """Add queries: `subscribe(0, q0=("counter:get", {"key": "a"}))`."""
        adds = [
            {"type": "Add", "queryId": int(name[1:]), "udfPath": path, "args": [args]}
            for name, (path, args) in queries.items()
        ]
        await self.send({"type": "ModifyQuerySet", "baseVersion": base, "newVersion": base + 1, "modifications": adds})

    async def mutate(self, request: int, path: str, args: Message) -> None:
        """Request a mutation; `response` waits for its answer."""
        await self.send({"type": "Mutation", "requestId": request, "udfPath": path, "args": [args]})

    async def receive(self, fits: Callable[[Message], bool] = lambda _: True, within: float = 15.0) -> Message:
        """Return the next message that fits; SocketClosed when the connection closes first, TimeoutError after `within`
        seconds.
        """
        async with asyncio.timeout(within):
            while True:
                try:
                    message: Message = json.loads(await self.connection.recv())
                except websockets.ConnectionClosed as closed:
                    raise _closed(closed) from None
                self.received.append(message)
                if fits(message):
                    return message

    async def response(self, request: int) -> Message:
        """Return the response to a request."""
        return await self.receive(lambda m: m["type"].endswith("Response") and m["requestId"] == request)

    async def transition(self, query_set: int) -> Message:
        """Return the Transition that covers that version of the query set."""
        return await self.receive(lambda m: m["type"] == "Transition" and m["endVersion"]["querySet"] >= query_set)


def _closed(closed: websockets.ConnectionClosed) -> SocketClosed:
    return SocketClosed(closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else SocketClosed(1006, "")
