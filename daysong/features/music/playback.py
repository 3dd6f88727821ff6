"""The playlist: a person's songs, newest first."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.links import media_url
from daysong.kernel.clock import to_ms
from daysong.kernel.context import QueryContext
from daysong.kernel.registry import Args, IdText, NoArgs, Result, Room, given

room = Room("music")


class PlaylistItem(Result):
    """A song in the playlist, with its diary entry; times in ms since the epoch, duration in seconds."""

    id: str = msgspec.field(name="_id")
    creation_time: float = msgspec.field(name="_creationTime")
    status: str
    created_at: float
    updated_at: float
    diary_id: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    image_url: str | UnsetType = UNSET
    audio_url: str | UnsetType = UNSET
    duration: float | UnsetType = UNSET
    lyric: str | UnsetType = UNSET
    lyric_with_time: Any = UNSET
    diary_date: float | UnsetType = UNSET
    diary_content: str | UnsetType = UNSET
    diary_title: str | UnsetType = UNSET


PLAYLIST_SQL = """
    select m.*, d.date as diary_date, d.content as diary_content, d.title as diary_title
    from music m
    join users u on u.id = m.user_id and u.clerk_id = $1 and u.deleted_at is null
    left join diaries d on d.id = m.diary_id
    where m.music_index = 0 and m.deleted_at is null
    order by m.created_at desc, m.id desc"""


@room.query(public=True, reads=("music", "diaries", "users"))
async def list_playlist_music(ctx: QueryContext, args: NoArgs) -> list[PlaylistItem]:  # noqa: ARG001
    """All songs of the caller, newest first, first tracks only; nothing for nobody."""
    if ctx.caller.subject is None:
        return []
    rows = await ctx.db.fetch(PLAYLIST_SQL, ctx.caller.subject)
    return [
        PlaylistItem(
            id=row["id"],
            creation_time=to_ms(row["created_at"]),
            status=row["status"],
            created_at=to_ms(row["created_at"]),
            updated_at=to_ms(row["updated_at"]),
            diary_id=given(row["diary_id"]),
            title=given(row["title"]),
            image_url=given(media_url(ctx.settings, row["image_file_id"], row["image_url"])),
            audio_url=given(media_url(ctx.settings, row["audio_file_id"], row["audio_url"] or row["stream_url"])),
            duration=given(row["duration"]),
            lyric=given(row["lyric"]),
            lyric_with_time=given(row["lyric_with_time"]),
            diary_date=UNSET if row["diary_date"] is None else to_ms(row["diary_date"]),
            diary_content=given(row["diary_content"]),
            diary_title=given(row["diary_title"]),
        )
        for row in rows
    ]


class OneDiary(Args):
    """Which diary entry."""

    diary_id: IdText


class Progress(Result):
    """How far the newest song of an entry has come; `reason` is there when it failed."""

    stage: str
    updated_at: float
    reason: str | UnsetType = UNSET


@room.query(reads=("generations",))
async def generation_progress(ctx: QueryContext, args: OneDiary) -> Progress | None:
    """The stage of an entry's newest generation; None when there was none."""
    row = await ctx.db.fetchrow(
        """select status, updated_at, failure_reason from generations
           where diary_id = $1 order by created_at desc, id desc limit 1""",
        args.diary_id,
    )
    if row is None:
        return None
    return Progress(stage=row["status"], updated_at=to_ms(row["updated_at"]), reason=given(row["failure_reason"]))
