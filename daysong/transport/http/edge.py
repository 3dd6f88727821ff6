"""What every request gets, whatever answers it: an id, one log line, one measurement, and answers that may be read.

The log line has the route, never the path: some paths are secrets (callbacks) or open doors (shares).

Apps on other origins may call us, and read errors too. Nothing here tells people apart by cookies; a page of a stranger
has no token, and so gains nothing by being allowed.
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from functools import cache
from typing import Any, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import Histogram

from daysong.kernel import logs

SECONDS = Histogram(
    "daysong_http_request_seconds", "How long requests took, by route template", ["method", "route", "status"]
)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Asked every few seconds by machines.
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
NOTES = "daysong.access"
HEAD = "daysong.head"
# Varies even without an Origin: a cache must not return that answer to a request with one.
VARY = (b"vary", b"origin")
ALLOWED = (
    (b"access-control-allow-credentials", b"true"),
    (
        b"access-control-expose-headers",
        b"x-request-id, retry-after, content-range, accept-ranges, content-length, etag",
    ),
)
ALLOWED_METHODS = (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
A_DAY = (b"access-control-max-age", b"86400")

log = logs.get_logger("http")


def note(scope: Scope, **fields: Any) -> None:
    """Add to the log line of the request being served."""
    cast("MutableMapping[str, Any]", scope).setdefault(NOTES, {}).update(fields)


def is_head(scope: Scope) -> bool:
    """Whether a request that looks like a GET asks for the headers alone: nothing need be read or counted for it."""
    return bool(cast("dict[str, Any]", scope).get(HEAD))


class Edge:
    """ASGI middleware: does that, answers preflights with what they ask for, and HEAD as GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; WebSocket connections pass through."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        identifier, method, status, started = logs.new_request_id(), scope["method"], 500, time.perf_counter()
        sent = dict(scope["headers"])
        origin = sent.get(b"origin")
        always = [(b"x-request-id", identifier.encode()), VARY]
        if origin:
            always += ((b"access-control-allow-origin", origin), *ALLOWED)
        noted = cast("MutableMapping[str, Any]", scope)
        bodiless = False

        async def answer(message: Message) -> None:
            nonlocal status, bodiless
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = map(_allowing_head, message["headers"]) if status == 405 else message["headers"]  # noqa: PLR2004
                message["headers"] = [*headers, *always]
            elif method == "HEAD" and message["type"] == "http.response.body":
                if bodiless:
                    return
                bodiless, message = True, {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        with logs.request_scope(identifier):
            try:
                if method == "OPTIONS" and origin and b"access-control-request-method" in sent:
                    await _preflight(sent.get(b"access-control-request-headers"), answer)
                else:
                    if method == "HEAD":
                        noted["method"], noted[HEAD] = "GET", True
                    await self._app(scope, receive, answer)
            finally:
                seconds = time.perf_counter() - started
                # Neither names nor methods that strangers make up become metrics.
                route = noted.get("path_template", "none")
                _seconds(method if method in METHODS else "other", route, status).observe(seconds)
                (log.debug if route in QUIET else log.info)(
                    "request",
                    method=method,
                    route=route,
                    status=status,
                    ms=round(seconds * 1000, 1),
                    **noted.get(NOTES, {}),
                )


@cache
def _seconds(method: str, route: str, status: int) -> Histogram:
    return SECONDS.labels(method, route, status)


def _allowing_head(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    name, value = header
    methods = [method.strip() for method in value.split(b",")] if name.lower() == b"allow" else []
    return (name, value + b", HEAD") if b"GET" in methods and b"HEAD" not in methods else header


async def _preflight(wanted: bytes | None, send: Send) -> None:
    headers = [ALLOWED_METHODS, A_DAY, (b"vary", b"access-control-request-headers")]
    if wanted:
        headers.append((b"access-control-allow-headers", wanted))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
