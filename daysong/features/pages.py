"""Keyset pagination of lists, newest first, with pages bounded in rows and in bytes.

Each page starts after the last row of the one before, so every page costs the same.
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
# A live page keeps its end and grows with new rows; beyond this many, it shows its first rows.
LARGEST_LIVE_PAGE = 200
# Of a list without pages: rows, and bytes of JSON.
LONGEST_LIST = 500
LARGEST_LIST = 4 * 2**20
MICROSECOND = timedelta(microseconds=1)


def json_bytes(*texts: str) -> str:
    """Return SQL for the maximum bytes of a row's JSON: those of these columns, and 1,000 for the rest."""
    return " + ".join(["1000", *(f"coalesce(octet_length(to_json({text})::text), 0)" for text in texts)])


class InvalidCursor(ExpectedError):
    """The cursor is not of this list. Its data makes the clients' usePaginatedQuery start over."""

    code = "invalid_cursor"
    default_message = "Invalid cursor: pass nextCursor or continueCursor of the page before, or leave it out"

    def __init__(self) -> None:
        super().__init__()
        self.data |= {"isConvexSystemError": True, "paginationError": "InvalidCursor"}


Cursor = Annotated[str, msgspec.Meta(max_length=100)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class PaginationOpts(Args):
    """The options of the clients' usePaginatedQuery; `num_items` over 100 count as 100.

    Without `end_cursor`, a live page keeps its first end. `id` distinguishes subscriptions.
    """

    num_items: Count
    cursor: Cursor | None = None
    end_cursor: Cursor | None = None
    id: float | str | None = None
    maximum_rows_read: Count | None = None
    maximum_bytes_read: Count | None = None


class PageArgs(Args):
    """The cursor (`nextCursor` of the previous page; the newest row without it) and the maximum number of rows.

    Or `pagination_opts` alone, as the clients' usePaginatedQuery sends them.
    """

    cursor: Cursor | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PAGE)] = 20
    pagination_opts: PaginationOpts | UnsetType = UNSET


class Paginated(Result, kw_only=True):
    """A page for usePaginatedQuery: the next one starts at `continue_cursor`, unless this is the last (`is_done`).

    A page with `split_cursor` has grown, and should be requested in two parts; `SplitRequired` means that rows are
    missing.
    """

    is_done: bool
    continue_cursor: str
    split_cursor: str | UnsetType = UNSET
    page_status: Literal["SplitRecommended", "SplitRequired"] | UnsetType = UNSET


class Position(NamedTuple):
    """The end of a page: time and id of its last row. The next page has older rows."""

    moment: datetime
    id: str

    def cursor(self) -> str:
        """Return the position as a cursor."""
        if self == OLDEST:
            return END
        microseconds = (self.moment - EPOCH) // MICROSECOND
        return base64.urlsafe_b64encode(f"{microseconds}:{self.id}".encode()).decode().rstrip("=")


NEWEST = Position(datetime(9999, 12, 31, tzinfo=UTC), "")
OLDEST = Position(datetime(1, 1, 1, tzinfo=UTC), "")
# The cursor of the end of a list.
END = base64.urlsafe_b64encode(b"end").decode()


def position_of(cursor: str | None, kind: type[TypedId]) -> Position:
    """Return the position of a cursor, in a list of rows with ids of that kind. Errors: InvalidCursor."""
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
        position = Position(EPOCH + int(found[1]) * MICROSECOND, found[2])
    except OverflowError:
        raise InvalidCursor from None
    if position.cursor() != cursor:
        raise InvalidCursor
    return position


class PageSql(NamedTuple):
    """The SQL of a paginated list.

    sql     selects rows of the caller $1 older than the position ($2, $3), up to and including ($4, $5): at most $6
            rows, each with `bytes_so_far`; rows that start beyond $7 bytes are left out, except the first two
    kind    of the rows' ids
    moment  the column of the order
    """

    sql: str
    kind: type[TypedId]
    moment: str


class Page(NamedTuple):
    """The rows of a page, the position of the next page if there is one, and `more` fields of a Paginated result."""

    rows: list[asyncpg.Record]
    next: Position | None
    more: dict[str, Any]

    @property
    def next_cursor(self) -> str | None:
        """Return the cursor of the next page, for `cursor` and `limit`."""
        return self.next.cursor() if self.next else None


async def read(ctx: QueryContext, args: PageArgs, listed: PageSql, newest: Position = NEWEST) -> Page:
    """Read a page in one statement. A page has at most 4 MiB, but at least one row if there is any.

    `newest` is where the list begins. Errors: InvalidCursor.
    """

    def after(cursor: str | None) -> Position:
        return newest if cursor is None else position_of(cursor, listed.kind)

    opts = args.pagination_opts
    if opts is UNSET:
        rows, is_cut = await _rows(ctx, listed, after(args.cursor), OLDEST, args.limit, LARGEST_LIST)
        return Page(rows, _position(rows[-1], listed) if is_cut else None, {})
    if args.cursor is not None:
        raise ArgumentValidationError(explain("Expected either cursor and limit or paginationOpts - at `$.cursor`"))
    start = after(opts.cursor)
    count = min(opts.num_items, opts.maximum_rows_read or LARGEST_PAGE, LARGEST_PAGE)
    size = min(opts.maximum_bytes_read or LARGEST_LIST, LARGEST_LIST)
    pinned = opts.end_cursor or ctx.journal
    if pinned is None:
        rows, is_cut = await _rows(ctx, listed, start, OLDEST, count, size)
        end = _position(rows[-1], listed) if is_cut else OLDEST
        split = {}
    else:
        end = position_of(pinned, listed.kind)
        rows, is_cut = await _rows(ctx, listed, start, end, LARGEST_LIVE_PAGE, LARGEST_LIST)
        split = _split(rows, listed, "SplitRequired") if is_cut else {}
        if not is_cut and len(rows) > 2 * count:
            split = _split(rows, listed, "SplitRecommended")
    if ctx.caller.subject is not None:
        ctx.keep(end.cursor())
    return Page(rows, end, {"is_done": end == OLDEST, "continue_cursor": end.cursor(), **split})


async def _rows(
    ctx: QueryContext, listed: PageSql, start: Position, end: Position, count: int, size: int
) -> tuple[list[asyncpg.Record], bool]:
    """Return the rows between two positions that fit, and whether there are more."""
    if ctx.caller.subject is None:
        return [], False
    rows = await ctx.db.fetch(listed.sql, ctx.caller.subject, *start, *end, count + 1, size)
    shown = [row for row in rows[:count] if row["bytes_so_far"] <= size] or rows[:1]
    return shown, len(rows) > len(shown)


def _position(row: asyncpg.Record, listed: PageSql) -> Position:
    return Position(row[listed.moment], row["id"])


def _split(rows: list[asyncpg.Record], listed: PageSql, status: str) -> dict[str, Any]:
    middle = rows[(len(rows) - 1) // 2]
    return {"split_cursor": _position(middle, listed).cursor(), "page_status": status}
