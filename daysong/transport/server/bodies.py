"""Time and size limits of request bodies as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from daysong.transport.refusals import Refused
from daysong.transport.server.headers import headers_of
from daysong.transport.server.held_bytes import UNREAD, Hold

# In the scope: a small body with a Content-Length, once the server has received all of it.
COMPLETE = "daysong.complete"
TIMEOUT = 30.0  # seconds, from the first byte that is read to the last


class BodyLimits:
    """ASGI middleware: reading a body raises Refused when it is too slow (408) or the process is full (503)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a request."""
        return limited(self._app, scope, receive, send)


def limited(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    """Serve a request by `app`, with limits if its body has not arrived yet or may be large."""
    if scope["type"] != ScopeType.HTTP or COMPLETE in scope or not _has_body(scope):
        return app(scope, receive, send)
    return _limited(app, scope, receive, send)


async def _limited(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    client: Any = scope.get("client")
    hold = Hold(UNREAD, client[0] if client else "")
    deadline = asyncio.get_running_loop().time() + TIMEOUT
    ended = False

    async def receive_limited() -> Any:
        nonlocal ended
        if ended:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                event: Any = await receive()
        except TimeoutError:
            raise Refused(408, "RequestTimeout", "The body of the request takes too long.") from None
        if event["type"] == "http.request":
            ended = not event.get("more_body", False)
            if not hold.set(hold.size + len(event.get("body", b""))):
                raise Refused(503, "TooBusy", "Too much is being sent. Please try again.", retry_after=1)
        return event

    try:
        await app(scope, receive_limited, send)
    finally:
        hold.set(0)


def _has_body(scope: Scope) -> bool:
    headers = headers_of(scope)
    return b"content-length" in headers or b"transfer-encoding" in headers
