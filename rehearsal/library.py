"""A library of finished songs inserted into the database, for tests that need many, or need them fast."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from rehearsal.world import Person, World

# The timing of some 180 words, which makes up most of a song's size.
TIMED = {
    "alignedWords": [{"word": f"word{n} ", "startS": n / 2, "endS": n / 2 + 0.4, "palign": 0.0} for n in range(180)],
    "waveformData": [0.1] * 50,
    "hootCer": 0.0,
}

# $1 Clerk id, $2 count, $3 now, $4 timing. Entry n is n hours old.
FILL = """
with who as (select id from users where clerk_id = $1),
     songs as materialized (
         select who.id as owner, n, substr(md5($1 || n), 1, 26) as name,
                $3::timestamptz - n * interval '1 hour' as moment
         from who, generate_series(1, $2::int) n),
     charged as (insert into usage_charges (id, user_id, charged_at)
                 select 'charge_' || name, owner, moment from songs),
     written as (insert into diaries (id, user_id, content, date, created_at, updated_at)
                 select 'diary_' || name, owner, 'Secret thought ' || n || ' of ' || $1, moment, moment, moment
                 from songs),
     made as (insert into generations (id, user_id, diary_id, charge_id, status, callback_secret, asked_at, task_id,
                                       created_at, updated_at)
              select 'gen_' || name, owner, 'diary_' || name, 'charge_' || name, 'ready', 'secret', moment,
                     'task ' || name, moment, moment from songs),
     kept as (insert into files (id, user_id, content_type, size, created_at)
              select 'file_' || name, owner, 'audio/mpeg', 1000, moment from songs)
insert into music (id, user_id, diary_id, generation_id, music_index, status, title, lyric, lyric_with_time, duration,
                   audio_id, audio_file_id, created_at, updated_at)
select 'music_' || case i when 0 then name else substr(md5(name), 1, 26) end, owner, 'diary_' || name, 'gen_' || name,
       i, 'ready', 'Song ' || n, 'Words of ' || n, $4, 180.5, 'audio ' || name, 'file_' || name, moment, moment
from songs, generate_series(0, 1) i"""


# $1 tracks, $2 now, $3 how many of each. Video n is n minutes old; the newest is the primary one.
FILM = """
with track as (select * from music where id = any($1)),
     made as materialized (
         select user_id, id as music_id, n, substr(md5(id || 'video' || n), 1, 26) as name,
                $2::timestamptz - n * interval '1 minute' as moment
         from track, generate_series(1, $3::int) n),
     charged as (insert into usage_charges (id, user_id, charged_at, amount)
                 select 'charge_' || name, user_id, moment, 3 from made),
     kept as (insert into files (id, user_id, content_type, size, created_at)
              select 'file_' || name, user_id, 'video/mp4', 1000, moment from made)
insert into music_videos (id, user_id, music_id, charge_id, status, callback_secret, script_prompt, duration,
                          requested_at, task_id, file_id, is_primary, created_at, updated_at)
select 'video_' || name, user_id, music_id, 'charge_' || name, 'ready', 'secret', 'Secret scene ' || n, 10, moment,
       'video task ' || name, 'file_' || name, n = 1, moment, moment
from made returning id"""


class Song(NamedTuple):
    """The ids of one song in a library."""

    diary_id: str
    music_id: str
    file_id: str


async def fill(world: World, person: str, size: int, timing: Any = TIMED) -> list[Song]:
    """Insert finished songs of that many entries, two tracks each, an hour apart, the newest an hour old."""
    whose = f"user_{person}"
    async with world.db.pool.acquire() as connection, connection.transaction():
        await connection.execute("set local statement_timeout = 0")
        await connection.execute(FILL, whose, size, world.clock.now(), timing, timeout=100)
        # Without statistics of the new rows, PostgreSQL plans the update for a handful of rows.
        await connection.execute("analyze diaries, music")
        await connection.execute(
            """update diaries d set primary_music_id = m.id from music m
               where m.diary_id = d.id and m.music_index = 0 and d.primary_music_id is null""",
            timeout=100,
        )
    rows = await world.db.pool.fetch(
        """select m.diary_id, m.id as music_id, m.audio_file_id as file_id
           from music m join users u on u.id = m.user_id
           where u.clerk_id = $1 and m.music_index = 0 order by m.created_at desc""",
        whose,
    )
    return [Song(*row) for row in rows]


async def film(world: World, *songs: Song, count: int = 1) -> list[str]:
    """Insert that many finished videos of each song's first track; return their ids, of one song newest first."""
    tracks = [song.music_id for song in songs]
    return [row["id"] for row in await world.db.pool.fetch(FILM, tracks, world.clock.now(), count)]


async def crowd(world: World, size: int) -> None:
    """Insert accounts of that many more users, and run ANALYZE, as autovacuum does in time."""
    await world.db.pool.execute(
        """insert into users (id, clerk_id, created_at, updated_at)
           select 'user_' || n, 'crowd_' || n, $2, $2 from generate_series(1, $1::int) n""",
        size, world.clock.now(),
    )  # fmt: skip
    await world.db.pool.execute("analyze")


async def digests(world: World, owner: str | None = None) -> dict[str, str]:
    """Return a digest of each table's rows: of all rows, or of the owner's."""
    tables = await world.db.pool.fetch(
        """select relname as name, case relname when 'users' then 'id' else attname end as owned_by
           from pg_class c left join pg_attribute on attrelid = c.oid and attname = 'user_id'
           where relnamespace = 'public'::regnamespace and relkind = 'r'"""
    )
    found = {}
    for name, owned_by in tables:
        whose = "true" if owner is None else f"{owned_by} = '{owner}'"
        if owner is None or owned_by:
            found[name] = await world.db.pool.fetchval(
                f"select md5(string_agg(t::text, '|' order by t::text)) from {name} t where {whose}"  # noqa: S608
            )
    return found


async def plan(world: World, sql: str, args: tuple[str, ...], *, generic: bool) -> dict[str, Any]:
    """Return EXPLAIN ANALYZE of a statement, planned for these arguments (SQL literals) or for any."""
    async with world.db.pool.acquire() as connection, connection.transaction():
        await connection.execute(f"set local plan_cache_mode = force_{'generic' if generic else 'custom'}_plan")
        await connection.execute(f"prepare looked_at as {sql}")
        try:
            [row] = await connection.fetch(
                f"explain (analyze, buffers, format json) execute looked_at ({', '.join(args)})"
            )
        finally:
            await connection.execute("deallocate looked_at")
    found: Any = row[0]
    [explained] = msgspec.json.decode(found) if isinstance(found, str) else found
    root: dict[str, Any] = explained["Plan"]
    return root


def nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the nodes of a plan as a flat list.

    Bitmap Index Scans are left out: they also count rows that an earlier test deleted and that are not vacuumed
    yet, and the scan around one says what was read.
    """
    if node["Node Type"] == "Bitmap Index Scan":
        return []
    return [node, *(inner for child in node.get("Plans", ()) for inner in nodes(child))]


async def of_another(world: World, person: Person, owner: str = "dora") -> dict[str, Any]:
    """Let a person keep a song that another one shares; return it as the playlist shows it."""
    sharer = await world.person(owner)
    [song] = await fill(world, owner, 1)
    link = await sharer.mutation("sharing:createShareLink", musicId=song.music_id)
    await person.mutation("userSongs:addFromShare", shareId=link["shareId"])
    songs = await person.query("music:listPlaylistMusic")
    return next(each for each in songs if each.get("addedViaShareId") == link["shareId"])


async def keep_many(world: World, whose: str, size: int, owner: str = "dora") -> None:
    """Let another person share that many songs, and keep all of them, each next to an own song of the same hour."""
    await world.person(owner)
    await fill(world, owner, size, timing={})
    await world.db.pool.execute(
        """with shared as (
             insert into shared_music (id, share_id, user_id, music_id, created_at, updated_at)
             select 'share_' || substr(m.id, 7), translate(substr(md5(m.id), 1, 10), '01', 'xy'), u.id, m.id,
                    m.created_at, m.created_at
             from music m join users u on u.id = m.user_id where u.clerk_id = $1 and m.music_index = 0
             returning id, music_id, created_at)
           insert into user_songs (id, user_id, ownership_type, music_id, shared_music_id, created_at, updated_at)
           select 'song_' || substr(md5(shared.id), 1, 26), u.id, 'shared', music_id, shared.id, shared.created_at,
                  shared.created_at
           from shared, users u where u.clerk_id = $2""",
        f"user_{owner}", f"user_{whose}",
    )  # fmt: skip
