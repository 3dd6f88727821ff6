"""The studio: the pages of the person who keeps the diary, and the front page for those who are not signed in.

All its addresses have the same document, the shell; scripts show the page, and read and write through the functions.
Who is signed in is known to the scripts alone. A cookie, which identifies no one, says whether the shell or the front
page is shown at /. /sw.js is the service worker that opens the shell without a connection.
"""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any
from urllib.parse import urlsplit

from litestar import Request, Response, get
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler

from daysong.features.subscriptions.rules import PLANS
from daysong.kernel.functions.context import Caller
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.settings import Settings
from daysong.transport.callers.viewers import viewer_of
from daysong.transport.pages import player, share
from daysong.transport.pages.assets import BASE, STUDIO_STYLES, Assets, static_files, version
from daysong.transport.pages.shared import Shared, find

SENTENCE = "Tell your diary about your day, and hear it as a song."
SANDBOX = "/sandbox/clerk"
# Clerk's check against bots at sign-up.
CHALLENGES = "https://challenges.cloudflare.com"
SIGN_IN = "/sign-in"
# The pages of the rail; the last path segment of those in DETAILS is an id.
PAGES = ("/today", "/diary", "/songs", "/calls", "/people", "/you")
DETAILS = ("/diary/{id:str}", "/songs/{id:str}", "/people/{id:str}")
SCRIPTS = (
    "studio/app.js",
    "deck.js",
    "lyrics.js",
    "studio/dom.js",
    "studio/drafts.js",
    "studio/live.js",
    "studio/now-playing.js",
    "studio/parts/cover.js",
    "studio/parts/dialog.js",
    "studio/parts/share-panel.js",
    "studio/player-bar.js",
    "studio/player.js",
    "studio/queue.js",
    "studio/session.js",
    "studio/time.js",
    "studio/tracks.js",
    "studio/verses.js",
    "studio/wave.js",
    "studio/words.js",
)


def handlers(runtime: Runtime, assets: Assets) -> list[HTTPRouteHandler]:
    """Return the routes."""
    studio = Studio(runtime.settings, assets)

    @get("/")
    async def front(request: Request[Any, Any, Any]) -> Response[str]:
        if request.cookies.get(share.HINT):
            return _response(studio.shell())
        viewer = Caller(viewer=viewer_of(request.scope, runtime.clock.now(), runtime.settings.hash_key))
        song = None
        if featured := runtime.settings.studio.featured_share_id:
            song = await find(runtime, featured, viewer)
        return _response(studio.front(song if isinstance(song, Shared) and song.audio else None))

    @get([*PAGES, *DETAILS], sync_to_thread=False)
    def shell() -> Response[str]:
        return _response(studio.shell())

    @get(SIGN_IN, sync_to_thread=False)
    def sign_in() -> Response[str]:
        return _response(studio.sign_in())

    @get("/sw.js", sync_to_thread=False)
    def worker() -> Response[str]:
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        return Response(studio.worker(), media_type="text/javascript", headers=headers)

    return [front, shell, sign_in, worker]


def sandbox_of(settings: Settings, assets: Assets) -> str | None:
    """Return the path of the sandbox's Clerk, by which a name is enough to sign in; None when it is not used."""
    plays = settings.sandboxed or not settings.production
    return f"{assets.path}{SANDBOX}" if plays and urlsplit(settings.clerk.issuer).path.endswith(SANDBOX) else None


class Studio:
    """The documents of the studio."""

    def __init__(self, settings: Settings, assets: Assets) -> None:
        self._settings = settings
        self._assets = assets
        sandbox = sandbox_of(settings, assets)
        self._is_sandbox = sandbox is not None
        self._clerk = sandbox or settings.clerk.issuer

    @cache  # noqa: B019 - one object for the life of the process
    def shell(self) -> tuple[str, dict[str, str]]:
        """Return the document of all pages for people who are signed in, and its headers."""
        lines = (files(__package__) / "shell.html").read_text("utf-8").splitlines()
        shown = [line for line in lines if not any(f'data-part="{part}"' in line for part in self._settings.off)]
        content = Template("\n".join(shown)).substitute(BASE=self._assets.path)
        return self._page(content, kind="studio", styles=(*player.STYLES, "lyrics.css"))

    @cache  # noqa: B019
    def sign_in(self) -> tuple[str, dict[str, str]]:
        """Return the page to sign in on, and its headers."""
        content = f"""{self._header()}
<main id="main" tabindex="-1" aria-busy="true">
<noscript><p>Signing in needs scripts, which are off in this browser.</p></noscript>
</main>
<nav id="rail" hidden></nav>
<div id="player" hidden></div>"""
        return self._page(content, kind="door", is_sign_in=True)

    def front(self, song: Shared | None) -> tuple[str, dict[str, str]]:
        """Return the page for those who are not signed in, with a song to play, and its headers."""
        played = ""
        if song is not None:
            played = f"""<section class="featured" aria-label="A song to hear">
{share.art(song)}
<div class="beside">
<h2 dir="auto" lang="">{escape(song.title)}</h2>
<p class="about">{share.about(song)}</p>
{share.deck(song)}
</div>
</section>"""
        to_sign_in = f"{self._assets.path}{SIGN_IN}"
        begin = f'<a class="button" href="{to_sign_in}">Begin</a>'
        if self._is_sandbox:
            begin = f'''<a class="button" href="{to_sign_in}" data-name="alice">Begin as alice</a>
<a class="other" href="{to_sign_in}">or as somebody else</a>'''
        content = f"""{self._header()}
<main id="main" tabindex="-1">
<h1>{SENTENCE}</h1>
<p class="begin">{begin}</p>
{played}
</main>
<nav id="rail" hidden></nav>
<div id="player" hidden></div>
<footer><a href="{self._assets.path}/docs">For developers: the functions of this server</a></footer>"""
        return self._page(content, kind="door front", styles=("share.css", *player.STYLES) if song else ())

    def _header(self) -> str:
        mark = f'<img src="{self._assets.address("icon.svg")}" alt="" width="36" height="36">'
        return f'<header><a class="brand" href="{self._assets.path}/">{mark}daysong</a></header>'

    def _page(
        self, content: str, *, kind: str, is_sign_in: bool = False, styles: tuple[str, ...] = ()
    ) -> tuple[str, dict[str, str]]:
        data = {
            "base": self._assets.path,
            "auth": "sandbox" if self._is_sandbox else "clerk",
            "clerk": self._clerk,
            "clerk-key": "" if self._is_sandbox else publishable_key(self._settings),
            "upgrades": json.dumps(self._upgrades()),
        }
        attributes = " ".join(f'data-{name}="{escape(value)}"' for name, value in data.items())
        head = f"""<link rel="manifest" href="{self._assets.base}/manifest.webmanifest">
<meta name="description" content="{SENTENCE}">"""
        body, headers = self._assets.page(
            title="daysong",
            content=f'<div id="studio" {attributes}>\n{content}\n</div>',
            kind=kind,
            head=head,
            styles=(*styles, STUDIO_STYLES),
            modules=SCRIPTS,
            has_media=True,
            sources=self._sources(is_sign_in=is_sign_in),
        )
        # The front page and the shell have one address.
        headers |= {"Cache-Control": "private, no-cache", "Vary": "Cookie"}
        return body, headers

    def _sources(self, *, is_sign_in: bool) -> dict[str, str]:
        own, clerk = self._assets.own, ""
        sources = {
            "worker-src": "'self'",
            "img-src": f"{self._assets.media} blob:",
            "media-src": f"{self._assets.media} blob:",
        }
        if not self._is_sandbox:
            issuer = urlsplit(self._clerk)
            clerk = f" {issuer.scheme}://{issuer.netloc}"
            sources["script-src"] = f"{own}{clerk}"
            if is_sign_in:
                sources["script-src"] += f" {CHALLENGES}"
                sources |= {
                    "style-src": f"{own} 'unsafe-inline'",
                    "frame-src": CHALLENGES,
                    "worker-src": "'self' blob:",
                }
        return sources | {"connect-src": f"{own} {self._assets.sockets}{clerk}"}

    def _upgrades(self) -> list[dict[str, Any]]:
        links = self._settings.studio.upgrade_links
        return [{"tier": tier, "url": links[tier]} for tier in PLANS if tier in links]

    @cache  # noqa: B019
    def worker(self) -> str:
        """Return the script of the service worker."""
        names = [name for name in static_files() if not name.endswith(".css")]
        shared = [*BASE, *player.STYLES, "lyrics.css", STUDIO_STYLES]
        path = self._assets.path
        pages = "|".join(page.removeprefix("/") for page in PAGES)
        constants = {
            "RELEASE": version(),
            "SHELL": f"{path}/today",
            "FILES": [f"{path}/static/{version()}/{name}" for name in (*names, *shared)],
        }
        lines = [f"const {name} = {json.dumps(value)};" for name, value in constants.items()]
        lines.append(f"const PAGES = new RegExp({json.dumps(f'^{re.escape(path)}/(?:{pages})(?:/[^/]+)?$')});")
        return "\n".join([*lines, (files(__package__) / "worker.js").read_text("utf-8")])


def publishable_key(settings: Settings) -> str:
    """Return Clerk's publishable key: the setting, or the issuer's host as Clerk encodes it."""
    if settings.clerk.publishable_key:
        return settings.clerk.publishable_key
    host = urlsplit(settings.clerk.issuer).netloc
    kind = "test" if host.endswith(".accounts.dev") else "live"
    return f"pk_{kind}_{base64.b64encode(f'{host}$'.encode()).decode()}"


def _response(page: tuple[str, dict[str, str]]) -> Response[str]:
    body, headers = page
    return Response(body, media_type=MediaType.HTML, headers=headers)
