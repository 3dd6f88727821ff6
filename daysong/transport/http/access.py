"""One id, one log line and one measurement for every request.

The line has the route, never the path: some paths are secrets (callbacks) or open doors (shares).
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import Histogram

from daysong.kernel import logs

# Litestar's own middleware for this took a quarter of the time of a small call.
SECONDS = Histogram(
    "daysong_http_request_seconds", "How long requests took, by route template", ["method", "route", "status"]
)
KEY = "daysong.access"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Asked every few seconds by machines.
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})

log = logs.get_logger("http")


def note(scope: Scope, **fields: Any) -> None:
    """Add to the log line of the request being served."""
    cast("MutableMapping[str, Any]", scope).setdefault(KEY, {}).update(fields)


class Access:
    """ASGI middleware: gives the request its id, sends it along as `X-Request-Id`, and logs the request at its end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; WebSocket connections pass through."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        identifier = logs.new_request_id()
        method, status, started = scope["method"], 500, time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                message["headers"] = [*message["headers"], (b"x-request-id", identifier.encode())]
            await send(message)

        with logs.request_scope(identifier):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                seconds = time.perf_counter() - started
                noted = cast("MutableMapping[str, Any]", scope)
                # Neither names nor methods that strangers make up become metrics.
                route = noted.get("path_template", "none")
                SECONDS.labels(method if method in METHODS else "other", route, status).observe(seconds)
                (log.debug if route in QUIET else log.info)(
                    "request",
                    method=method,
                    route=route,
                    status=status,
                    ms=round(seconds * 1000, 1),
                    **noted.get(KEY, {}),
                )
