"""Lets apps on other origins call us: whoever asks is allowed, errors included.

Nothing here tells people apart by cookies; a page of a stranger has no token, and so gains nothing by being allowed.
"""

from __future__ import annotations

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
A_DAY = b"86400"


class Cors:
    """ASGI middleware: answers preflights with what they ask for, and adds the origin to every other response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; those without an Origin, and WebSocket connections, pass through."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        origin = _header(scope, b"origin")
        if scope["method"] == "OPTIONS" and origin and _header(scope, b"access-control-request-method"):
            await _preflight(scope, send, origin)
            return

        async def send_allowed(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Varies even without an Origin: a cache must not hand that answer to somebody who sends one.
                message["headers"] = [*message["headers"], (b"vary", b"origin"), *(_allowed(origin) if origin else ())]
            await send(message)

        await self._app(scope, receive, send_allowed)


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key.lower() == name), None)


def _allowed(origin: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (
            b"access-control-expose-headers",
            b"x-request-id, retry-after, content-range, accept-ranges, content-length, etag",
        ),
    ]


async def _preflight(scope: Scope, send: Send, origin: bytes) -> None:
    headers = [
        *_allowed(origin),
        (b"access-control-allow-methods", METHODS),
        (b"access-control-max-age", A_DAY),
        (b"vary", b"origin, access-control-request-headers"),
    ]
    if wanted := _header(scope, b"access-control-request-headers"):
        headers.append((b"access-control-allow-headers", wanted))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
