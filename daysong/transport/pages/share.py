"""/share/<shareId>: the public page of a shared song, with player and lyrics. /share/<shareId>/embed: the player alone.

Without scripts it shows the browser's own player and plain lyrics.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any
from urllib.parse import quote

from litestar import Request, Response, get
from litestar.background_tasks import BackgroundTask
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from daysong.kernel.functions.context import Caller
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.settings import Settings
from daysong.transport import calls
from daysong.transport.callers.viewers import viewer_of
from daysong.transport.http.edge import is_head
from daysong.transport.pages import player
from daysong.transport.pages.assets import Assets
from daysong.transport.pages.lyrics import lyrics_html
from daysong.transport.pages.messages import message
from daysong.transport.pages.previews import previews
from daysong.transport.pages.shared import Shared, find

VIEW = "sharing:recordShareView"
# User agents of crawlers and link previews, which are not counted as views.
CRAWLERS = re.compile(r"bot\b|crawl|spider|slurp|preview|facebookexternalhit|whatsapp|embedly", re.IGNORECASE)
PREFETCH = re.compile(r"prefetch|prerender|preview", re.IGNORECASE)
# Titles with more characters are set smaller.
LONG_TITLE = 34
NOINDEX = '<meta name="robots" content="noindex">'
# The cookie of a browser that someone has signed in with; it identifies no one.
HINT = "daysong_studio"
# Never cached, since a share can be revoked.
UNCACHED = "private, no-store"


def handlers(runtime: Runtime, assets: Assets) -> list[HTTPRouteHandler]:
    """Return the routes of the page and of the embedded player."""
    settings = runtime.settings

    def viewer_for(request: Request[Any, Any, Any]) -> Caller:
        return Caller(viewer=viewer_of(request.scope, runtime.clock.now(), settings.hash_key))

    @get("/share/{share_id:str}")
    async def share(request: Request[Any, Any, Any], share_id: FromPath[str]) -> Response[str]:
        viewer = viewer_for(request)
        song = await find(runtime, share_id, viewer)
        if not isinstance(song, Shared):
            return nothing(assets, is_gone=song is None)
        count_view = None
        if _is_view(request):
            # After the response, so that count_view does not delay it.
            count_view = BackgroundTask(calls.call, runtime, VIEW, {"shareId": share_id}, viewer)
        body, headers = share_page(assets, settings, share_id, song, can_keep=HINT in request.cookies)
        headers["Cache-Control"] = UNCACHED
        return Response(body, media_type=MediaType.HTML, headers=headers, background=count_view)

    @get("/share/{share_id:str}/embed")
    async def embed(request: Request[Any, Any, Any], share_id: FromPath[str]) -> Response[str]:
        song = await find(runtime, share_id, viewer_for(request))
        if not isinstance(song, Shared):
            return nothing(assets, is_gone=song is None)
        body, headers = embed_page(assets, settings, share_id, song)
        headers["Cache-Control"] = UNCACHED
        return Response(body, media_type=MediaType.HTML, headers=headers)

    return [share, embed]


def nothing(assets: Assets, *, is_gone: bool) -> Response[str]:
    """Return the page instead of a song: the same for an unknown, a private and a revoked share."""
    if is_gone:
        texts = ("There is no song here", "The link may be mistyped, or the song is no longer shared.")
    else:
        texts = ("The song cannot be shown right now", "Please try again in a little while.")
    body, headers = message(assets, *texts, head=NOINDEX)
    headers["Cache-Control"] = UNCACHED
    return Response(body, status_code=404 if is_gone else 503, media_type=MediaType.HTML, headers=headers)


def share_page(
    assets: Assets, settings: Settings, share_id: str, song: Shared, *, can_keep: bool = False
) -> tuple[str, dict[str, str]]:
    """Return the page of a song, and its headers; `can_keep` for someone who can add it to their songs."""
    lyrics = lyrics_html(song.lyric, song.lyric_with_time)
    address = f"{settings.site_url}/songs?add={quote(share_id)}"
    keep = f'<p class="keep"><a class="quiet" href="{escape(address)}">Add to my songs</a></p>\n' if can_keep else ""
    content = f"""<main>
<div class="song">
{art(song)}
<h1 dir="auto" lang=""{' class="long"' * (len(song.title) > LONG_TITLE)}>{escape(song.title)}</h1>
<p class="about">{about(song)}</p>
{deck(song)}
{keep}</div>
{lyrics}
<footer>Made with daysong, from a day in a diary.</footer>
</main>"""
    head = [previews(settings, share_id, song), *([] if song.listed else [NOINDEX])]
    return assets.page(
        title=escape(song.title),
        content=content,
        kind="share two" if lyrics else "share",
        head="\n".join(head),
        styles=("share.css", *player.STYLES, "lyrics.css"),
        modules=player.MODULES if song.audio else (),
        has_media=True,
    )


def embed_page(assets: Assets, settings: Settings, share_id: str, song: Shared) -> tuple[str, dict[str, str]]:
    """Return the page for frames on other sites: cover, title and player."""
    address = f"{settings.share_base_url}/share/{share_id}"
    content = f"""<main>
{art(song)}
<div class="beside">
<h1 dir="auto" lang=""><a href="{escape(address)}" target="_blank" rel="noopener">{escape(song.title)}</a></h1>
<p class="about">{about(song)}</p>
{deck(song)}
</div>
</main>"""
    return assets.page(
        title=escape(song.title),
        content=content,
        kind="embed",
        head=f'{NOINDEX}\n<link rel="canonical" href="{escape(address)}">',
        styles=("share.css", *player.STYLES, "embed.css"),
        modules=player.MODULES if song.audio else (),
        has_media=True,
        may_be_framed=True,
    )


def _is_view(request: Request[Any, Any, Any]) -> bool:
    """Whether the request is a view by a person, by its headers."""
    headers = request.headers
    purpose = " ".join(headers.get(name, "") for name in ("sec-purpose", "purpose", "x-purpose", "x-moz"))
    return not is_head(request.scope) and not (
        PREFETCH.search(purpose) or CRAWLERS.search(headers.get("user-agent", ""))
    )


def art(song: Shared) -> str:
    """Return the cover as HTML, or what stands for it."""
    if not song.cover:
        return '<div class="art"><div class="no-cover" aria-hidden="true"></div></div>'
    url = escape(song.cover)
    # The same picture twice: its blurred copy is the light around it.
    return f"""<div class="art">
<img class="light" src="{url}" alt="" aria-hidden="true" width="320" height="320">
<img class="cover" src="{url}" alt="" width="320" height="320">
</div>"""


def deck(song: Shared) -> str:
    """Return the player as HTML, or why there is none."""
    if not song.audio:
        return '<p class="waiting">The recording is not available right now.</p>'
    return player.player_html(
        song.audio, song.title, duration=song.duration, timed=song.lyric_with_time, download=song.allow_download
    )


def about(song: Shared) -> str:
    """Return whose song it is and when it was shared, as far as that is known."""
    whose = f"a song by <bdi>{escape(song.user_name)}</bdi>" if song.user_name else "a song"
    return f"{whose}, shared in {song.month}" if song.month else whose
