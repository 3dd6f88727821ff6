"""The headers of a request by name, looked up once for all layers that read them."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

_KEY = "daysong.headers"
_SIZE = "daysong.size"
_MOST_DIGITS = 19


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
    size: int | None = state.get(_SIZE, -1)
    if size == -1:
        text = headers_of(scope).get(b"content-length", b"")
        size = state[_SIZE] = int(text) if text.isdigit() and len(text) <= _MOST_DIGITS else None
    return size


def only_value(scope: Any, name: bytes) -> bytes | None:
    """Return the value of a header by its lower-case name; None if there is none, or it is repeated."""
    value = headers_of(scope).get(name)
    if value is None or len(headers_of(scope)) == len(scope["headers"]):  # none is repeated
        return value
    return value if len(values_of(scope, name)) == 1 else None


def values_of(scope: Any, name: bytes) -> list[bytes]:
    """Return all values of a header by its lower-case name."""
    headers = headers_of(scope)
    if len(headers) == len(scope["headers"]):  # none is repeated
        return [headers[name]] if name in headers else []
    return [value for each, value in scope["headers"] if each == name]
