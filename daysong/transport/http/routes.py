"""A small router for the hot paths, functions, webhooks, uploads and media, without Litestar's overhead.

Litestar serves the rest: pages, documents, health.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import cached_property, partial
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from daysong.transport import refusals
from daysong.transport.refusals import Refused
from daysong.transport.server.bodies import COMPLETE, limited
from daysong.transport.server.cycle import WHOLE
from daysong.transport.server.headers import announced_size, headers_of
from daysong.vendors.local_files import Part

_encode = msgspec.json.Encoder().encode
NO_PARAMETERS: Mapping[str, str] = {}
_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")


class Reply(msgspec.Struct, frozen=True):
    """A response: JSON, an empty body, or any other whose type and length are among the headers.

    rest   what follows `body`, in parts
    """

    body: bytes | Part
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    is_json: bool = True
    rest: AsyncGenerator[bytes | Part, None] | None = None


class Request:
    """A request of one of these routes; its body has at most `largest` bytes."""

    def __init__(self, scope: Any, receive: Receive, parameters: Mapping[str, str], largest: int) -> None:
        self.scope = scope
        self.parameters = parameters
        self._receive = receive
        self._largest = largest

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """The headers by lower-case name; of repeated ones, the first."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers_of(self.scope).items()}

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The query parameters; of repeated ones, the last."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))

    def header(self, name: bytes) -> str | None:
        """Return the header of that lower-case name; of repeated ones, the first."""
        value = headers_of(self.scope).get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def announced(self) -> int | None:
        """The size of the body that was announced."""
        return announced_size(self.scope)

    async def part(self) -> tuple[bytes, bool]:
        """The next part of the body, and whether there is more; Refused (400) when the client has gone."""
        event: Any = await self._receive()
        if event["type"] == "http.disconnect":
            raise Refused(400, "BadRequest", "The request has ended before its body")
        return event.get("body", b""), event.get("more_body", False)

    async def body(self) -> bytes:
        """Read the whole body. Errors: Refused (413) when it is too large."""
        complete: bytes | None = self.scope.get(COMPLETE)
        if complete is not None and len(complete) <= self._largest:
            return complete
        if (self.announced or 0) > self._largest:
            raise too_large()
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            part, more = await self.part()
            parts.append(part)
            size += len(part)
            if size > self._largest:
                raise too_large()
        return parts[0] if len(parts) == 1 else b"".join(parts)


Handler = Callable[[Request], Awaitable[Reply]]


class Route(NamedTuple):
    """A handler for one method of a path, such as `/a/{one}/{all_that_follows:path}`."""

    method: str
    path: str
    handler: Handler
    largest: int


class Routes:
    """ASGI app: serves these routes, with the limits of bodies if wanted, and passes all other requests on."""

    def __init__(self, routes: Iterable[Route], others: ASGIApp, *, body_limits: bool = False) -> None:
        self._others = others
        self._body_limits = body_limits
        self._fixed: dict[str, dict[str, Route]] = {}
        # By the first part of the path.
        self._patterns: dict[str, list[tuple[re.Pattern[str], dict[str, Route]]]] = {}
        by_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            if route.path not in by_path:
                methods = by_path[route.path] = {}
                if "{" in route.path:
                    self._patterns.setdefault(_first_part(route.path), []).append((_pattern(route.path), methods))
                else:
                    self._fixed[route.path] = methods
            by_path[route.path][route.method] = route

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a request."""
        methods, parameters = self._fixed.get(scope["path"]), NO_PARAMETERS
        if methods is None:
            methods, parameters = self._match(scope["path"])
        if methods is None or scope["type"] != ScopeType.HTTP:
            return self._others(scope, receive, send)
        if self._body_limits and COMPLETE not in scope:
            return limited(partial(self._serve, methods, parameters), scope, receive, send)
        return self._serve(methods, parameters, scope, receive, send)

    async def _serve(
        self,
        methods: dict[str, Route],
        parameters: Mapping[str, str],
        scope: Any,
        receive: Receive,
        send: Send,
    ) -> None:
        route = methods.get(scope["method"])
        if route is None:
            reply = _other_method(methods, scope["method"])
        else:
            scope["path_template"] = route.path
            try:
                reply = await route.handler(Request(scope, receive, parameters, route.largest))
            except Exception as error:  # noqa: BLE001 - every error becomes a response
                reply = _refusal(error)
        headers = list(reply.headers)
        if reply.is_json and reply.body:
            headers += (b"content-type", b"application/json"), (b"content-length", b"%d" % len(reply.body))
        start: Any = {"type": "http.response.start", "status": reply.status, "headers": headers}
        body, rest = reply.body, reply.rest
        if rest is not None:
            await _send_parts(body, rest, start, scope, send)
        elif body and WHOLE in scope:
            start[WHOLE] = body
            await send(start)
        else:
            if isinstance(body, Part):
                body = await body.read()
            await send(start)
            await send({"type": "http.response.body", "body": body, "more_body": False})

    def _match(self, path: str) -> tuple[dict[str, Route] | None, Mapping[str, str]]:
        """Return the methods of a path that is not written as one of the fixed ones, and its parameters."""
        if "//" in path or path.endswith("/"):
            path = re.sub("/+", "/", path).rstrip("/")
        for pattern, methods in self._patterns.get(_first_part(path), ()):
            if match := pattern.fullmatch(path):
                return methods, match.groupdict()
        return self._fixed.get(path), NO_PARAMETERS


def _other_method(methods: dict[str, Route], method: str) -> Reply:
    allowed = (b"allow", ", ".join(["OPTIONS", *methods]).encode())
    if method == "OPTIONS":
        return Reply(b"", 204, (allowed,))
    return json_reply(405, "MethodNotAllowed", "Method Not Allowed", allowed)


def _refusal(error: Exception) -> Reply:
    refused = refusals.refusal(error)
    headers = () if refused.retry_after is None else ((b"retry-after", b"%d" % refused.retry_after),)
    return json_reply(refused.status, refused.code, refused.message, *headers)


async def _send_parts(
    body: bytes | Part, rest: AsyncGenerator[bytes | Part, None], start: Any, scope: Scope, send: Send
) -> None:
    connection: Any = scope.get(WHOLE)
    # Closed also when the client disconnects.
    async with aclosing(rest):
        await send(start)
        part: Any = body
        # What a client that has gone would not receive is not read.
        while part is not None and (connection is None or not connection.is_lost):
            if isinstance(part, Part) and connection is None:
                part = await part.read()
            await send({"type": "http.response.body", "body": part, "more_body": True})
            part = await anext(rest, None)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def json_reply(status: int, code: str, message: str, *headers: tuple[bytes, bytes]) -> Reply:
    """Return a response with `code` and `message`."""
    return Reply(_encode({"code": code, "message": message}), status, headers)


def _first_part(path: str) -> str:
    return path[1:].partition("/")[0]


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(_PARAMETER.sub(lambda found: f"(?P<{found[1]}>{'.+' if found[2] else '[^/]+'})", path))


def too_large() -> Refused:
    """The refusal of a body that is too large."""
    return Refused(413, "PayloadTooLarge", "The body is too large")
