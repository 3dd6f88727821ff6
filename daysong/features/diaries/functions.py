"""Diary entries: write, change, list, read."""

from __future__ import annotations

import msgspec

from daysong.features.diaries import rules, store
from daysong.features.diaries.store import DIARY_SQL, Diary
from daysong.features.subscriptions import accounts
from daysong.kernel.clock import to_ms
from daysong.kernel.context import MutationContext, QueryContext
from daysong.kernel.ids import DiaryId, UserId
from daysong.kernel.registry import Args, IdText, NoArgs, Result, Room

room = Room("diaries")


class CreateDiary(Args):
    """What was written."""

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


async def save(ctx: MutationContext, owner: UserId, content: str, diary_id: str | None) -> DiaryId:
    """Write a new entry, or change one of the owner's; part of the caller's transaction."""
    content = rules.checked(content)
    if diary_id is None:
        return await store.insert(ctx.db, owner, content, ctx.now)
    await store.check_owner(ctx.db, diary_id, owner)
    await store.update(ctx.db, diary_id, content, ctx.now)
    return DiaryId(diary_id)


@room.mutation(public=True)
async def create_diary(ctx: MutationContext, args: CreateDiary) -> Created:
    """Save an entry dated now; DiaryIsEmpty or DiaryTooLong if it cannot be one."""
    owner = await accounts.of_caller(ctx)
    return Created(id=await save(ctx, owner, args.content, None))


@room.mutation(public=True)
async def update_diary(ctx: MutationContext, args: UpdateDiary) -> Updated:
    """Change an entry's content; DiaryNotFound, or Forbidden when it is another's."""
    owner = await accounts.of_caller(ctx)
    diary_id = await save(ctx, owner, args.content, args.diary_id)
    return Updated(id=diary_id, updated_at=to_ms(ctx.now))


@room.query(public=True, reads=("diaries", "music", "users"))
async def list_diaries(ctx: QueryContext, args: NoArgs) -> list[Diary]:  # noqa: ARG001
    """All entries of the caller, the newest date first, each with its song; nothing for nobody."""
    if ctx.caller.subject is None:
        return []
    rows = await ctx.db.fetch(f"{DIARY_SQL} order by d.date desc, d.id desc", ctx.caller.subject)
    return [store.shown(row, ctx.settings) for row in rows]


@room.query(public=True, reads=("diaries", "music", "users"))
async def get_diary(ctx: QueryContext, args: GetDiary) -> Diary | None:
    """One entry of the caller; another's looks exactly like one that does not exist."""
    if ctx.caller.subject is None:
        return None
    row = await ctx.db.fetchrow(f"{DIARY_SQL} where d.id = $2", ctx.caller.subject, args.diary_id)
    return store.shown(row, ctx.settings) if row else None
