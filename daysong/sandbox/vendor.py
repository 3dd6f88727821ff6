"""What the sandboxed vendors have in common: answering over ASGI, keeping a log of calls, and faults on demand."""

from __future__ import annotations

import asyncio
import gzip
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, ClassVar
from urllib.parse import parse_qs

import httpx2
import msgspec

from daysong.kernel.time.clock import Clock, to_ms
from daysong.sandbox.faults import Faults

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LOG_LENGTH = 1000
JSON = "application/json"


class Call(msgspec.Struct, frozen=True):
    """One HTTP request; `path` begins after the vendor's own prefix."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    receive: Receive

    def json(self) -> Any:
        """Return the decoded body, or None when it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return None

    @property
    def bearer(self) -> str:
        """Return the token of the Authorization header, or an empty string."""
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        return token if kind.lower() == "bearer" else ""


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = {}


class Logged(msgspec.Struct, frozen=True):
    """A call in the log; `time` in milliseconds since the epoch."""

    method: str
    path: str
    body: Any
    time: float


def reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """Return `value` as a JSON answer."""
    return Answer(status, msgspec.json.encode(value), JSON, headers or {})


class Vendor:
    """A sandboxed vendor. Subclasses serve its API and format its errors."""

    name: ClassVar[str]
    fault_type: ClassVar[type[Faults]]
    # Faults break the API; files served beside it break only when asked by path.
    api: ClassVar[str] = "/"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.log: deque[Logged] = deque(maxlen=LOG_LENGTH)
        self.faults = self.fault_type()
        self._left: int | None = None

    async def serve(self, call: Call, faults: Faults) -> Answer:
        """Answer a call of the vendor's API."""
        raise NotImplementedError

    async def control(self, call: Call) -> Answer | None:
        """Answer a call of the sandbox's own endpoints; None for any other call."""
        raise NotImplementedError

    def error(self, status: int | None, code: int | str | None) -> tuple[int, Any]:
        """Return the HTTP status and body of an error in the vendor's form."""
        raise NotImplementedError

    async def handle(self, call: Call) -> Answer:
        """Answer any call under the vendor's prefix."""
        steered = self._steer(call) or await self.control(call)
        if steered is not None:
            return steered
        self.log.append(Logged(call.method, call.path, _shown(call), to_ms(self.clock.now())))
        faults = self._due(call.path)
        if faults.latency:
            await asyncio.sleep(faults.latency)
        if faults.refuses:
            status, body = self.error(faults.status, faults.code)
            wait = {} if faults.retry_after is None else {"Retry-After": f"{faults.retry_after:g}"}
            return reply(body, status, wait)
        answer = await self.serve(call, faults)
        if faults.drop:
            raise httpx2.RemoteProtocolError("a fault of the sandbox drops this answer")
        if faults.hang:
            while (await call.receive())["type"] != "http.disconnect":
                pass
        return Answer(200, b"<html>Bad gateway</html>", "text/html") if faults.answer == "garbage" else answer

    def _steer(self, call: Call) -> Answer | None:
        match call.method, call.path:
            case "GET", "/log":
                return reply(list(self.log))
            case "DELETE", "/log":
                self.log.clear()
                return reply([])
            case "GET", "/faults":
                return reply(self.faults)
            case "DELETE", "/faults":
                self.set_faults(self.fault_type())
                return reply(self.faults)
            case "POST", "/faults":
                try:
                    self.set_faults(msgspec.json.decode(call.body or b"{}", type=self.fault_type))
                except msgspec.DecodeError as error:
                    return reply({"error": str(error)}, 400)
                return reply(self.faults)
        return None

    def set_faults(self, faults: Faults) -> None:
        """Apply these faults from now on."""
        self.faults = faults
        self._left = faults.times

    def _due(self, path: str) -> Faults:
        """Return the faults that apply to this call, counted as used."""
        wanted = self.faults.path
        if not (wanted in path if wanted else path.startswith(self.api)) or self._left == 0:
            return self.fault_type()
        if self._left is not None:
            self._left -= 1
        return self.faults


def _shown(call: Call) -> Any:
    if not call.body:
        return None
    found = call.json()
    return call.body.decode("utf-8", "replace") if found is None else found


async def read_call(scope: Scope, receive: Receive, path: str) -> Call:
    """Return the request behind an ASGI scope, with its whole body."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body"):
            break
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    if headers.get("content-encoding") == "gzip":
        body = bytearray(gzip.decompress(body))
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    return Call(scope["method"], path, query, headers, bytes(body), receive)


async def send_answer(send: Send, answer: Answer, *, with_body: bool = True) -> None:
    """Send an answer; `with_body` is off for HEAD."""
    headers = {"content-type": answer.content_type, "content-length": str(len(answer.body))} | answer.headers
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body if with_body else b""})


async def break_off(send: Send) -> None:
    """Start an answer with a larger Content-Length than its body, so that the caller sees the connection break."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
    await send({"type": "http.response.body", "body": b"{", "more_body": True})
