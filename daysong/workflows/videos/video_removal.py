"""A video is deleted by its owner, with its file."""

from __future__ import annotations

from daysong.features.music import video_rows, video_rules, videos
from daysong.features.music.videos import OneVideo
from daysong.features.stored_files import StoredFiles, remove_stored_files
from daysong.features.subscriptions import accounts
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import mutation
from daysong.workflows.diary_removal import LATE_COPIES
from daysong.workflows.songs.song_files import file_id_of
from daysong.workflows.videos.video_delivery import KIND


@mutation
async def delete_video(ctx: MutationContext, args: OneVideo) -> None:
    """Delete a video and its file. Errors: VideoNotFound, NotAuthorizedForVideo.

    A video in progress is canceled, and refunded only while Kie was not requested. Of several ready videos, the newest
    becomes the primary one when that is deleted.
    """
    owner = await accounts.of_caller(ctx)
    video = await videos.of_owner(ctx.db, args.video_id, owner, "delete")
    if video["status"] in video_rules.LIVE:
        # The row stays: a job may be about to request it.
        await video_rows.cancel(ctx.db, args.video_id, reason="video_deleted", now=ctx.now)
    else:
        await ctx.db.execute("delete from music_videos where id = $1", args.video_id)
        await video_rows.choose_primary(ctx.db, video["music_id"], ctx.now)
    file_ids = {video["file_id"], str(file_id_of(video["callback_secret"], args.video_id, KIND))} - {None}
    await ctx.db.execute("delete from files where id = any($1)", sorted(file_ids))
    files = StoredFiles(file_ids=sorted(file_ids))
    await ctx.schedule(remove_stored_files, files)
    await ctx.schedule(remove_stored_files, files, delay=LATE_COPIES)
