"""Rows of `diary_media` and `diary_uploads`, and the storage that an account has used."""

from __future__ import annotations

from datetime import datetime

from daysong.features.diary_media.rules import MAX_PER_ENTRY, storage_of
from daysong.features.subscriptions.entitlements import parse_entitlements, summary
from daysong.features.users.callers import IS_CALLER
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.ids import DiaryId, DiaryMediaId

# The photos and videos of an entry of the caller, oldest first.
MEDIA_SQL = f"""
    select m.id, m.diary_id, m.user_id, m.file_id, f.content_type, f.size
    from diary_media m
    join users u on u.id = m.user_id and {IS_CALLER}
    join files f on f.id = m.file_id
    where m.diary_id = $2
    order by m.created_at, m.id limit {MAX_PER_ENTRY}"""  # noqa: S608 - constants

FIRST_PHOTO_SQL = """
    select m.file_id from diary_media m join files f on f.id = m.file_id
    where m.diary_id = $1 and f.content_type in ('image/jpeg', 'image/png', 'image/webp') and f.size <= 10000000
    order by m.created_at, m.id limit 1"""

# Uploads whose address is open, or whose file waits for an entry. $2 is now.
OUTSTANDING_SQL = """
    (uploaded_at is null and expires_at > $2) or (file_id is not null and attached_at is null)"""


async def storage_left(ctx: MutationContext, user_id: str) -> int:
    """Return how many more bytes of photos and videos the account may store; negative when it has too many.

    Files that no entry has taken yet count. Exact while the account's lock is held.
    """
    row = await ctx.db.fetchrow(
        """select s.lines, (select coalesce(sum(size), 0) from files where user_id = $1 and private) as used
           from subscriptions s where s.user_id = $1""",
        user_id,
    )
    if row is None:
        return 0
    tier = summary(parse_entitlements(row["lines"]), ctx.now).tier
    return storage_of(tier, ctx.settings.media_storage) - int(row["used"])


async def counts(db: Transaction, user_id: str, now: datetime, day_ago: datetime) -> tuple[int, int]:
    """Return how many uploads of an account are outstanding, and how many it has begun since `day_ago`."""
    row = await db.fetchrow(
        f"""select count(*) filter (where {OUTSTANDING_SQL}) as outstanding,
                   count(*) filter (where created_at > $3) as begun
            from diary_uploads where user_id = $1""",  # noqa: S608 - a constant
        user_id, now, day_ago,
    )  # fmt: skip
    return (row["outstanding"], row["begun"]) if row else (0, 0)


async def insert_media(db: Transaction, user_id: str, diary_id: str, file_id: str, now: datetime) -> DiaryMediaId:
    """Insert a photo or a video of an entry."""
    media_id = DiaryMediaId.new(now)
    await db.execute(
        "insert into diary_media (id, user_id, diary_id, file_id, created_at) values ($1, $2, $3, $4, $5)",
        media_id, user_id, DiaryId(diary_id), file_id, now,
    )  # fmt: skip
    return media_id


async def files_of_entry(db: Transaction, diary_id: str) -> list[str]:
    """Return the files of an entry's photos and videos."""
    rows = await db.fetch("select file_id from diary_media where diary_id = $1", diary_id)
    return [row["file_id"] for row in rows]
