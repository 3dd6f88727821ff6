"""The caller's music videos: listed by track, one by its id, and which of them a track shows first."""

from __future__ import annotations

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.links import media_url
from daysong.features.music import video_rules
from daysong.features.music.playback import OneMusic
from daysong.features.music.video_rules import NotAuthorizedForVideo, VideoNotFound, VideoNotReady
from daysong.features.subscriptions import accounts
from daysong.features.users.callers import IS_CALLER
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, given, mutation, query
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import to_ms

MOST_LISTED = 100


class OneVideo(Args):
    """Which video."""

    video_id: IdText


class Video(Result):
    """A music video; times in ms since the epoch, duration in seconds.

    `script_prompt` is empty until it is written; `reason` says why a failed video failed.
    """

    id: str = msgspec.field(name="_id")
    music_id: str
    user_id: str
    script_prompt: str
    status: video_rules.ShownStatus
    created_at: float
    updated_at: float
    is_primary: bool
    duration: float | UnsetType = UNSET
    video_url: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET


VIDEO_SQL = f"""
    select v.id, v.music_id, v.user_id, v.script_prompt, v.status, v.created_at, v.updated_at, v.is_primary, v.duration,
           v.file_id, v.failure_reason
    from music_videos v
    join users u on u.id = v.user_id and {IS_CALLER}
    join music m on m.id = v.music_id and m.deleted_at is null
    where v.status <> 'canceled'"""  # noqa: S608 - a constant
LIST_SQL = f"{VIDEO_SQL} and v.music_id = $2 order by v.created_at desc, v.id desc limit {MOST_LISTED}"
ONE_SQL = f"{VIDEO_SQL} and v.id = $2"


def _video(row: asyncpg.Record, settings: Settings) -> Video:
    return Video(
        id=row["id"],
        music_id=row["music_id"],
        user_id=row["user_id"],
        script_prompt=row["script_prompt"] or "",
        status=video_rules.shown(row["status"]),
        created_at=to_ms(row["created_at"]),
        updated_at=to_ms(row["updated_at"]),
        is_primary=row["is_primary"],
        duration=given(row["duration"]),
        video_url=given(media_url(settings, row["file_id"], None)),
        reason=given(row["failure_reason"]),
    )


@query(reads=("music_videos", "music", "users"))
async def list_videos_for_music(ctx: QueryContext, args: OneMusic) -> list[Video]:
    """Return the videos of a track of the caller, newest first, at most 100; none for another's track."""
    if ctx.caller.subject is None:
        return []
    rows = await ctx.db.fetch(LIST_SQL, ctx.caller.subject, args.music_id)
    return [_video(row, ctx.settings) for row in rows]


@query(reads=("music_videos", "music", "users"))
async def get_video(ctx: QueryContext, args: OneVideo) -> Video | None:
    """Return a video of the caller; None for another's, and for a video of a deleted track."""
    if ctx.caller.subject is None:
        return None
    row = await ctx.db.fetchrow(ONE_SQL, ctx.caller.subject, args.video_id)
    return None if row is None else _video(row, ctx.settings)


async def of_owner(db: Transaction, video_id: str, owner: str, what: str) -> asyncpg.Record:
    """Return the row of a video that its owner can see. Errors: VideoNotFound, NotAuthorizedForVideo."""
    row = await db.fetchrow(
        """select v.id, v.user_id, v.music_id, v.status, v.file_id, v.callback_secret
           from music_videos v join music m on m.id = v.music_id
           where v.id = $1 and v.status <> 'canceled' and m.deleted_at is null for update of v""",
        video_id,
    )
    if row is None:
        raise VideoNotFound
    if row["user_id"] != owner:
        raise NotAuthorizedForVideo(f"Not authorized to {what} this video")
    return row


@mutation
async def set_as_primary_video(ctx: MutationContext, args: OneVideo) -> None:
    """Show a ready video first. Errors: VideoNotFound, NotAuthorizedForVideo, VideoNotReady."""
    owner = await accounts.of_caller(ctx)
    video = await of_owner(ctx.db, args.video_id, owner, "update")
    if video["status"] != "ready":
        raise VideoNotReady
    # The account's lock is held. First the former one: the index allows one at any moment.
    await ctx.db.execute(
        """update music_videos set is_primary = false, updated_at = $3
           where music_id = $1 and is_primary and id <> $2""",
        video["music_id"], args.video_id, ctx.now,
    )  # fmt: skip
    await ctx.db.execute(
        "update music_videos set is_primary = true, updated_at = $2 where id = $1 and not is_primary",
        args.video_id, ctx.now,
    )  # fmt: skip
