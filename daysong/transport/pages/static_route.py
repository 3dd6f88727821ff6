"""/static/<version>/<name>: styles, scripts and the icon of the pages."""

from __future__ import annotations

from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from daysong.transport.pages.assets import TYPES, static_files, version

A_YEAR = 31_536_000


def handlers() -> list[HTTPRouteHandler]:
    """Return the route."""

    @get("/static/{release:str}/{name:str}", sync_to_thread=False)
    def static(release: FromPath[str], name: FromPath[str]) -> Response[bytes]:
        content = static_files().get(name)
        if content is None:
            raise NotFoundException
        # While a release is rolled out, a page of the other one may ask here: it gets this file, and does not keep it.
        is_current = release == version()
        headers = {
            "Cache-Control": f"public, max-age={A_YEAR}, immutable" if is_current else "no-store",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        return Response(content, media_type=TYPES[name.rpartition(".")[2]], headers=headers)

    return [static]
