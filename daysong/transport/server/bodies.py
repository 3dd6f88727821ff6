"""Time and size limits of request bodies as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from daysong.transport.refusals import Refused
from daysong.transport.server.headers import announced_size, headers_of
from daysong.transport.server.held_bytes import SMALL, UNREAD, Hold

# In the scope once the server has received the whole request.
COMPLETE = "daysong.complete"
TIMEOUT = 30.0  # seconds, from the first byte that is read to the last


class BodyLimits:
    """ASGI middleware: reading a body raises Refused when it is too slow (408) or the process is full (503)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a request."""
        if scope["type"] != ScopeType.HTTP or not _has_body(scope) or _is_small_and_complete(scope):
            return self._app(scope, receive, send)
        return self._limited(scope, receive, send)

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
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
            await self._app(scope, receive_limited, send)
        finally:
            hold.set(0)


def _has_body(scope: Scope) -> bool:
    headers = headers_of(scope)
    return b"content-length" in headers or b"transfer-encoding" in headers


def _is_small_and_complete(scope: Any) -> bool:
    return COMPLETE in scope and (announced_size(scope) or SMALL) < SMALL
