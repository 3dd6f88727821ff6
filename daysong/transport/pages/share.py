"""/share/<shareId>: the public page of a shared song, with player and lyrics. Plain HTML without scripts."""

from __future__ import annotations

import re
from html import escape
from typing import Any
from urllib.parse import urlsplit

import msgspec
from litestar import Request, Response, get
from litestar.background_tasks import BackgroundTask
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from daysong.kernel.functions.context import Caller
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.time.clock import from_ms
from daysong.transport import calls
from daysong.transport.callers.viewers import viewer_of
from daysong.transport.http.edge import is_head
from daysong.transport.pages.assets import page

QUERY = "sharing:getSharedMusic"
VIEW = "sharing:recordShareView"
# User agents of crawlers and link previews, which are not counted as views.
CRAWLERS = re.compile(r"bot\b|crawl|spider|slurp|preview|facebookexternalhit|whatsapp|embedly", re.IGNORECASE)
PREFETCH = re.compile(r"prefetch|prerender|preview", re.IGNORECASE)
LONGEST_ID = 64
UNTITLED = "Untitled Track"


class Shared(msgspec.Struct, rename="camel"):
    """The fields of a shared song that the page shows."""

    title: str = UNTITLED
    image_url: str | None = None
    image_width: float | None = None
    image_height: float | None = None
    audio_url: str | None = None
    lyric: str | None = None
    duration: float | None = None
    created_at: float | None = None
    user_name: str | None = None


def handlers(runtime: Runtime) -> list[HTTPRouteHandler]:
    """Return the route /share/<shareId>."""
    settings = runtime.settings
    # Until media is stored here it comes from the vendor's hosts, which vary.
    media_from = f"'self' https: {_origin(settings.site_url)}"

    @get("/share/{share_id:str}")
    async def share(request: Request[Any, Any, Any], share_id: FromPath[str]) -> Response[str]:
        viewer = Caller(viewer=viewer_of(request.scope, runtime.clock.now(), settings.admin_key))
        song = await _find(runtime, share_id, viewer)
        count_view = None
        if isinstance(song, Shared):
            if _is_view(request):
                # After the response, so that count_view does not delay it.
                count_view = BackgroundTask(calls.call, runtime, VIEW, {"shareId": share_id}, viewer)
            meta = _meta(song, f"{settings.share_base_url}/share/{share_id}")
            title, content, status = escape(song.title), _song(song), 200
        else:
            meta, status = "", 404 if song is NOT_FOUND else 503
            title, content = song
        body, headers = page("share", media_from=media_from, TITLE=title, META=meta, CONTENT=content)
        # Never cached, since a share can be revoked.
        headers["Cache-Control"] = "private, no-store"
        return Response(body, status_code=status, media_type=MediaType.HTML, headers=headers, background=count_view)

    return [share]


def _notice(heading: str, text: str) -> tuple[str, str]:
    """Return the title and the content of a page without a song."""
    return heading, f'<main class="nothing">\n<h1>{heading}</h1>\n<p class="about">{text}</p>\n</main>'


NOT_FOUND = _notice("There is no song here", "The link may be mistyped, or the song is no longer shared.")
UNAVAILABLE = _notice("The song cannot be shown right now", "Please try again in a little while.")


def _is_view(request: Request[Any, Any, Any]) -> bool:
    """Whether the request is a view by a person, by its headers."""
    headers = request.headers
    purpose = " ".join(headers.get(name, "") for name in ("sec-purpose", "purpose", "x-purpose", "x-moz"))
    return not is_head(request.scope) and not (
        PREFETCH.search(purpose) or CRAWLERS.search(headers.get("user-agent", ""))
    )


async def _find(runtime: Runtime, share_id: str, viewer: Caller) -> Shared | tuple[str, str]:
    if len(share_id) > LONGEST_ID or "\0" in share_id:
        return NOT_FOUND
    result = await calls.call(runtime, QUERY, {"shareId": share_id}, viewer)
    if isinstance(result, calls.Failure):
        return UNAVAILABLE if result.outcome == "failed" else NOT_FOUND
    found = msgspec.to_builtins(result.value)
    return msgspec.convert(found, Shared) if found["found"] else NOT_FOUND


def _song(song: Shared) -> str:
    title = escape(song.title)
    cover, audio = _http_url(song.image_url), _http_url(song.audio_url)
    picture = (
        f'<img class="cover" src="{escape(cover)}" alt="" width="320" height="320">'
        if cover
        else '<div class="no-cover" aria-hidden="true"></div>'
    )
    player = (
        f'<audio controls preload="metadata" src="{escape(audio)}" aria-label="{title}"></audio>'
        if audio
        else '<p class="waiting">The recording is not available right now.</p>'
    )
    return f"""<main>
<article class="song">
{picture}
<h1 dir="auto" lang="">{title}</h1>
<p class="about">{_about(song)}</p>
{player}
</article>
{_lyrics(song.lyric)}
<footer>Made with daysong, from a day in a diary.</footer>
</main>"""


def _about(song: Shared) -> str:
    facts = []
    if song.user_name:
        facts.append(f"Shared by <bdi>{escape(song.user_name)}</bdi>")
    if song.created_at is not None:
        day = from_ms(song.created_at)
        facts.append(f'<time datetime="{day:%Y-%m-%d}">{day.day} {day:%B %Y}</time>')
    if song.duration:
        minutes, seconds = divmod(whole_seconds(song.duration), 60)
        facts.append(f"{minutes}:{seconds:02}")
    return " · ".join(facts)


def _lyrics(lyric: str | None) -> str:
    """Return the lyrics by stanza; a line that is a tag such as [Chorus] becomes the stanza's label.

    Lyrics and labels each have their own text direction.
    """
    if not lyric or not lyric.strip():
        return ""
    stanzas = re.split(r"\n[ \t]*\n", lyric.strip().replace("\r\n", "\n"))
    shown = "\n".join(f'<p dir="auto">{_stanza(stanza)}</p>' for stanza in stanzas if stanza.strip())
    return f"""<section class="lyrics" aria-labelledby="words">
<h2 id="words">Lyrics</h2>
<div lang="">
{shown}
</div>
</section>"""


def _stanza(stanza: str) -> str:
    html, fresh = "", True
    for line in stanza.strip().split("\n"):
        if tag := re.fullmatch(r"\s*\[([^\[\]]+)\]\s*", line):
            html, fresh = f'{html}<span class="section" dir="auto">{escape(tag[1])}</span>', True
        else:
            html, fresh = f"{html}{'' if fresh else '<br>'}{escape(line.strip())}", False
    return html


def _meta(song: Shared, address: str) -> str:
    """Return the meta elements for link previews."""
    image = _http_url(song.image_url)
    properties = {
        "og:type": "music.song",
        "og:site_name": "daysong",
        "og:title": song.title,
        "og:url": address,
        "og:description": f"A song{f' by {song.user_name}' if song.user_name else ''}, made from a day in a diary.",
        "og:image": image,
        "og:audio": _http_url(song.audio_url),
        "og:image:width": f"{song.image_width:.0f}" if image and song.image_width else None,
        "og:image:height": f"{song.image_height:.0f}" if image and song.image_height else None,
        "music:duration": str(whole_seconds(song.duration)) if song.duration else None,
    }
    lines = [f'<meta property="{name}" content="{escape(text)}">' for name, text in properties.items() if text]
    card = "summary_large_image" if image else "summary"
    return "\n".join([*lines, f'<meta name="twitter:card" content="{card}">'])


def whole_seconds(duration: float) -> int:
    """Return the whole seconds, rounded down as players do."""
    return int(duration)


def _http_url(url: str | None) -> str | None:
    return url if url and urlsplit(url).scheme in {"http", "https"} else None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
