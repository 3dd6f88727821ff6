"""Long lists, newest first: the newest rows at once, bounded in number and in bytes, or page by page.

Each page begins where the one before it ended, so none costs more than another.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.kernel.errors import ArgumentValidationError, ExpectedError
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import Args, Result
from daysong.kernel.functions.validation import explain
from daysong.kernel.ids import LENGTH, TypedId
from daysong.kernel.time.clock import EPOCH

LARGEST_PAGE = 100
# A page that is subscribed to keeps its end, and grows by what is written: beyond this it shows its beginning.
LARGEST_LIVE_PAGE = 200
# Of a list that is given at once: rows, and bytes of JSON.
LONGEST_LIST = 500
LARGEST_LIST = 4 * 2**20
MICROSECOND = timedelta(microseconds=1)


def json_bytes(*texts: str) -> str:
    """SQL for the bytes of JSON that a row needs at most: those of these columns, and 1,000 for everything else."""
    return " + ".join(["1000", *(f"coalesce(octet_length(to_json({text})::text), 0)" for text in texts)])


class InvalidCursor(ExpectedError):
    """The cursor is not one of this list. With the mark by which the clients' usePaginatedQuery starts over."""

    code = "invalid_cursor"
    default_message = "Invalid cursor: pass nextCursor or continueCursor of the page before, or leave it out"

    def __init__(self) -> None:
        super().__init__()
        self.data |= {"isConvexSystemError": True, "paginationError": "InvalidCursor"}


Cursor = Annotated[str, msgspec.Meta(max_length=100)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class PaginationOpts(Args):
    """What the clients' usePaginatedQuery asks for; `num_items` over 100 are 100.

    Without `end_cursor` a page that is subscribed to keeps the end it had at first. `id` tells subscriptions apart.
    """

    num_items: Count
    cursor: Cursor | None = None
    end_cursor: Cursor | None = None
    id: float | str | None = None
    maximum_rows_read: Count | None = None
    maximum_bytes_read: Count | None = None


class PageArgs(Args):
    """Where to go on (`nextCursor` of the page before; from the newest without), and how many at most.

    Or `pagination_opts` alone, as the clients' usePaginatedQuery sends them.
    """

    cursor: Cursor | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PAGE)] = 20
    pagination_opts: PaginationOpts | UnsetType = UNSET


class Paginated(Result, kw_only=True):
    """A page as usePaginatedQuery takes it: it goes on at `continue_cursor`, unless it is the last one (`is_done`).

    With `split_cursor` it has grown, and should be asked for in two parts; `SplitRequired` says that some is missing.
    """

    is_done: bool
    continue_cursor: str
    split_cursor: str | UnsetType = UNSET
    page_status: Literal["SplitRecommended", "SplitRequired"] | UnsetType = UNSET


class Place(NamedTuple):
    """Where a page ends: the time and the id of its last row. The next one has what is older."""

    moment: datetime
    id: str

    def cursor(self) -> str:
        """The place as clients hand it back."""
        if self == OLDEST:
            return END
        microseconds = (self.moment - EPOCH) // MICROSECOND
        return base64.urlsafe_b64encode(f"{microseconds}:{self.id}".encode()).decode().rstrip("=")


NEWEST = Place(datetime(9999, 12, 31, tzinfo=UTC), "")
OLDEST = Place(datetime(1, 1, 1, tzinfo=UTC), "")
# The cursor of the end of a list, whatever is written later.
END = base64.urlsafe_b64encode(b"end").decode()


def place_of(cursor: str | None, kind: type[TypedId]) -> Place:
    """The place a cursor stands for, in a list of rows with ids of that kind; InvalidCursor when it is none."""
    if cursor is None:
        return NEWEST
    if cursor == END:
        return OLDEST
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


class PageSql(NamedTuple):
    """A list as pages read it.

    sql     its rows of the caller $1 older than the place ($2, $3), down to and with ($4, $5): at most $6, each with
            `bytes_so_far`; rows that begin beyond $7 bytes are left out, but for the first two
    kind    of its rows' ids
    moment  the column that orders it
    """

    sql: str
    kind: type[TypedId]
    moment: str


class Page(NamedTuple):
    """The rows of a page; where the next one begins, if there is one; and `more` fields of a Paginated result."""

    rows: list[asyncpg.Record]
    next: Place | None
    more: dict[str, Any]

    @property
    def next_cursor(self) -> str | None:
        """For a client that pages by `cursor` and `limit`."""
        return self.next.cursor() if self.next else None


async def read(ctx: QueryContext, args: PageArgs, listed: PageSql) -> Page:
    """Read a page in one statement. It has at most 4 MiB, and at least one row if there is any.

    Errors: InvalidCursor.
    """
    opts = args.pagination_opts
    if opts is UNSET:
        rows, is_cut = await _rows(ctx, listed, place_of(args.cursor, listed.kind), OLDEST, args.limit, LARGEST_LIST)
        return Page(rows, _place(rows[-1], listed) if is_cut else None, {})
    if args.cursor is not None:
        raise ArgumentValidationError(explain("Expected either cursor and limit or paginationOpts - at `$.cursor`"))
    start = place_of(opts.cursor, listed.kind)
    count = min(opts.num_items, opts.maximum_rows_read or LARGEST_PAGE, LARGEST_PAGE)
    size = min(opts.maximum_bytes_read or LARGEST_LIST, LARGEST_LIST)
    pinned = opts.end_cursor or ctx.journal
    if pinned is None:
        rows, is_cut = await _rows(ctx, listed, start, OLDEST, count, size)
        end = _place(rows[-1], listed) if is_cut else OLDEST
        split = {}
    else:
        end = place_of(pinned, listed.kind)
        rows, is_cut = await _rows(ctx, listed, start, end, LARGEST_LIVE_PAGE, LARGEST_LIST)
        split = _split(rows, listed, "SplitRequired") if is_cut else {}
        if not is_cut and len(rows) > 2 * count:
            split = _split(rows, listed, "SplitRecommended")
    if ctx.caller.subject is not None:
        ctx.keep(end.cursor())
    return Page(rows, end, {"is_done": end == OLDEST, "continue_cursor": end.cursor(), **split})


async def _rows(
    ctx: QueryContext, listed: PageSql, start: Place, end: Place, count: int, size: int
) -> tuple[list[asyncpg.Record], bool]:
    """The rows between two places, as many as may be shown, and whether there are more."""
    if ctx.caller.subject is None:
        return [], False
    rows = await ctx.db.fetch(listed.sql, ctx.caller.subject, *start, *end, count + 1, size)
    fitting = [row for row in rows[:count] if row["bytes_so_far"] <= size] or rows[:1]
    return fitting, len(rows) > len(fitting)


def _place(row: asyncpg.Record, listed: PageSql) -> Place:
    return Place(row[listed.moment], row["id"])


def _split(rows: list[asyncpg.Record], listed: PageSql, status: str) -> dict[str, Any]:
    middle = rows[(len(rows) - 1) // 2]
    return {"split_cursor": _place(middle, listed).cursor(), "page_status": status}
