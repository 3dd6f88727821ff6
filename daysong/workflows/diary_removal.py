"""Deletes a diary entry with everything that belongs to it: songs, shares, photos, videos, a running generation.

For an entry from a call, the transcript is deleted too, here and at VAPI.
"""

from __future__ import annotations

from datetime import timedelta

from daysong.features.diaries import store
from daysong.features.diaries.rules import DiaryNotFound
from daysong.features.diary_media.store import files_of_entry
from daysong.features.memory.store import forget_entry
from daysong.features.music import generations, video_rows
from daysong.features.stored_files import StoredFiles, remove_stored_files
from daysong.features.subscriptions import accounts
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import Args, IdText, mutation
from daysong.kernel.ids import UserId
from daysong.workflows.calls.call_words import delete_words_of_entry
from daysong.workflows.songs.song_files import file_id_of

# A copy that was being stored while its entry was deleted arrives after the first removal, but before the second.
LATE_COPIES = timedelta(hours=1)


class DeleteDiary(Args):
    """The id of a diary entry."""

    diary_id: IdText


@mutation
async def delete_diary(ctx: MutationContext, args: DeleteDiary) -> None:
    """Delete an entry and everything derived from it. Idempotent; Forbidden when another user owns it.

    A song or video in progress is canceled, and refunded unless its vendor was already requested.
    """
    owner = await accounts.of_caller(ctx)
    try:
        await store.check_owner(ctx.db, args.diary_id, owner)
    except DiaryNotFound:
        return
    await remove(ctx, owner, args.diary_id)


async def remove(ctx: MutationContext, owner: UserId, diary_id: str) -> None:
    """Delete an entry of an account whose lock the caller holds."""
    await generations.cancel_of(ctx.db, diary_id, reason="diary_deleted", now=ctx.now)
    await video_rows.cancel_of_diary(ctx.db, diary_id, reason="diary_deleted", now=ctx.now)
    file_ids = [*await _files_of(ctx.db, diary_id), *await files_of_entry(ctx.db, diary_id)]
    await delete_words_of_entry(ctx, owner, diary_id)
    await forget_entry(ctx.db, owner, diary_id)
    await ctx.db.execute("delete from diaries where id = $1", diary_id)
    await ctx.db.execute("delete from files where id = any($1)", file_ids)
    if file_ids:
        await ctx.schedule(remove_stored_files, StoredFiles(file_ids=file_ids))
        await ctx.schedule(remove_stored_files, StoredFiles(file_ids=file_ids), delay=LATE_COPIES)


async def _files_of(db: Transaction, diary_id: str) -> list[str]:
    """Return the files of an entry's tracks and videos, including those that may be being copied."""
    tracks = await db.fetch(
        """select m.id, m.audio_file_id, m.image_file_id, g.callback_secret
           from music m join generations g on g.id = m.generation_id where g.diary_id = $1""",
        diary_id,
    )
    recorded = {track[column] for track in tracks for column in ("audio_file_id", "image_file_id")} - {None}
    expected = {
        str(file_id_of(track["callback_secret"], track["id"], kind)) for track in tracks for kind in ("audio", "image")
    }
    videos = await db.fetch(
        """select v.id, v.file_id, v.callback_secret from music m join music_videos v on v.music_id = m.id
           where m.diary_id = $1""",
        diary_id,
    )
    recorded |= {video["file_id"] for video in videos} - {None}
    expected |= {str(file_id_of(video["callback_secret"], video["id"], "video")) for video in videos}
    return sorted(recorded | expected)
