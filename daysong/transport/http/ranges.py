"""The part of a file that a Range header requests."""

from __future__ import annotations

import re
from typing import NamedTuple

_RANGE = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE)


class Span(NamedTuple):
    """Bytes from `start` up to and not including `end`."""

    start: int
    end: int


class OutOfRange(Exception):
    """The requested range is outside of the file."""


def requested_span(header: str | None, size: int) -> Span | None:
    """Return the part of a file of `size` bytes that a Range header requests; None for the whole file.

    Anything but a single byte range is ignored, as RFC 9110 allows. Errors: OutOfRange for a valid range without any
    byte of the file.
    """
    found = None if header is None else _RANGE.fullmatch(header)
    if found is None:
        return None
    first, last = _number(found[1]), _number(found[2])
    if first is None:
        if last is None:
            return None
        if last == 0 or size == 0:
            raise OutOfRange
        return Span(max(0, size - last), size)
    if last is not None and last < first:
        return None
    if first >= size:
        raise OutOfRange
    return Span(first, size if last is None else min(last + 1, size))


def _number(digits: str) -> int | None:
    # No file is that large, and Python refuses to parse thousands of digits.
    return int(digits.lstrip("0")[:20] or "0") if digits else None
