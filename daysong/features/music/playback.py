"""A track and the tracks of an entry, with all there is to them; hiding a track."""

from __future__ import annotations

from typing import Any

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.links import media_url
from daysong.features.music import generations, rules, video_rows
from daysong.features.pages import LARGEST_LIST, json_bytes
from daysong.features.users.callers import IS_CALLER
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, given, query, stored
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import ms_sql, to_ms
from daysong.kernel.values import StoredJson


class PlaylistItem(Result):
    """A song in the playlist, with its diary entry; times in ms since the epoch, duration in seconds.

    `reason` says why a failed song failed.
    """

    id: str = msgspec.field(name="_id")
    creation_time: float = msgspec.field(name="_creationTime")
    status: rules.TrackStatus
    created_at: float
    updated_at: float
    diary_id: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    image_url: str | UnsetType = UNSET
    audio_url: str | UnsetType = UNSET
    duration: float | UnsetType = UNSET
    lyric: str | UnsetType = UNSET
    lyric_with_time: StoredJson | UnsetType = UNSET
    diary_date: float | UnsetType = UNSET
    diary_content: str | UnsetType = UNSET
    diary_title: str | UnsetType = UNSET


class OneDiary(Args):
    """Which diary entry."""

    diary_id: IdText


class Progress(Result):
    """How far the making of a song has come; `reason` is there when it failed."""

    stage: rules.Status
    updated_at: float
    reason: str | UnsetType = UNSET


class OneMusic(Args):
    """Which track."""

    music_id: IdText


class Track(PlaylistItem, kw_only=True):
    """A track with the timing of its words, and how its making stands."""

    progress: Progress


COLUMNS = f"""m.id, {ms_sql("m.created_at")} as created_ms, {ms_sql("m.updated_at")} as updated_ms,
           m.status, m.failure_reason, m.diary_id, m.title,
           m.image_url, m.image_file_id, m.audio_url, m.stream_url, m.audio_file_id, m.duration, m.lyric,
           {ms_sql("d.date")} as diary_ms, d.content as diary_content, d.title as diary_title"""

# Of an entry, the playlist shows the beginning.
SHOWN_CONTENT = 2_000
# How many songs of the playlist have their timed words.
WORDS_OF = 100
TEXTS = ("m.title", "m.lyric", "m.image_url", "m.audio_url", "m.stream_url", "d.title")

# Any track that is there, the second of a song too.
TRACK_SQL = f"""
    select {COLUMNS}, m.lyric_with_time::text,
           g.status as stage, g.updated_at as progressed_at, g.failure_reason as stage_reason
    from music m
    join users u on u.id = m.user_id and {IS_CALLER}
    join generations g on g.id = m.generation_id
    left join diaries d on d.id = m.diary_id
    where m.id = $2 and m.deleted_at is null"""  # noqa: S608 - a constant


# The tracks of an entry, as many as fit; each generation has two.
MOST_TRACKS = 50
TRACKS_SQL = f"""
    select * from (
        select {COLUMNS}, m.lyric_with_time::text, g.status as stage, g.updated_at as progressed_at,
               g.failure_reason as stage_reason,
               sum({json_bytes(*TEXTS, "d.content")} + coalesce(octet_length(m.lyric_with_time::text), 0))
                 over (order by g.created_at desc, g.id desc, m.music_index rows unbounded preceding) as bytes_so_far,
               row_number() over (order by g.created_at desc, g.id desc, m.music_index) as place
        from diaries d
        join users u on u.id = d.user_id and {IS_CALLER}
        join music m on m.diary_id = d.id and m.user_id = d.user_id and m.deleted_at is null
        join generations g on g.id = m.generation_id
        where d.id = $2) found
    where place <= {MOST_TRACKS} and bytes_so_far <= {LARGEST_LIST}
    order by place"""  # noqa: S608 - constants


def track_fields(row: asyncpg.Record, settings: Settings) -> dict[str, Any]:
    """The fields of a track, from a row of one of the statements above."""
    return {
        "id": row["id"],
        "creation_time": row["created_ms"],
        "status": row["status"],
        "created_at": row["created_ms"],
        "updated_at": row["updated_ms"],
        "reason": given(row["failure_reason"]),
        "diary_id": given(row["diary_id"]),
        "title": given(row["title"]),
        "image_url": given(media_url(settings, row["image_file_id"], row["image_url"])),
        "audio_url": given(media_url(settings, row["audio_file_id"], row["audio_url"] or row["stream_url"])),
        "duration": given(row["duration"]),
        "lyric": given(row["lyric"]),
        "lyric_with_time": stored(row.get("lyric_with_time")),
        "diary_date": given(row["diary_ms"]),
        "diary_content": given(row["diary_content"]),
        "diary_title": given(row["diary_title"]),
    }


@query(reads=("music", "diaries", "generations", "users"))
async def get_music(ctx: QueryContext, args: OneMusic) -> Track | None:
    """One track of the caller with all there is to it; another's looks exactly like one that does not exist."""
    if ctx.caller.subject is None:
        return None
    row = await ctx.db.fetchrow(TRACK_SQL, ctx.caller.subject, args.music_id)
    if row is None:
        return None
    return _track(row, ctx.settings)


@query(reads=("music", "diaries", "generations", "users"))
async def list_tracks(ctx: QueryContext, args: OneDiary) -> list[Track]:
    """Return the tracks of an entry of the caller: both of each song, the newest song first.

    At most 50, and at most 4 MiB of them. An empty list for another's entry, and to an anonymous caller.
    """
    if ctx.caller.subject is None:
        return []
    rows = await ctx.db.fetch(TRACKS_SQL, ctx.caller.subject, args.diary_id)
    return [_track(row, ctx.settings) for row in rows]


def _track(row: asyncpg.Record, settings: Settings) -> Track:
    progress = Progress(
        stage=row["stage"],
        updated_at=to_ms(row["progressed_at"]),
        reason=given(row["stage_reason"] or row["failure_reason"]),
    )  # fmt: skip
    return Track(progress=progress, **track_fields(row, settings))


async def hide_track(ctx: MutationContext, owner: str, music_id: str) -> None:
    """Hide a track of an account whose lock is held, and cancel its song or its video in progress.

    Errors: MusicNotFound, also for another's; MusicAlreadyDeleted.
    """
    track = await ctx.db.fetchrow(
        "select user_id, diary_id, generation_id, status, deleted_at from music where id = $1", music_id
    )
    if track is None or track["user_id"] != owner:
        raise rules.MusicNotFound
    if track["deleted_at"] is not None:
        raise rules.MusicAlreadyDeleted
    if track["status"] == "pending":
        await generations.cancel(ctx.db, track["generation_id"], reason="music_deleted", now=ctx.now)
    await video_rows.cancel_of_track(ctx.db, music_id, reason="music_deleted", now=ctx.now)
    await ctx.db.execute("update music set deleted_at = $2, updated_at = $2 where id = $1", music_id, ctx.now)
    if track["diary_id"] is not None:
        await generations.choose_song(ctx.db, track["diary_id"], ctx.now)


@query(reads=("generations",))
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
