"""Photos and videos of an entry: attach an uploaded file, list, delete."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from daysong.features.diaries import store as diaries
from daysong.features.diaries import unwritten
from daysong.features.diary_media import store
from daysong.features.diary_media.addresses import addresses_hold_until, media_address
from daysong.features.diary_media.file_types import is_photo
from daysong.features.diary_media.rules import MAX_PER_ENTRY, MediaNotFound, StorageLimitReached, TooManyMedia
from daysong.features.stored_files import StoredFiles, remove_stored_files
from daysong.features.subscriptions import accounts
from daysong.kernel.errors import Forbidden
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, mutation, query

MediaType = Literal["photo", "video"]


class CreateDiaryMedia(Args):
    """The entry and the uploaded file. What the file says about type and size overrides the other arguments."""

    diary_id: IdText
    storage_id: IdText
    media_type: MediaType
    content_type: Annotated[str, msgspec.Meta(max_length=255)]
    file_size: Annotated[float, msgspec.Meta(ge=0)]


class CreatedMedia(Result):
    """The photo or video that was attached."""

    id: str = msgspec.field(name="_id")


class GetDiaryMedia(Args):
    """Which entry."""

    diary_id: IdText


class DeleteDiaryMedia(Args):
    """Which photo or video."""

    media_id: IdText


class DiaryMedia(Result):
    """A photo or a video of an entry. `url` is signed and good for 24 hours; `file_size` is in bytes."""

    id: str = msgspec.field(name="_id")
    diary_id: str
    user_id: str
    storage_id: str
    media_type: MediaType
    content_type: str
    file_size: float
    url: str


@mutation
async def create_diary_media(ctx: MutationContext, args: CreateDiaryMedia) -> CreatedMedia:
    """Attach an uploaded file to an entry of the caller. Type and size are those of the file.

    Errors: DiaryNotFound, Forbidden, MediaNotFound, TooManyMedia, StorageLimitReached.
    """
    owner = await accounts.of_caller(ctx)
    await diaries.check_owner(ctx.db, args.diary_id, owner)
    upload_id = await ctx.db.fetchval(
        "select id from diary_uploads where file_id = $1 and user_id = $2 and attached_at is null",
        args.storage_id, owner,
    )  # fmt: skip
    if upload_id is None:
        raise MediaNotFound
    attached = await ctx.db.fetchval("select count(*) from diary_media where diary_id = $1", args.diary_id)
    if attached >= MAX_PER_ENTRY:
        raise TooManyMedia
    # The file is counted already. It does not fit when the plan has ended since the upload.
    if await store.storage_left(ctx, owner) < 0:
        raise StorageLimitReached
    await ctx.db.execute("update diary_uploads set attached_at = $2 where id = $1", upload_id, ctx.now)
    return CreatedMedia(id=await store.insert_media(ctx.db, owner, args.diary_id, args.storage_id, ctx.now))


@query(reads=("diary_media", "files", "users"))
async def get_diary_media(ctx: QueryContext, args: GetDiaryMedia) -> list[DiaryMedia]:
    """Return the photos and videos of an entry of the caller, oldest first; an empty list for any other entry.

    Each `url` is private: a client that has it can fetch the file until it expires, a day from now.
    """
    if ctx.caller.subject is None:
        return []
    rows = await ctx.db.fetch(store.MEDIA_SQL, ctx.caller.subject, args.diary_id)
    if rows:
        ctx.holds_until(addresses_hold_until(ctx.now))
    return [
        DiaryMedia(
            id=row["id"],
            diary_id=row["diary_id"],
            user_id=row["user_id"],
            storage_id=row["file_id"],
            media_type="photo" if is_photo(row["content_type"]) else "video",
            content_type=row["content_type"],
            file_size=float(row["size"]),
            url=media_address(ctx.settings, row["file_id"], ctx.now),
        )
        for row in rows
    ]


@mutation
async def delete_diary_media(ctx: MutationContext, args: DeleteDiaryMedia) -> None:
    """Delete a photo or a video; a job removes its file. Errors: MediaNotFound, Forbidden."""
    owner = await accounts.of_caller(ctx)
    row = await ctx.db.fetchrow("select user_id, diary_id, file_id from diary_media where id = $1", args.media_id)
    if row is None:
        raise MediaNotFound
    if row["user_id"] != owner:
        raise Forbidden
    # Its row in `diary_media` goes along.
    await ctx.db.execute("delete from files where id = $1", row["file_id"])
    await ctx.schedule(remove_stored_files, StoredFiles(file_ids=[row["file_id"]]))
    await unwritten.review_later(ctx, row["diary_id"])
