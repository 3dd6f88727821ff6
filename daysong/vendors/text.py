"""Cutting and cleaning text for vendors that count characters, and from vendors that send whatever they like."""

from __future__ import annotations

import re
from typing import Any

from daysong.kernel.visible import trimmed

# All but the tab and the end of a line.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f]+")


def fit(text: str, limit: int) -> str:
    """`text` in at most `limit` characters: cut after a whole line where that keeps half of it, else after a word."""
    if len(text) <= limit:
        return text
    head = text[: limit + 1]
    for cut in (head.rfind("\n"), max(head.rfind(" "), head.rfind("\n"))):
        # A boundary far from the limit would throw away more than it tidies up.
        if cut > limit // 2:
            return head[:cut].rstrip()
    return text[:limit].rstrip()


def fit_tags(text: str, limit: int) -> str:
    """Comma-separated tags in at most `limit` characters, dropping whole tags from the end."""
    if len(text) <= limit:
        return text
    head = text[: limit + 1]
    cut = head.rfind(",")
    return head[:cut].rstrip() if cut > 0 else fit(text, limit)


def clean(text: str) -> str:
    """`text` with plain line ends and without control characters (a database refuses NUL), trimmed.

    Empty when nothing in it is visible.
    """
    return trimmed(_CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def storable(value: Any) -> Any:
    """A decoded JSON value without NUL characters in any of its strings, which no jsonb column takes."""
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, list):
        return [storable(entry) for entry in value]
    if isinstance(value, dict):
        return {storable(key): storable(entry) for key, entry in value.items()}
    return value
