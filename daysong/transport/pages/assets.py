"""The pages' template, their styles and scripts, and a Content-Security-Policy without inline scripts or styles.

Styles and scripts are the files in `static/`, served at /static/<version>/<name>. The version is a digest of all of
them, so an address never changes its content, and a module imports another one by a relative address. Values that a
page is given are HTML: they are not escaped here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from string import Template
from urllib.parse import urlsplit

from daysong.kernel.settings import Settings

# Text is served as UTF-8.
TYPES = {
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
# Of every page: the design tokens, and what all elements have in common.
BASE = ("tokens.css", "base.css")


class Assets:
    """Renders pages with the addresses of their styles and scripts below SITE_URL."""

    def __init__(self, settings: Settings) -> None:
        site = urlsplit(settings.site_url)
        origin = f"{site.scheme}://{site.netloc}"
        # Without the origin, so that pages also work under another name of the host; with it, where share links have
        # an origin of their own.
        shared = settings.share_base_url == origin or settings.share_base_url.startswith(f"{origin}/")
        self.base = site.path.rstrip("/") if shared else settings.site_url
        self._own = "'self'" if shared else f"'self' {origin}"
        # Until media is stored here it comes from the vendor's hosts, which vary.
        self._media = f"'self' {origin} https:"

    def address(self, name: str) -> str:
        """Return the address of a static file."""
        return f"{self.base}/static/{version()}/{name}"

    def page(
        self,
        *,
        title: str,
        content: str,
        kind: str = "",
        head: str = "",
        styles: Sequence[str] = (),
        modules: Sequence[str] = (),
        has_media: bool = False,
        may_be_framed: bool = False,
    ) -> tuple[str, dict[str, str]]:
        """Return a page and its response headers.

        kind           the class of <body>
        modules        scripts; the first one imports the others
        has_media      the page shows pictures and plays audio
        may_be_framed  any site may embed the page
        """
        links = [f'<link rel="stylesheet" href="{self.address(name)}">' for name in (*BASE, *styles)]
        links += [f'<link rel="modulepreload" href="{self.address(name)}">' for name in modules[1:]]
        links += [f'<script type="module" src="{self.address(name)}"></script>' for name in modules[:1]]
        links.append(f'<link rel="icon" href="{self.address("icon.svg")}" type="image/svg+xml">')
        links.append(f'<link rel="apple-touch-icon" href="{self.base}/icons/180.png">')
        body = _template().substitute(TITLE=title, KIND=kind, HEAD="\n".join([*links, head]), CONTENT=content)
        media = self._media if has_media else "'none'"
        policy = {
            "default-src": "'none'",
            "style-src": self._own,
            "script-src": self._own if modules else "'none'",
            "img-src": media if has_media else self._own,
            "media-src": media,
            "manifest-src": self._own,
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "*" if may_be_framed else "'none'",
        }
        headers = {
            "Content-Security-Policy": "; ".join(f"{name} {sources}" for name, sources in policy.items()),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        if not may_be_framed:
            headers["X-Frame-Options"] = "DENY"
        return body, headers


@cache
def static_files() -> dict[str, bytes]:
    """Return the static files by name."""
    folder = files(__package__) / "static"
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in TYPES}


@cache
def version() -> str:
    """Return the digest of all static files."""
    digest = hashlib.sha256()
    for name, content in sorted(static_files().items()):
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.hexdigest()[:16]


@cache
def _template() -> Template:
    return Template((files(__package__) / "page.html").read_text("utf-8"))
