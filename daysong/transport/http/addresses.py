"""Where the app answers: below the path of SITE_URL as well as at the root, and to HEAD wherever to GET."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast
from urllib.parse import urlsplit

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

KEY = "daysong.head"


def is_head(scope: Scope) -> bool:
    """Whether a request that looks like a GET asks for the headers alone: nothing need be read or counted for it."""
    return bool(cast("dict[str, Any]", scope).get(KEY))


class Head:
    """ASGI middleware: answers HEAD as GET, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a connection."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        is_asked = scope["method"] == "HEAD"
        if is_asked:
            changed = cast("dict[str, Any]", scope)
            changed["method"] = "GET"
            changed[KEY] = True
        ended = False

        async def answer(message: Message) -> None:
            nonlocal ended
            if message["type"] == "http.response.start" and message["status"] == 405:  # noqa: PLR2004
                message["headers"] = [*map(_allowing_head, message["headers"])]
            if not is_asked or message["type"] != "http.response.body":
                await send(message)
            elif not ended:
                ended = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, receive, answer)


def _allowing_head(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    name, value = header
    methods = [method.strip() for method in value.split(b",")] if name.lower() == b"allow" else []
    return (name, value + b", HEAD") if b"GET" in methods and b"HEAD" not in methods else header


class BelowSite:
    """ASGI middleware: takes the path of SITE_URL off the paths asked for, whether or not a proxy has done so.

    `own` are the first parts of our own paths: with a SITE_URL that begins with one of these, nobody could tell the two
    apart, and the proxy has to do it.
    """

    def __init__(self, app: ASGIApp, site_url: str, own: Collection[str]) -> None:
        self._app = app
        prefix = urlsplit(site_url).path.rstrip("/")
        self._prefix = "" if prefix.split("/")[1:2] and prefix.split("/")[1] in own else prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a connection."""
        if self._prefix and scope["type"] in {ScopeType.HTTP, ScopeType.WEBSOCKET}:
            path = scope["path"]
            if path == self._prefix or path.startswith(f"{self._prefix}/"):
                inner = cast("dict[str, Any]", scope)
                inner["path"] = path[len(self._prefix) :] or "/"
                raw = inner.get("raw_path") or b""
                if raw.startswith(self._prefix.encode()):
                    inner["raw_path"] = raw[len(self._prefix) :] or b"/"
        await self._app(scope, receive, send)
