"""/static/<version>/<name>: styles, scripts and the icon of the pages."""

from __future__ import annotations

import re
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from daysong.transport.pages.assets import TYPES, compressed, static_files, version

A_YEAR = 31_536_000
GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)


def handlers() -> list[HTTPRouteHandler]:
    """Return the route."""

    @get("/static/{release:str}/{name:path}", sync_to_thread=False)
    def static(request: Request[Any, Any, Any], release: FromPath[str], name: FromPath[str]) -> Response[bytes]:
        name = name.removeprefix("/")
        content = static_files().get(name)
        if content is None:
            raise NotFoundException
        # While a release is rolled out, a page of the other one may ask here: it gets this file, and does not keep it.
        is_current = release == version()
        headers = {
            "Cache-Control": f"public, max-age={A_YEAR}, immutable" if is_current else "no-store",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Vary": "Accept-Encoding",
        }
        if GZIP.search(request.headers.get("accept-encoding", "")):
            content = compressed(name)
            headers["Content-Encoding"] = "gzip"
        return Response(content, media_type=TYPES[name.rpartition(".")[2]], headers=headers)

    return [static]
