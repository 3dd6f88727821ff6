"""Diary entries: write, change, list, read. Deleting one takes its songs along: workflows/diary_removal.py."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from daysong.features import pages
from daysong.features.diaries import rules, store, unwritten
from daysong.features.diaries.store import DIARY_SQL, LIST_SQL, PAGE, Diary
from daysong.features.memory import extraction
from daysong.features.memory.shown import EVENT_TABLES, EntryEvent, entry_event, events_of
from daysong.features.pages import PageArgs, Paginated
from daysong.features.subscriptions import accounts
from daysong.kernel.database.transactions import Statement
from daysong.kernel.functions.context import MutationContext, QueryContext, StatementContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, mutation, query
from daysong.kernel.ids import DiaryId, UserId
from daysong.kernel.time.clock import from_ms, to_ms

LAST_MOMENT = to_ms(datetime(9999, 1, 1, tzinfo=UTC))


class CreateDiary(Args):
    """What was written; an empty string begins an entry whose words follow."""

    content: str


class Created(Result):
    """The new entry."""

    id: str = msgspec.field(name="_id")


class UpdateDiary(Args):
    """Which entry, and what it says now."""

    diary_id: IdText
    content: str


class Updated(Result):
    """The changed entry, and when that was (ms)."""

    id: str = msgspec.field(name="_id")
    updated_at: float


class GetDiary(Args):
    """Which entry."""

    diary_id: IdText


class OpenedDiary(Diary, kw_only=True):
    """An entry with the events that were read from it, in the order in which it tells them."""

    events: list[EntryEvent]


class CreateDiaryInternal(Args):
    """An entry for a user: `date` in ms, now without; `call_session_id` of the call it was told in."""

    user_id: IdText
    content: str
    date: Annotated[float, msgspec.Meta(ge=0, le=LAST_MOMENT)] | UnsetType = UNSET
    call_session_id: IdText | UnsetType = UNSET


class PageDiaries(PageArgs):
    """A page of entries; with `before` (ms), of those dated before that moment."""

    before: Annotated[float, msgspec.Meta(ge=0, le=LAST_MOMENT)] | UnsetType = UNSET


class DiaryPage(Result):
    """Entries, newest date first, without the timing of their words; `next_cursor` when there are older ones."""

    page: list[Diary]
    next_cursor: str | None


class PaginatedDiaries(Paginated):
    """The same for usePaginatedQuery."""

    page: list[Diary]


OPENED_SQL = f"""
    select entry.*, {events_of("entry.id")} as events
    from ({DIARY_SQL} where d.id = $2) entry"""  # noqa: S608 - constants


async def save(ctx: MutationContext, owner: UserId, content: str, diary_id: str | None) -> DiaryId:
    """Write a new entry, or change one of the owner's; part of the caller's transaction."""
    content = rules.checked(content)
    if diary_id is None:
        return await _insert(ctx, owner, content)
    await store.check_owner(ctx.db, diary_id, owner)
    return await with_reading(ctx, owner, await store.update(ctx.db, diary_id, content, ctx.now))


async def _insert(ctx: MutationContext, owner: UserId, content: str) -> DiaryId:
    return await with_reading(ctx, owner, await store.insert(ctx.db, owner, content, ctx.now))


async def with_reading(ctx: MutationContext, owner: UserId, written: store.Written) -> DiaryId:
    """Schedule the reading of an entry that was written, if its events are to be read; return its id."""
    await extraction.schedule_reading(ctx, owner, *written)
    return written.id


def _create_at_once(ctx: StatementContext, args: CreateDiary) -> Statement | None:
    if ctx.caller.subject is None or not args.content:
        return None
    diary_id = DiaryId.new(ctx.now)
    return store.insert_at_once(ctx, diary_id, rules.checked(args.content), Created(id=diary_id))


@mutation(at_once=_create_at_once)
async def create_diary(ctx: MutationContext, args: CreateDiary) -> Created:
    """Save an entry dated now. Errors: DiaryIsEmpty, DiaryTooLong, TooManyUnwritten.

    Empty content begins an entry without words: only `getDiary` shows it until it has some, and it is removed after 10
    minutes (a day while an upload of the caller is outstanding) if it has neither words nor media.
    """
    owner = await accounts.of_caller(ctx)
    if not args.content:
        return Created(id=await unwritten.begin(ctx, owner))
    return Created(id=await _insert(ctx, owner, rules.checked(args.content)))


@mutation
async def update_diary(ctx: MutationContext, args: UpdateDiary) -> Updated:
    """Change an entry's content; DiaryNotFound, or Forbidden when it is another's."""
    owner = await accounts.of_caller(ctx)
    diary_id = await save(ctx, owner, args.content, args.diary_id)
    return Updated(id=diary_id, updated_at=to_ms(ctx.now))


@query(reads=("diaries", "music", "users"))
async def list_diaries(ctx: QueryContext, args: NoArgs) -> list[Diary]:  # noqa: ARG001
    """Return the caller's entries, newest date first, each with its song; an empty list to an anonymous caller.

    At most the newest 500, and at most 4 MiB of them; `pageDiaries` has the rest. The timing of the words is left out:
    `getDiary` has it.
    """
    if ctx.caller.subject is None:
        return []
    rows = await ctx.db.fetch(LIST_SQL, ctx.caller.subject)
    return [store.shown(row, ctx.settings) for row in rows]


@query(reads=("diaries", "music", "users"))
async def page_diaries(ctx: QueryContext, args: PageDiaries) -> DiaryPage | PaginatedDiaries:
    """Return a page of the caller's entries, newest date first; it costs the same however many there are.

    Errors: InvalidCursor.
    """
    newest = pages.NEWEST if args.before is UNSET else pages.Position(from_ms(args.before), "")
    found = await pages.read(ctx, args, PAGE, newest)
    entries = [store.shown(row, ctx.settings) for row in found.rows]
    if found.more:
        return PaginatedDiaries(page=entries, **found.more)
    return DiaryPage(page=entries, next_cursor=found.next_cursor)


@query(reads=("diaries", "music", "users", *EVENT_TABLES))
async def get_diary(ctx: QueryContext, args: GetDiary) -> OpenedDiary | None:
    """One entry of the caller with its events; another's looks exactly like one that does not exist."""
    if ctx.caller.subject is None:
        return None
    row = await ctx.db.fetchrow(OPENED_SQL, ctx.caller.subject, args.diary_id)
    if row is None:
        return None
    fields = msgspec.structs.asdict(store.shown(row, ctx.settings))
    return OpenedDiary(**fields, events=[entry_event(event) for event in row["events"] or ()])


@mutation
async def create_diary_internal(ctx: MutationContext, args: CreateDiaryInternal) -> Created:
    """Save an entry for a user, of a call or otherwise. Of one call session there is one entry: the first stays."""
    owner = await ctx.db.fetchval("select id from users where id = $1 and deleted_at is null", args.user_id)
    if owner is None:
        raise rules.WriterNotFound
    date = ctx.now if args.date is UNSET else from_ms(args.date)
    diary_id = await save_of_call(
        ctx, UserId(owner), rules.checked(args.content), date=date, call_session_id=args.call_session_id or None
    )
    return Created(id=diary_id)


async def save_of_call(
    ctx: MutationContext, owner: UserId, content: str, *, date: datetime, call_session_id: str | None
) -> DiaryId:
    """Write the entry of a call, once; part of the caller's transaction."""
    written = await store.insert_of_call(
        ctx.db, owner, content, date=date, call_session_id=call_session_id, now=ctx.now
    )  # fmt: skip
    return await with_reading(ctx, owner, written) if isinstance(written, store.Written) else written
