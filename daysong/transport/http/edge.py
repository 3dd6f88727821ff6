"""Middleware of every request: a request id, one log line, one metric, CORS headers, and HEAD.

The log line has the route, never the path, since some paths are secrets (callbacks) or grant access (shares).

Any origin may call the app and read its responses, errors too. No cookie identifies a user, so a foreign page without a
token gains nothing. But a cookie identifies an operator at /console: its responses are for its own pages alone.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Any, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from daysong.kernel import logs
from daysong.kernel.monitoring import tracing
from daysong.kernel.monitoring.durations import Durations
from daysong.transport.server.cycle import WHOLE
from daysong.transport.server.headers import headers_of

SECONDS = Durations(
    "daysong_http_request_seconds", "Duration of requests, by route template", ["method", "route", "status"]
)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Requested every few seconds by monitoring; not logged.
QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})
OWN_PAGES = "/console"
LOG_FIELDS = "daysong.access"
HEAD = "daysong.head"
# Also without an Origin: a cache must not return that response to a request with one.
VARY = (b"vary", b"origin")
ALLOWED = (
    (b"access-control-allow-credentials", b"true"),
    (
        b"access-control-expose-headers",
        b"x-request-id, retry-after, content-range, accept-ranges, content-length, etag",
    ),
)
ALLOWED_METHODS = (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
MAX_AGE = (b"access-control-max-age", b"86400")


def add_log_fields(scope: Any, **fields: Any) -> None:
    """Add fields to the log line of the request."""
    scope[LOG_FIELDS] = scope[LOG_FIELDS] | fields if LOG_FIELDS in scope else fields


def is_head(scope: Scope) -> bool:
    """Whether a request that is routed as GET is a HEAD, for which nothing needs to be read or counted."""
    return bool(cast("dict[str, Any]", scope).get(HEAD))


class Edge:
    """ASGI middleware: does the above, allows CORS preflights, and serves HEAD as GET without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a request; WebSocket connections pass through."""
        if scope["type"] != ScopeType.HTTP:
            return self._app(scope, receive, send)
        identifier = logs.new_request_id()
        # Requests of monitoring would be most of all traces of a quiet server.
        if tracing.is_on() and scope["path"] not in QUIET_ROUTES:
            return self._traced(identifier, scope, receive, send)
        return self._serve(identifier, scope, receive, send)

    async def _traced(self, identifier: str, scope: Scope, receive: Receive, send: Send) -> None:
        # A client's own `traceparent` is not continued: anyone could have their requests traced, or join another trace.
        with tracing.span("HTTP", "server", parent=None, request=identifier):
            await self._serve(identifier, scope, receive, send, is_traced=True)

    async def _serve(
        self, identifier: str, scope: Any, receive: Receive, send: Send, *, is_traced: bool = False
    ) -> None:
        method, status, started = scope["method"], 500, time.perf_counter()
        request_headers = headers_of(scope)
        is_shared = not scope["path"].startswith(OWN_PAGES)
        origin = request_headers.get(b"origin") if is_shared else None
        added_headers = [(b"x-request-id", identifier.encode()), VARY]
        if origin:
            added_headers += ((b"access-control-allow-origin", origin), *ALLOWED)
        body_sent = False
        is_head = method == "HEAD"

        def send_response(message: Message) -> Awaitable[None]:
            nonlocal status, body_sent
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = map(_allow_head, message["headers"]) if status == 405 else message["headers"]  # noqa: PLR2004
                message["headers"] = [*headers, *added_headers]
            elif is_head and message["type"] == "http.response.body":
                if body_sent:
                    return _nothing()
                body_sent, message = True, {"type": "http.response.body", "body": b"", "more_body": False}
            return send(message)

        token = logs.REQUEST_ID.set(identifier)
        try:
            if method == "OPTIONS" and origin and b"access-control-request-method" in request_headers:
                await _preflight(request_headers.get(b"access-control-request-headers"), send_response)
            else:
                if is_head:
                    # A copy: by the method in its own, the server expects no body of the announced length.
                    scope = {**scope, "method": "GET", HEAD: True}
                    scope.pop(WHOLE, None)
                await self._app(scope, receive, send_response)
        finally:
            seconds = time.perf_counter() - started
            # Client-supplied methods and paths never become metric labels.
            route = scope.get("path_template", "none")
            label = method if method in METHODS else "other"
            SECONDS.observe((label, route, str(status)), seconds)
            # Without a span of its own, the current one may be another request's: pipelined ones share their context.
            if is_traced:
                failed = status >= 500  # noqa: PLR2004 - an HTTP status
                tracing.annotate(f"{label} {route}", method=label, route=route, status=status, failed=failed)
            if route not in QUIET_ROUTES:
                line = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 1)}
                logs.request(line if (more := scope.get(LOG_FIELDS)) is None else line | more)
            logs.REQUEST_ID.reset(token)


async def _nothing() -> None:
    """Send nothing."""


def _allow_head(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    name, value = header
    methods = [method.strip() for method in value.split(b",")] if name.lower() == b"allow" else []
    return (name, value + b", HEAD") if b"GET" in methods and b"HEAD" not in methods else header


async def _preflight(requested: bytes | None, send: Send) -> None:
    headers = [ALLOWED_METHODS, MAX_AGE, (b"vary", b"access-control-request-headers")]
    if requested:
        headers.append((b"access-control-allow-headers", requested))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
