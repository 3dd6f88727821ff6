"""The playlist: a person's own songs and those of others that they keep, newest first.

Of a song of another's it shows what its share shows, under the share's addresses, and no id but those of the row and of
the link. Once the share is closed, or the song is gone, it shows that it is unavailable.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import asyncpg
from msgspec import UNSET, UnsetType

from daysong.features import pages
from daysong.features.library.rules import Ownership, Unavailable, owner_key
from daysong.features.links import shared_media_url
from daysong.features.music.playback import SHOWN_CONTENT, TEXTS, WORDS_OF, PlaylistItem, track_fields
from daysong.features.pages import (
    LARGEST_LIST,
    LARGEST_LIVE_PAGE,
    LONGEST_LIST,
    PageArgs,
    PageSql,
    Paginated,
    json_bytes,
)
from daysong.features.sharing.rules import OPEN_SQL, shown_name, shown_title
from daysong.features.users.callers import CALLERS_ID
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import NoArgs, Result, given, query
from daysong.kernel.ids import UserSongId
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import ms_sql

READS = ("user_songs", "shared_music", "music", "diaries", "users")


class LibrarySong(PlaylistItem, kw_only=True):
    """A song of the playlist. One of another's has no entry, and its `_id` is that of its row here.

    user_song_id         the row in the library; removeFromLibrary takes it, for songs of others
    added_via_share_id   the link it was added from, while that exists
    owner_name           the first word of its owner's name, unless they switched that off
    unavailable_reason   `deleted` by its owner, or `unshared`; then there is no audio, cover, lyric or duration
    """

    user_song_id: str
    ownership_type: Ownership
    linked_from_music_index: int
    added_via_share_id: str | UnsetType = UNSET
    owner_name: str | UnsetType = UNSET
    is_unavailable: bool | UnsetType = UNSET
    unavailable_reason: Unavailable | UnsetType = UNSET


class PlaylistPage(Result):
    """Songs, newest first, without the timing of their words; `next_cursor` when there are older ones."""

    page: list[LibrarySong]
    next_cursor: str | None


class PaginatedPlaylist(Paginated):
    """The same for usePaginatedQuery."""

    page: list[LibrarySong]


# `l` is the row in the library, `m` its track, `s` the link and `u` the owner of another's song, `d` the own entry.
OWNED = "l.ownership_type = 'owned'"
SHOWS = f"({OWNED} or coalesce({OPEN_SQL}, false))"
JOINS = f"""
    left join music m on m.id = l.music_id
    left join shared_music s on s.id = l.shared_music_id
    left join users u on u.id = m.user_id and not {OWNED}
    left join diaries d on d.id = m.diary_id and {OWNED}"""
COLUMNS = f"""l.id, l.ownership_type, l.linked_from_music_index, s.share_id, {SHOWS} as shows,
    {ms_sql("l.created_at")} as created_ms,
    case when {OWNED} then {ms_sql("m.updated_at")} else {ms_sql("l.updated_at")} end as updated_ms,
    case when {OWNED} then m.id else l.id end as shown_id,
    case when {OWNED} then m.status else 'ready' end as status,
    case when {OWNED} then m.failure_reason end as failure_reason,
    case when {OWNED} then m.diary_id end as diary_id,
    case when {OWNED} or u.deleted_at is null then m.title end as title,
    case when {OWNED} then m.image_url end as image_url, case when {OWNED} then m.image_file_id end as image_file_id,
    case when {OWNED} then m.audio_url end as audio_url, case when {OWNED} then m.audio_file_id end as audio_file_id,
    case when {OWNED} then m.stream_url end as stream_url,
    case when {SHOWS} then m.duration end as duration, case when {SHOWS} then m.lyric end as lyric,
    coalesce(m.audio_file_id, m.audio_url) <> '' as has_audio,
    coalesce(m.image_file_id, m.image_url) <> '' as has_cover,
    m.id is null or m.deleted_at is not null or u.deleted_at is not null as is_deleted,
    case when not {OWNED} then m.user_id end as owner,
    case when u.deleted_at is null and u.show_name_on_shares then u.name end as owner_name,
    {ms_sql("d.date")} as diary_ms, d.title as diary_title"""

# The newest songs of a person, as many as fit; then timed words, newest first, into the bytes that are left.
PLAYLIST_SQL = f"""
    select listed.*,
           case when max(bytes_so_far) over ()
                     + sum(coalesce(octet_length(words), 0)) over (order by place rows unbounded preceding)
                     <= {LARGEST_LIST} then words end as lyric_with_time
    from (select {COLUMNS}, left(d.content, {SHOWN_CONTENT}) as diary_content, row_number() over newest as place,
                 sum({json_bytes(*TEXTS, f"left(d.content, {SHOWN_CONTENT})")}) over newest as bytes_so_far,
                 case when row_number() over newest <= {WORDS_OF} and {SHOWS}
                      then (m.lyric_with_time || '{{"waveformData": []}}')::text end as words
          from (select * from user_songs
                where user_id = {CALLERS_ID}
                order by created_at desc, id desc limit {LONGEST_LIST}) l
          {JOINS}
          window newest as (order by l.created_at desc, l.id desc rows unbounded preceding)) listed
    where bytes_so_far <= {LARGEST_LIST}
    order by place"""  # noqa: S608 - constants

# A page of a person's songs, in the form that walks the index; see PageSql and diaries/store.py.
PAGE = PageSql(
    f"""
    select * from (
        select *, sum(bytes) over newest as bytes_so_far, first_value(bytes) over newest as bytes_of_first
        from (select {COLUMNS}, l.created_at, d.content as diary_content, {json_bytes(*TEXTS, "d.content")} as bytes
              from (select * from user_songs
                    where user_id = {CALLERS_ID}
                      and (created_at, id) < ($2, $3) and (created_at, id) >= ($4, $5)
                    order by created_at desc, id desc limit {LARGEST_LIVE_PAGE + 1}) l
              {JOINS}
              order by l.created_at desc, l.id desc limit $6) sized
        window newest as (order by created_at desc, id desc rows unbounded preceding)) listed
    where bytes_so_far - bytes <= greatest($7, bytes_of_first)
    order by created_at desc, id desc""",  # noqa: S608 - constants
    UserSongId,
    "created_at",
)


def _song(row: asyncpg.Record, settings: Settings) -> LibrarySong:
    fields = track_fields(row, settings) | {
        "id": row["shown_id"],
        "user_song_id": row["id"],
        "ownership_type": row["ownership_type"],
        "linked_from_music_index": row["linked_from_music_index"],
    }
    return LibrarySong(**(fields if row["ownership_type"] == "owned" else fields | _of_another(row, settings)))


def _of_another(row: asyncpg.Record, settings: Settings) -> dict[str, Any]:
    """Return what differs for a song of another's."""
    share_id, shows = row["share_id"], row["shows"]
    return {
        "title": given(row["title"] and shown_title(row["title"])),
        "added_via_share_id": given(share_id),
        "owner_name": given(shown_name(row["owner_name"])),
        "audio_url": shared_media_url(settings, share_id, "audio") if shows and row["has_audio"] else UNSET,
        "image_url": shared_media_url(settings, share_id, "cover") if shows and row["has_cover"] else UNSET,
        "is_unavailable": UNSET if shows else True,
        "unavailable_reason": UNSET if shows else "deleted" if row["is_deleted"] else "unshared",
    }


def _songs(ctx: QueryContext, rows: Iterable[asyncpg.Record]) -> list[LibrarySong]:
    songs = []
    for row in rows:
        if row["owner"] is not None:
            # What is closed may be opened again.
            ctx.depends_on(row["owner"])
        songs.append(_song(row, ctx.settings))
    return songs


@query(reads=READS)
async def list_playlist_music(ctx: QueryContext, args: NoArgs) -> list[LibrarySong]:  # noqa: ARG001
    """Return the caller's songs and those of others they keep, newest first; an empty list to an anonymous caller.

    First tracks only. At most the newest 500, and at most 4 MiB of them; `pagePlaylist` has the rest. Of an entry, the
    first 2,000 characters. Only the newest 100 have `lyricWithTime`, without its waveform: `getMusic` has all of it.
    """
    if ctx.caller.subject is None:
        return []
    return _songs(ctx, await ctx.db.fetch(PLAYLIST_SQL, ctx.caller.subject))


@query(reads=READS)
async def page_playlist(ctx: QueryContext, args: PageArgs) -> PlaylistPage | PaginatedPlaylist:
    """Return a page of the caller's songs and those of others they keep, newest first.

    A page costs the same however many there are. Errors: InvalidCursor.
    """
    found = await pages.read(ctx, args, PAGE)
    songs = _songs(ctx, found.rows)
    if found.more:
        return PaginatedPlaylist(page=songs, **found.more)
    return PlaylistPage(page=songs, next_cursor=found.next_cursor)


# The owners of the newest songs of others, each once.
OWNERS_SQL = f"""
    select distinct m.user_id as owner, case when u.show_name_on_shares then u.name end as owner_name
    from (select music_id from user_songs
          where user_id = {CALLERS_ID} and ownership_type = 'shared'
          order by created_at desc, id desc limit {LONGEST_LIST}) l
    join music m on m.id = l.music_id
    join users u on u.id = m.user_id and u.deleted_at is null"""  # noqa: S608 - constants


@query(reads=("user_songs", "music", "users"))
async def get_playlist_owner_names(ctx: QueryContext, args: NoArgs) -> dict[str, str]:  # noqa: ARG001
    """Return the first names of the owners of the caller's newest 500 songs of others, by a key for each owner.

    Owners who switched their name off are left out.
    """
    if ctx.caller.subject is None:
        return {}
    names = {}
    for row in await ctx.db.fetch(OWNERS_SQL, ctx.caller.subject):
        ctx.depends_on(row["owner"])
        name = shown_name(row["owner_name"])
        if name is not None:
            names[owner_key(ctx.settings.hash_key, ctx.caller.subject, row["owner"])] = name
    return names
