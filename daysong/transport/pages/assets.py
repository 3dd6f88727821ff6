"""The pages' templates and styles, and the headers that let a page do nothing but be read.

A template's `$NAME` is replaced as it is: what goes in is HTML already.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from string import Template


def page(name: str, *, media_from: str = "'none'", **parts: str) -> tuple[str, dict[str, str]]:
    """The page `<name>.html` with `<name>.css` in it, and its response headers.

    `media_from` names the origins that images and audio may come from, as a Content-Security-Policy does.
    """
    template, style, digest = _files(name)
    # The style stands in the page and is known by its hash; no script runs at all.
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src {media_from}; media-src {media_from}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return template.substitute(parts, STYLE=style), {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


@cache
def _files(name: str) -> tuple[Template, str, str]:
    folder = files(__package__)
    style = (folder / f"{name}.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return Template((folder / f"{name}.html").read_text("utf-8")), style, digest
