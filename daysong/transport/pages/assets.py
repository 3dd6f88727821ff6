"""Renders the pages' templates with their styles and a strict Content-Security-Policy.

A template's `$NAME` is replaced without escaping: the values are HTML.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from string import Template


def page(name: str, *, media_from: str = "'none'", **parts: str) -> tuple[str, dict[str, str]]:
    """Return the page `<name>.html` with `<name>.css` inline, and its response headers.

    `media_from` is the Content-Security-Policy source list of images and audio.
    """
    template, style, digest = _files(name)
    # The inline style is allowed by its hash; scripts are not allowed.
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
