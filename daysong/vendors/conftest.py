"""Recorded vendor answers, played to the real clients by an in-process ASGI app or by a server on this machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

HERE = Path(__file__).parent

Message = MutableMapping[str, Any]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Asked(msgspec.Struct, frozen=True):
    """A request a client sent."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


class Answerer:
    """Gives one answer to every request, or several in turn, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: list[tuple[int, bytes, dict[str, str]]] = []

    @property
    def transport(self) -> httpx2.ASGITransport:
        """What a client uses in place of the network."""
        return httpx2.ASGITransport(self._app)

    def will_answer(self, status: int, body: bytes | Path | object, headers: dict[str, str] | None = None) -> None:
        """Append an answer: a fixture file, bytes, or anything to be sent as JSON. The last one is repeated."""
        if isinstance(body, Path):
            content = body.read_bytes()
        else:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append((status, content, {"content-type": "application/json"} | (headers or {})))

    async def _app(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        body = b""
        while (message := await receive())["more_body"]:
            body += message["body"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append(Asked(scope["method"], scope["path"], scope["query_string"].decode(), headers, body))
        status, content, told = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        encoded = [(name.encode(), value.encode()) for name, value in told.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": content})


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[str]:
    """A server on this machine that treats each connection with `talk`; its address."""
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
def answerer() -> Answerer:
    """A vendor that returns the answers it is given."""
    return Answerer()


def fixture(name: str) -> Path:
    """A recorded answer, such as `suno/generate-200.json`."""
    vendor, _, file = name.partition("/")
    path = HERE / vendor / "fixtures" / file
    assert path.is_file(), name
    return path


def fixtures(vendor: str, pattern: str) -> list[str]:
    """The names of the recorded answers that match, without their ending."""
    found = sorted(path.stem for path in (HERE / vendor / "fixtures").glob(f"{pattern}.json"))
    assert found, pattern
    return found
