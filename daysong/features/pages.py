"""Long lists, newest first: the newest rows at once, bounded in number and in bytes, or page by page.

Each page begins where the one before it ended, so none costs more than another.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from daysong.kernel.clock import EPOCH
from daysong.kernel.errors import ExpectedError
from daysong.kernel.ids import LENGTH, TypedId
from daysong.kernel.registry import Args

LARGEST_PAGE = 100
# Of a list that is given at once: rows, and bytes of JSON.
LONGEST_LIST = 500
LARGEST_LIST = 4 * 2**20
MICROSECOND = timedelta(microseconds=1)


def json_bytes(*texts: str) -> str:
    """SQL for the bytes of JSON that a row needs at most: those of these columns, and 1,000 for everything else."""
    return " + ".join(["1000", *(f"coalesce(octet_length(to_json({text})::text), 0)" for text in texts)])


class InvalidCursor(ExpectedError):
    """Not a cursor of this list."""

    code = "invalid_cursor"
    default_message = "Invalid cursor: pass nextCursor of the page before, or leave it out"


class PageArgs(Args):
    """Where to go on (`nextCursor` of the page before; from the newest without), and how many at most."""

    cursor: Annotated[str, msgspec.Meta(max_length=100)] | UnsetType = UNSET
    limit: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PAGE)] = 20


class Place(NamedTuple):
    """Where a page ends: the time and the id of its last row. The next one has what is older."""

    moment: datetime
    id: str

    def cursor(self) -> str:
        """The place as clients hand it back."""
        microseconds = (self.moment - EPOCH) // MICROSECOND
        return base64.urlsafe_b64encode(f"{microseconds}:{self.id}".encode()).decode().rstrip("=")


NEWEST = Place(datetime(9999, 12, 31, tzinfo=UTC), "")


def place_of(cursor: str | UnsetType, kind: type[TypedId]) -> Place:
    """The place a cursor stands for, in a list of rows with ids of that kind; InvalidCursor when it is none."""
    if cursor is UNSET:
        return NEWEST
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise InvalidCursor from None
    found = re.fullmatch(rf"(-?[0-9]{{1,18}}):({kind.prefix}_[0-9a-z]{{{LENGTH}}})", text)
    if found is None:
        raise InvalidCursor
    try:
        place = Place(EPOCH + int(found[1]) * MICROSECOND, found[2])
    except OverflowError:
        raise InvalidCursor from None
    if place.cursor() != cursor:
        raise InvalidCursor
    return place
