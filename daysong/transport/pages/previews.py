"""Previews of a shared song on other sites and in other apps: meta elements, a picture, and oEmbed.

/share/<shareId>/preview.png  cover and title, 1200 × 630
/oembed?url=<share link>      what a site needs to embed the player
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from contextlib import aclosing
from html import escape
from typing import Any, cast
from urllib.parse import quote, urlsplit

from litestar import Request, Response, get
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import Caller
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.settings import Settings
from daysong.transport.callers.viewers import viewer_of
from daysong.transport.http.media import SHARED_SQL
from daysong.transport.pages import pictures
from daysong.transport.pages.shared import Shared, find
from daysong.transport.refusals import Refused
from daysong.vendors.storage import FileMissing, FileStore

EMBED_WIDTH, EMBED_HEIGHT = 480, 176
NARROWEST = 280
LARGEST_COVER = 10 * 2**20
# Pictures in memory, of some 100 KiB each; drawn at the same time; those and the waiting ones; seconds a request waits.
MOST_KEPT = 64
AT_ONCE = 2
MOST_WAITING = 16
TIMEOUT = 8.0

log = logs.get_logger("pages")


def description(song: Shared) -> str:
    """Return the sentence below the title."""
    return f"A song{f' by {song.user_name}' if song.user_name else ''}, made from a day in a diary."


def previews(settings: Settings, share_id: str, song: Shared) -> str:
    """Return the meta elements of Open Graph and X, and the link for oEmbed."""
    address = f"{settings.share_base_url}/share/{share_id}"
    picture = f"{address}/preview.png"
    about = description(song)
    properties = {
        "og:type": "music.song",
        "og:site_name": "daysong",
        "og:title": song.title,
        "og:url": address,
        "og:description": about,
        "og:image": picture,
        "og:image:type": "image/png",
        "og:image:width": str(pictures.WIDTH),
        "og:image:height": str(pictures.HEIGHT),
        "og:image:alt": f"{song.title}: {about}",
        "og:audio": song.audio,
        "music:duration": str(int(song.duration)) if song.duration else None,
    }
    named = {
        "description": about,
        "twitter:card": "summary_large_image",
        "twitter:title": song.title,
        "twitter:description": about,
        "twitter:image": picture,
    }
    if song.audio:
        named |= {
            "twitter:card": "player",
            "twitter:player": f"{address}/embed",
            "twitter:player:width": str(EMBED_WIDTH),
            "twitter:player:height": str(EMBED_HEIGHT),
        }
    lines = [f'<meta property="{name}" content="{escape(text)}">' for name, text in properties.items() if text]
    lines += [f'<meta name="{name}" content="{escape(text)}">' for name, text in named.items()]
    found_at = f"{settings.share_base_url}/oembed?url={quote(address, safe='')}"
    title = escape(song.title)
    lines.append(f'<link rel="alternate" type="application/json+oembed" href="{found_at}" title="{title}">')
    return "\n".join(lines)


def handlers(runtime: Runtime, files: FileStore) -> list[HTTPRouteHandler]:
    """Return the routes of the picture and of oEmbed."""
    settings = runtime.settings
    drawn = Previews(runtime, files)

    def viewer_for(request: Request[Any, Any, Any]) -> Caller:
        return Caller(viewer=viewer_of(request.scope, runtime.clock.now(), settings.hash_key))

    @get("/share/{share_id:str}/preview.png")
    async def preview(request: Request[Any, Any, Any], share_id: FromPath[str]) -> Response[bytes]:
        song = await find(runtime, share_id, viewer_for(request))
        if not isinstance(song, Shared):
            raise _missing(song)
        file_id = await drawn.cover_of(share_id)
        key = key_of(song, file_id)
        etag = f'"{key[:32]}"'
        # Like the share's other media: asked for anew each time, since a share can be revoked.
        headers = {
            "ETag": etag,
            "Cache-Control": "private, no-cache",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        if not song.listed:
            headers["X-Robots-Tag"] = "noindex"
        if etag in (request.headers.get("if-none-match") or ""):
            return Response(b"", status_code=304, headers=headers)
        return Response(await drawn.picture(key, song, file_id), media_type="image/png", headers=headers)

    @get("/oembed")
    async def oembed(
        request: Request[Any, Any, Any],
        url: FromQuery[str] = "",
        format: FromQuery[str] = "json",  # noqa: A002 - oEmbed's name
        maxwidth: FromQuery[str] = "",
        maxheight: FromQuery[str] = "",
    ) -> Response[dict[str, Any]]:
        if format != "json":
            raise Refused(501, "NotImplemented", "Only json is available.")
        share_id = shared_by(settings, url)
        song = await find(runtime, share_id, viewer_for(request)) if share_id else None
        if not isinstance(song, Shared) or share_id is None:
            raise _missing(song)
        answer = embedding(settings, share_id, song, _limit(maxwidth), _limit(maxheight))
        return Response(answer, media_type=MediaType.JSON, headers={"Cache-Control": "private, no-store"})

    return [preview, oembed]


def _missing(song: object) -> Refused:
    if song is None:
        return Refused(404, "NotFound", "Not Found")
    return Refused(503, "ServiceUnavailable", "The song cannot be shown right now.", retry_after=5)


def _limit(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) < 6 else None  # noqa: PLR2004 - digits


def shared_by(settings: Settings, url: str) -> str | None:
    """Return the id of a share link; None for any other URL."""
    try:
        asked, own = urlsplit(url), urlsplit(settings.share_base_url)
    except ValueError:
        return None
    before = f"{own.path.rstrip('/')}/share/"
    if asked.scheme not in {"http", "https"} or asked.netloc != own.netloc or not asked.path.startswith(before):
        return None
    share_id = asked.path.removeprefix(before).rstrip("/")
    return share_id if share_id.isascii() and share_id.isalnum() else None


def embedding(
    settings: Settings, share_id: str, song: Shared, widest: int | None, highest: int | None
) -> dict[str, Any]:
    """Return the answer of oEmbed: the player in a frame within these limits, and the picture."""
    width = max(NARROWEST, min(EMBED_WIDTH, widest or EMBED_WIDTH))
    height = min(EMBED_HEIGHT, highest or EMBED_HEIGHT)
    address = f"{settings.share_base_url}/share/{share_id}"
    frame = (
        f'<iframe src="{escape(address)}/embed" width="{width}" height="{height}" title="{escape(song.title)}" '
        'frameborder="0" allow="autoplay" loading="lazy"></iframe>'
    )
    named = {"author_name": song.user_name} if song.user_name else {}
    return {
        "version": "1.0",
        "type": "rich",
        "provider_name": "daysong",
        "provider_url": settings.share_base_url,
        "title": song.title,
        **named,
        "html": frame,
        "width": width,
        "height": height,
        "thumbnail_url": f"{address}/preview.png",
        "thumbnail_width": pictures.WIDTH,
        "thumbnail_height": pictures.HEIGHT,
    }


def key_of(song: Shared, file_id: str | None) -> str:
    """Return the digest of what the picture shows."""
    return hashlib.sha256(f"{file_id}\0{song.title}\0{song.user_name}".encode("utf-8", "replace")).hexdigest()


class Previews:
    """Draws pictures in threads, and keeps the latest ones in memory.

    A picture is drawn once for all requests that wait for it, and to its end when they leave.
    """

    def __init__(self, runtime: Runtime, files: FileStore) -> None:
        self._runtime = runtime
        self._files = files
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._drawing: dict[str, asyncio.Task[bytes]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def cover_of(self, share_id: str) -> str | None:
        """Return the id of the cover's file; None without a usable one."""
        row = await self._runtime.read("media", lambda db: db.fetchrow(SHARED_SQL, share_id, "cover"))
        return row["id"] if row is not None and (row["size"] or 0) <= LARGEST_COVER else None

    async def picture(self, key: str, song: Shared, file_id: str | None) -> bytes:
        """Return the PNG. Errors: Refused (503) when too many are drawn, or when it takes too long."""
        if (content := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return content
        if (drawing := self._drawing.get(key)) is None:
            if len(self._drawing) >= MOST_WAITING:
                raise _not_ready()
            drawing = self._drawing[key] = asyncio.create_task(self._draw(key, song, file_id))
        try:
            async with asyncio.timeout(TIMEOUT):
                return await asyncio.shield(drawing)
        except TimeoutError as error:
            raise _not_ready() from error

    async def _draw(self, key: str, song: Shared, file_id: str | None) -> bytes:
        try:
            async with self._turns:
                cover = await self._cover(file_id) if file_id else None
                content = await asyncio.to_thread(pictures.preview, song.title, song.user_name, cover)
        finally:
            del self._drawing[key]
        self._kept[key] = content
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return content

    async def _cover(self, file_id: str) -> bytes | None:
        try:
            async with aclosing(cast("Any", self._files.read(file_id, 0, LARGEST_COVER))) as chunks:
                return b"".join([chunk async for chunk in chunks])
        except FileMissing:
            return None
        except VendorError as error:
            # Without the cover the picture would be kept as it is.
            log.warning("a cover cannot be read", file=file_id, error=logs.describe(error))
            raise _not_ready() from error


def _not_ready() -> Refused:
    return Refused(503, "ServiceUnavailable", "The picture is not ready.", retry_after=10)
