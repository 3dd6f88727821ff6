"""What belongs to the whole site: the icons, /robots.txt, the manifest, and errors as pages for people."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import msgspec
from litestar import Request, Response, get
from litestar.enums import MediaType
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ExceptionHandlersMap

from daysong.kernel import logs
from daysong.transport import refusals
from daysong.transport.pages import pictures
from daysong.transport.pages.assets import Assets
from daysong.transport.pages.messages import message

A_DAY = "public, max-age=86400"
ICON_SIZES = (180, 192, 512)
# Share pages are open, since apps that show link previews follow this file too; theirs say `noindex`.
ROBOTS = """User-agent: *
Disallow: /api/
Disallow: /console
Disallow: /media/private/
Disallow: /sandbox/
"""
# Their responses are for programs, whatever these accept.
PROGRAMS = (
    "/api",
    "/http",
    "/webhooks",
    "/uploads",
    "/test",
    "/sandbox",
    "/metrics",
    "/healthz",
    "/readyz",
    "/openapi",
)
HTML = re.compile(r"(?:^|,)\s*text/html\s*(?!;[^,]*\bq=0(?:\.0*)?\s*(?:,|;|$))", re.IGNORECASE)

Handler = Callable[[Request[Any, Any, Any], Any], Response[Any]]


def handlers(assets: Assets) -> list[HTTPRouteHandler]:
    """Return the routes."""

    @get("/favicon.ico", sync_to_thread=True)
    def favicon() -> Response[bytes]:
        return Response(pictures.favicon(), media_type="image/x-icon", headers=_kept())

    @get("/icons/{name:str}", sync_to_thread=True)
    def icon(name: FromPath[str]) -> Response[bytes]:
        size = next((size for size in ICON_SIZES if name == f"{size}.png"), None)
        if size is None:
            raise NotFoundException
        return Response(pictures.icon_png(size), media_type="image/png", headers=_kept())

    @get("/robots.txt", sync_to_thread=False)
    def robots() -> Response[str]:
        return Response(ROBOTS, media_type=MediaType.TEXT, headers=_kept())

    @get("/manifest.webmanifest", sync_to_thread=False)
    def manifest() -> Response[bytes]:
        icons = [
            {"src": f"{assets.base}/icons/{size}.png", "sizes": f"{size}x{size}", "type": "image/png"}
            for size in ICON_SIZES
        ]
        described = {
            "name": "daysong",
            "short_name": "daysong",
            "description": "Tell your diary about your day, and hear it as a song.",
            "start_url": f"{assets.base}/",
            "scope": f"{assets.base}/",
            "display": "standalone",
            "background_color": "#faf5ee",
            "theme_color": "#faf5ee",
            "icons": [{"src": assets.address("icon.svg"), "sizes": "any", "type": "image/svg+xml"}, *icons],
        }
        content = msgspec.json.encode(described)
        return Response(content, media_type="application/manifest+json", headers=_kept())

    return [favicon, icon, robots, manifest]


def _kept() -> dict[str, str]:
    return {"Cache-Control": A_DAY, "X-Content-Type-Options": "nosniff"}


def error_handlers(assets: Assets) -> ExceptionHandlersMap:
    """Return the handlers of errors: a page for those who accept HTML, `{code, message}` for programs."""

    def for_both(handler: Handler) -> Handler:
        def handle(request: Request[Any, Any, Any], error: Any) -> Response[Any]:
            answer = handler(request, error)
            if wants_page(request):
                answer = error_page(assets, answer.status_code or 500, dict(answer.headers))
            answer.headers["Vary"] = "Accept"
            return answer

        return handle

    own = cast("dict[Any, Handler]", refusals.HANDLERS)
    return cast("ExceptionHandlersMap", {kind: for_both(handler) for kind, handler in own.items()})


def wants_page(request: Request[Any, Any, Any]) -> bool:
    """Whether a person reads the response: a browser that opens an address says that it accepts HTML."""
    path = request.scope["path"]
    is_program = any(path == start or path.startswith(f"{start}/") for start in PROGRAMS)
    return request.method == "GET" and not is_program and bool(HTML.search(request.headers.get("accept", "")))


def error_page(assets: Assets, status: int, headers: dict[str, str]) -> Response[str]:
    """Return the page of an error status, with those headers besides its own."""
    match status:
        case 404:
            texts = ("There is nothing here", "The address may be mistyped, or what was here is gone.")
        case 429:
            texts = ("One moment, please", "That was a little too fast. Please try again in a minute.")
        case _ if status >= 500:  # noqa: PLR2004 - an HTTP status
            texts = ("Something went wrong on our side", "Please try again in a little while.")
        case _:
            texts = ("That did not work", "The address cannot be opened like this.")
    request_id = logs.request_id() if status >= 500 else None  # noqa: PLR2004 - an HTTP status
    small = (f'<p class="small">If it stays so, tell us this: {request_id}</p>',) if request_id else ()
    home = f'<p class="next"><a href="{assets.base}/">To the front page</a></p>'
    head = '<meta name="robots" content="noindex">'
    body, own = message(assets, *texts, *small, home, head=head)
    kept = {name: value for name, value in headers.items() if name.lower() in {"retry-after", "allow"}}
    return Response(
        body, status_code=status, media_type=MediaType.HTML, headers={**own, **kept, "Cache-Control": "no-store"}
    )
