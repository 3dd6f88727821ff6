"""Small, exact functions on tables of their own, for behaviour of clients that the product has no example of.

A failing query, a 64-bit integer, a page that keeps its end: each has one here, on the real kernel.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec

from daysong.kernel.database.transactions import Database
from daysong.kernel.errors import ExpectedError
from daysong.kernel.functions.arguments import Reader
from daysong.kernel.functions.context import ActionContext, Caller, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, NoArgs, Result, action, mutation, query
from daysong.kernel.functions.registry import module, named
from daysong.kernel.time.clock import to_ms
from daysong.kernel.values import Int64

LONGEST_DELAY_MS = 10_000
LARGEST_PAGE = 1000
LARGEST_ECHO = 16 * 2**20
SCHEMA = Path(__file__).parent / "schema.sql"


ShortText = Annotated[str, msgspec.Meta(max_length=1000)]


async def create_tables(database: Database) -> None:
    """Create the tables of these functions where they do not exist yet."""
    if await database.pool.fetchval("select to_regclass('testing_todos') is null"):
        await database.pool.execute(SCHEMA.read_text(encoding="utf-8"))


class Key(Args):
    """Which counter."""

    key: ShortText = ""


class Increment(Key):
    """By how much to raise which counter."""

    by: Annotated[int, msgspec.Meta(ge=-1_000_000, le=1_000_000)] = 1


async def _count(ctx: QueryContext, key: str) -> int:
    ctx.depends_on(key)
    return await ctx.db.fetchval("select value from testing_counters where key = $1", key) or 0


@query(reads=("testing_counters",))
async def get(ctx: QueryContext, args: Key) -> int:
    """The counter's number, 0 at first."""
    return await _count(ctx, args.key)


@query(reads=("testing_counters",))
async def logs(ctx: QueryContext, args: Key) -> int:
    """The counter's number, with a line for the caller's console."""
    count = await _count(ctx, args.key)
    ctx.log(f"the counter is at {count}")
    return count


@mutation
async def increment(ctx: MutationContext, args: Increment) -> int:
    """Raise the counter; its new number."""
    raised: int = await ctx.db.fetchval(
        """insert into testing_counters as c (key, value) values ($1, $2)
           on conflict (key) do update set value = c.value + excluded.value returning value""",
        args.key,
        args.by,
    )
    return raised


@mutation
async def noop(ctx: MutationContext, args: NoArgs) -> None:
    """Change nothing."""


class Channel(Args):
    """Which list."""

    channel: ShortText


class NewTodo(Channel):
    """What to add to which list."""

    text: ShortText


class Todo(Result):
    """One line of a list."""

    id: str = msgspec.field(name="_id")
    creation_time: float = msgspec.field(name="_creationTime")
    text: str
    channel: str


class PaginationOpts(Args):
    """Which page the Convex clients ask for; `id` and the maxima are theirs alone."""

    num_items: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PAGE)]
    cursor: str | None
    end_cursor: str | None = None
    id: Any = None
    maximum_rows_read: Any = None
    maximum_bytes_read: Any = None


class PageOf(Channel):
    """Which page of which list."""

    pagination_opts: PaginationOpts


class Page(Result):
    """A page as the Convex clients read it."""

    page: list[Todo]
    is_done: bool
    continue_cursor: str


class InvalidCursor(ExpectedError):
    """A cursor that is none of ours; the clients then start over."""

    code = "invalid_cursor"
    default_message = "InvalidCursor: this cursor is none of this list's."


END = "end"
TODOS_SQL = """
    select place, channel, text, created_at from testing_todos
    where channel = $1 and place > $2 and ($3::bigint is null or place <= $3)
    order by place limit $4"""


def _todo(row: Any) -> Todo:
    return Todo(
        id=f"todo_{row['place']}", creation_time=to_ms(row["created_at"]), text=row["text"], channel=row["channel"]
    )


def _place(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < len(str(2**63))):
        raise InvalidCursor(data={"isConvexSystemError": True, "paginationError": "InvalidCursor"})
    return int(cursor)


@query(reads=("testing_todos",))
async def list_todos(ctx: QueryContext, args: Channel) -> list[Todo]:
    """A list, in the order added."""
    ctx.depends_on(args.channel)
    return [_todo(row) for row in await ctx.db.fetch(TODOS_SQL, args.channel, 0, None, None)]


@query(reads=("testing_todos",))
async def page(ctx: QueryContext, args: PageOf) -> Page:
    """A page of a list. Run again with its journal, it ends where it ended before, however many lines are in it now."""
    ctx.depends_on(args.channel)
    asked = args.pagination_opts
    end = asked.end_cursor if asked.end_cursor is not None else ctx.journal
    if asked.cursor == END:
        rows = []
        end = END
    elif end is None:
        rows = await ctx.db.fetch(TODOS_SQL, args.channel, _place(asked.cursor), None, asked.num_items + 1)
        end = str(rows[asked.num_items - 1]["place"]) if len(rows) > asked.num_items else END
        rows = rows[: asked.num_items]
    else:
        last = None if end == END else _place(end)
        rows = await ctx.db.fetch(TODOS_SQL, args.channel, _place(asked.cursor), last, None)
    ctx.keep(end)
    return Page(page=[_todo(row) for row in rows], is_done=end == END, continue_cursor=end)


@mutation
async def add(ctx: MutationContext, args: NewTodo) -> str:
    """Add a line; its id."""
    place = await ctx.db.fetchval(
        "insert into testing_todos (channel, text, created_at) values ($1, $2, $3) returning place",
        args.channel,
        args.text,
        ctx.now,
    )
    return f"todo_{place}"


class Teapot(ExpectedError):
    """An expected failure with data of every kind."""

    code = "TEAPOT"
    status = 418
    default_message = "I am a teapot"


class Odd(ExpectedError):
    """The counter is odd."""

    code = "odd"
    default_message = "The counter is odd"


class Tag(Args):
    """What the failure's text ends with."""

    tag: ShortText = ""


def _teapot() -> NoReturn:
    raise Teapot(data={"code": Teapot.code, "n": Int64(7), "nested": {"list": [1.0, None, "x"]}})


def _plain(tag: str) -> NoReturn:
    raise RuntimeError(f"plain failure {tag}")


@query
async def expected_query(ctx: QueryContext, args: NoArgs) -> None:  # noqa: ARG001
    """Fail with data."""
    _teapot()


@mutation
async def expected_mutation(ctx: MutationContext, args: NoArgs) -> None:  # noqa: ARG001
    """Fail with data."""
    _teapot()


@action
async def expected_action(ctx: ActionContext, args: NoArgs) -> None:  # noqa: ARG001
    """Fail with data."""
    _teapot()


@query
async def unexpected_query(ctx: QueryContext, args: Tag) -> None:  # noqa: ARG001
    """Fail unexpectedly."""
    _plain(args.tag)


@mutation
async def unexpected_mutation(ctx: MutationContext, args: Tag) -> None:  # noqa: ARG001
    """Fail unexpectedly."""
    _plain(args.tag)


@action
async def unexpected_action(ctx: ActionContext, args: Tag) -> None:  # noqa: ARG001
    """Fail unexpectedly."""
    _plain(args.tag)


@mutation
async def fail_after_write(ctx: MutationContext, args: Key) -> None:
    """Raise the counter, then fail: no trace of it remains."""
    await increment(ctx, Increment(key=args.key))
    _plain("after a write")


@query(reads=("testing_counters",))
async def when_odd(ctx: QueryContext, args: Key) -> int:
    """The counter's number; when that is odd, fail with it."""
    count = await _count(ctx, args.key)
    if count % 2:
        raise Odd(data={"odd": count})
    return count


class ExactReader(Reader):
    """Decodes arguments exactly as they were sent: 5.0 stays a float, NUL characters stay, and any size is accepted."""

    most_values = None

    def convert(self, decoded: Any) -> Any:
        """The typed arguments of decoded values; msgspec.ValidationError names the field."""
        return msgspec.convert(decoded, self.args_type)


class Echo(Args):
    """Any value."""

    value: Any


@query(reader=ExactReader, largest=LARGEST_ECHO)
async def echo_query(ctx: QueryContext, args: Echo) -> Any:  # noqa: ARG001
    """The value."""
    return args.value


@mutation(reader=ExactReader, largest=LARGEST_ECHO)
async def echo_mutation(ctx: MutationContext, args: Echo) -> Any:  # noqa: ARG001
    """The value."""
    return args.value


@action(reader=ExactReader, largest=LARGEST_ECHO)
async def echo_action(ctx: ActionContext, args: Echo) -> Any:  # noqa: ARG001
    """The value."""
    return args.value


@query
async def whoami(ctx: QueryContext, args: NoArgs) -> str | None:  # noqa: ARG001
    """The caller's subject, or null."""
    return ctx.caller.subject


@mutation
async def whoami_mutation(ctx: MutationContext, args: NoArgs) -> str | None:  # noqa: ARG001
    """The caller's subject, or null."""
    return ctx.caller.subject


@action
async def whoami_action(ctx: ActionContext, args: NoArgs) -> str | None:  # noqa: ARG001
    """The caller's subject, or null."""
    return ctx.caller.subject


def _identity(caller: Caller) -> dict[str, Any] | None:
    return None if caller.subject is None else dict(caller.attributes)


@query
async def identity(ctx: QueryContext, args: NoArgs) -> dict[str, Any] | None:  # noqa: ARG001
    """All that the caller's token says of them, or null."""
    return _identity(ctx.caller)


class Sum(Args):
    """Two numbers, and how long to think about them."""

    a: float
    b: float
    delay_ms: Annotated[float, msgspec.Meta(ge=0, le=LONGEST_DELAY_MS)] = 0


@action
async def add_up(ctx: ActionContext, args: Sum) -> float:  # noqa: ARG001
    """The sum, after a while."""
    await asyncio.sleep(args.delay_ms / 1000)
    return args.a + args.b


@action
async def increment_via(ctx: ActionContext, args: Key) -> int:
    """Raise the counter by way of a mutation; its new number."""
    return await ctx.run_mutation(increment, Increment(key=args.key))


@query
async def secret(ctx: QueryContext, args: NoArgs) -> str:  # noqa: ARG001
    """What only the admin key may see."""
    return "internal-ok"


MODULES = (
    module("counter", public=(get, logs, increment, noop)),
    module("todos", public=(named("list", list_todos), page, add)),
    module(
        "errors",
        public=(
            named("convex_query", expected_query),
            named("convex_mutation", expected_mutation),
            named("convex_action", expected_action),
            named("plain_query", unexpected_query),
            named("plain_mutation", unexpected_mutation),
            named("plain_action", unexpected_action),
            fail_after_write,
            when_odd,
        ),
    ),
    module(
        "values",
        public=(
            named("echo_query", echo_query),
            named("echo_mutation", echo_mutation),
            named("echo_action", echo_action),
        ),
    ),
    module("auth", public=(whoami, whoami_mutation, whoami_action, identity)),
    module("actions", public=(named("add", add_up), increment_via)),
    module("internalFns", internal=(secret,)),
)
