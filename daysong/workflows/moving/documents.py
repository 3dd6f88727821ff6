"""Fields of a document of the earlier backend, read leniently: a field of another type counts as absent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from hashlib import sha256
from typing import Any

from daysong.kernel.ids import ALPHABET, LENGTH
from daysong.kernel.time.clock import from_ms

Document = Mapping[str, Any]

FIRST_MS, LAST_MS = 0.0, 32_503_680_000_000.0  # the years 1970 to 3000


def text(document: Document, name: str, longest: int | None = None) -> str | None:
    """Return a string without NUL, which PostgreSQL cannot store; None when it is absent or empty."""
    value = document.get(name)
    if not isinstance(value, str):
        return None
    value = value.replace("\0", "").encode("utf-8", "replace").decode()
    return value[:longest] or None


def number(document: Document, name: str) -> float | None:
    """Return a finite number; None when it is absent."""
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def whole(document: Document, name: str, most: int = 2**31 - 1) -> int | None:
    """Return a number as an integer from 0 to `most`; None when it is absent."""
    value = number(document, name)
    return None if value is None else max(0, min(most, int(value)))


def flag(document: Document, name: str) -> bool | None:
    """Return a boolean; None when it is absent."""
    value = document.get(name)
    return value if isinstance(value, bool) else None


def moment(document: Document, *names: str) -> datetime | None:
    """Return the first of these fields that is a time in milliseconds; None when none is."""
    for name in names:
        value = number(document, name)
        if value is not None and FIRST_MS <= value <= LAST_MS:
            return from_ms(value)
    return None


def made(document: Document, now: datetime) -> datetime:
    """Return when the document was made, not after `now`."""
    return min(now, moment(document, "createdAt", "_creationTime") or now)


def changed(document: Document, now: datetime) -> datetime:
    """Return when the document was changed last, not before it was made and not after `now`."""
    return min(now, max(made(document, now), moment(document, "updatedAt") or made(document, now)))


def texts(document: Document, name: str, most: int, longest: int) -> list[str]:
    """Return the strings of a list, at most `most`, each cut to `longest`."""
    value = document.get(name)
    found = [text({"": item}, "", longest) for item in value] if isinstance(value, list) else []
    return [item for item in found if item][:most]


def day(document: Document, name: str) -> date | None:
    """Return a date written YYYY-MM-DD; None when it is absent."""
    value = text(document, name, 10)
    try:
        return None if value is None else date.fromisoformat(value)
    except ValueError:
        return None


def derived_id(prefix: str, *parts: object) -> str:
    """Return the id of a row that the archive has no document for: the same parts give the same id."""
    digest = int.from_bytes(sha256("\0".join(map(str, parts)).encode()).digest()[:16], "big")
    return f"{prefix}_" + "".join(ALPHABET[digest >> 5 * place & 31] for place in reversed(range(LENGTH)))
