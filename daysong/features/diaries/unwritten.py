"""Entries that begin without words, as an app makes one before it uploads a photo.

Only their owner's `getDiary` shows them. One that has neither words nor media is removed after 10 minutes, or after a
day while an upload of its owner is outstanding.
"""

from __future__ import annotations

from datetime import timedelta

from daysong.features.diaries import store
from daysong.features.diaries.rules import TooManyUnwritten
from daysong.features.users import store as users
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import Args, IdText, mutation
from daysong.kernel.ids import DiaryId, UserId

MAX_UNWRITTEN = 20
REMOVED_AFTER = timedelta(minutes=10)
REMOVED_AT_LAST = timedelta(days=1)

# Without words and media. Entries older than two days are there only until the job that reviews them runs; so the index
# by date is enough.
UNWRITTEN_SQL = "d.content = '' and not exists (select from diary_media m where m.diary_id = d.id)"


class OneEntry(Args):
    """Which entry."""

    diary_id: IdText


async def begin(ctx: MutationContext, owner: UserId) -> DiaryId:
    """Insert an entry without words; the caller holds the account's lock. Errors: TooManyUnwritten."""
    begun = await ctx.db.fetchval(
        f"select count(*) from diaries d where d.user_id = $1 and d.date > $2 and {UNWRITTEN_SQL}",  # noqa: S608
        owner, ctx.now - 2 * REMOVED_AT_LAST,
    )  # fmt: skip
    if begun >= MAX_UNWRITTEN:
        raise TooManyUnwritten
    diary_id = (await store.insert(ctx.db, owner, "", ctx.now)).id
    await review_later(ctx, diary_id)
    return diary_id


async def review_later(ctx: MutationContext, diary_id: str) -> None:
    """Have an entry removed in 10 minutes if it has neither words nor media then."""
    await ctx.schedule(remove_if_unwritten, OneEntry(diary_id=diary_id), delay=REMOVED_AFTER)


@mutation
async def remove_if_unwritten(ctx: MutationContext, args: OneEntry) -> None:
    """Remove an entry that has neither words nor media. A job; while an upload is outstanding it looks again later."""
    owner = await ctx.db.fetchval("select user_id from diaries where id = $1", args.diary_id)
    if owner is None or not await users.lock_account(ctx.db, owner):
        return
    row = await ctx.db.fetchrow(
        f"""select d.created_at, exists (
                select from diary_uploads u
                where u.user_id = d.user_id and u.created_at > $3
                  and ((u.uploaded_at is null and u.expires_at > $2)
                       or (u.file_id is not null and u.attached_at is null))) as is_awaited
            from diaries d where d.id = $1 and {UNWRITTEN_SQL}""",  # noqa: S608 - a constant
        args.diary_id, ctx.now, ctx.now - 2 * REMOVED_AT_LAST,
    )  # fmt: skip
    if row is None:
        return
    if row["is_awaited"] and ctx.now < row["created_at"] + REMOVED_AT_LAST:
        await review_later(ctx, args.diary_id)
        return
    await ctx.db.execute("delete from diaries where id = $1", args.diary_id)
