"""The headers of a request by name, looked up once for all layers that read them."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

_KEY = "daysong.headers"
_SIZE = "daysong.size"


def headers_of(scope: Any) -> Mapping[bytes, bytes]:
    """Return the headers of a request by lower-case name; of repeated ones, the first."""
    state: MutableMapping[str, Any] = scope
    found: dict[bytes, bytes] | None = state.get(_KEY)
    if found is None:
        found = state[_KEY] = dict(reversed([*state["headers"]]))
    return found


def announced_size(scope: Any) -> int | None:
    """Return the size of the body that was announced, if any."""
    state: MutableMapping[str, Any] = scope
    if _SIZE not in state:
        text = headers_of(scope).get(b"content-length", b"")
        state[_SIZE] = int(text) if text.isdigit() and len(text) < 20 else None  # noqa: PLR2004 - digits
    size: int | None = state[_SIZE]
    return size
