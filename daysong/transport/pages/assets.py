"""The pages' template, their styles and scripts, and a Content-Security-Policy without inline scripts or styles.

Styles and scripts are the files in `static/` and the folders in it, served at /static/<version>/<name>. The version is
a digest of all of them, so an address never changes its content, and a module imports another one by a relative
address. Values that a page is given are HTML: they are not escaped here.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
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
# The studio's styles are many small files, joined into one for browsers.
STUDIO = "studio/"
STUDIO_STYLES = "studio/studio.css"


class Assets:
    """Renders pages with the addresses of their styles and scripts below SITE_URL."""

    def __init__(self, settings: Settings) -> None:
        site = urlsplit(settings.site_url)
        origin = f"{site.scheme}://{site.netloc}"
        # Without the origin, so that pages also work under another name of the host; with it, where share links have
        # an origin of their own.
        shared = settings.share_base_url == origin or settings.share_base_url.startswith(f"{origin}/")
        self.base = site.path.rstrip("/") if shared else settings.site_url
        self.path = site.path.rstrip("/")
        self.own = "'self'" if shared else f"'self' {origin}"
        # Older browsers do not count sockets among 'self'.
        self.sockets = f"{'wss' if site.scheme == 'https' else 'ws'}://{site.netloc}"
        # Until media is stored here it comes from the vendor's hosts, which vary.
        self.media = f"'self' {origin} https:"
        # `https:` allows redirects to a bucket; this is one on the same machine, for development.
        if (bucket := urlsplit(settings.media_redirect_endpoint or "")).scheme == "http":
            self.media += f" http://{bucket.netloc}"

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
        sources: Mapping[str, str] | None = None,
    ) -> tuple[str, dict[str, str]]:
        """Return a page and its response headers.

        kind           the class of <body>
        modules        scripts; the first one imports the others
        has_media      the page shows pictures and plays audio
        may_be_framed  any site may embed the page
        sources        directives of the policy, besides or instead of the usual ones
        """
        links = [f'<link rel="stylesheet" href="{self.address(name)}">' for name in (*BASE, *styles)]
        links += [f'<link rel="modulepreload" href="{self.address(name)}">' for name in modules[1:]]
        links += [f'<script type="module" src="{self.address(name)}"></script>' for name in modules[:1]]
        links.append(f'<link rel="icon" href="{self.address("icon.svg")}" type="image/svg+xml">')
        links.append(f'<link rel="apple-touch-icon" href="{self.base}/icons/180.png">')
        body = _template().substitute(TITLE=title, KIND=kind, HEAD="\n".join([*links, head]), CONTENT=content)
        media = self.media if has_media else "'none'"
        policy = {
            "default-src": "'none'",
            "style-src": self.own,
            "script-src": self.own if modules else "'none'",
            "img-src": media if has_media else self.own,
            "media-src": media,
            "manifest-src": self.own,
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "*" if may_be_framed else "'none'",
        }
        policy |= sources or {}
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
    """Return the static files by name, with the path below `static/`."""
    found = dict(sorted(_files_in(files(__package__) / "static", "")))
    styles = (content for name, content in found.items() if name.startswith(STUDIO) and name.endswith(".css"))
    return found | {STUDIO_STYLES: b"\n".join(styles)}


def _files_in(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files_in(entry, f"{path}{entry.name}/")
        elif entry.name.rpartition(".")[2] in TYPES:
            yield f"{path}{entry.name}", entry.read_bytes()


@cache
def compressed(name: str) -> bytes:
    """Return a static file compressed with gzip."""
    return gzip.compress(static_files()[name], 9, mtime=0)


@cache
def version() -> str:
    """Return the digest of all static files."""
    digest = hashlib.sha256()
    for name, content in static_files().items():
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.hexdigest()[:16]


@cache
def _template() -> Template:
    return Template((files(__package__) / "page.html").read_text("utf-8"))
