"""Serves the app below the path of SITE_URL as well as at the root."""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import Any, cast
from urllib.parse import urlsplit

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send


class BelowSite:
    """ASGI middleware: strips the path of SITE_URL from request paths, unless a proxy has done so.

    `own` are the first segments of the app's own paths: a SITE_URL that begins with one of them is ambiguous, so the
    proxy has to strip it.
    """

    def __init__(self, app: ASGIApp, site_url: str, own: Collection[str]) -> None:
        self._app = app
        prefix = urlsplit(site_url).path.rstrip("/")
        self._prefix = "" if prefix.split("/")[1:2] and prefix.split("/")[1] in own else prefix

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a request or a connection."""
        if self._prefix and scope["type"] in {ScopeType.HTTP, ScopeType.WEBSOCKET}:
            path = scope["path"]
            if path == self._prefix or path.startswith(f"{self._prefix}/"):
                inner = cast("dict[str, Any]", scope)
                inner["path"] = path[len(self._prefix) :] or "/"
                raw = inner.get("raw_path") or b""
                if raw.startswith(self._prefix.encode()):
                    inner["raw_path"] = raw[len(self._prefix) :] or b"/"
        return self._app(scope, receive, send)
