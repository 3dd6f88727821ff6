"""Diaries, tracks and share links.

Tracks of one task at Suno become one generation. Its charge is refunded at once, since the songs that an account has
used are charged with its subscription; that of a pending one is not, so that its failure gives a song back.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import msgspec

from daysong.features.music import rules
from daysong.features.music.playback import OneMusic
from daysong.features.sharing.rules import is_share_id
from daysong.kernel import values
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import Args, mutation
from daysong.vendors.suno.answers import TimedLyrics
from daysong.workflows.moving import documents as read
from daysong.workflows.moving.batches import Batch, Entry
from daysong.workflows.songs.song_files import copy_files

LONGEST_ENTRY = 50_000
LONGEST_TITLE = 500
LONGEST_LYRIC = 20_000
LONGEST_URL = 2000
MOST_VIEWS = 2**53
# A song is as far as the best of its tracks.
RANK = {"failed": 0, "pending": 1, "ready": 2}
# What is left of a pending song's time: one look at Suno, then it has failed.
LAST_LOOK = timedelta(minutes=10)
COPIED_AT_ONCE = 50
COPY_PAUSE = timedelta(seconds=30)


async def import_diaries(batch: Batch) -> None:
    """Import entries. `originalText` is left behind: it keeps words that their writer has removed."""
    rows = []
    for entry in await batch.owned():
        document = entry.document
        content = read.text(document, "content")
        if content is None or not content.strip():
            batch.tally.skip(entry.line, "an entry without words")
            continue
        if len(content) > LONGEST_ENTRY:
            batch.tally.note(entry.line, f"cut to {LONGEST_ENTRY} characters")
        at = read.moment(document, "date") or read.made(document, batch.now)
        rows.append((
            entry.id, entry.user_id, read.text(document, "title", LONGEST_TITLE), content[:LONGEST_ENTRY], at,
            max(1, read.whole(document, "version") or 1), read.made(document, batch.now),
            read.changed(document, batch.now),
        ))  # fmt: skip
    await batch.insert(
        """insert into diaries (id, user_id, title, content, date, version, created_at, updated_at)
           select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::integer[],
                                $7::timestamptz[], $8::timestamptz[])
           on conflict (id) do nothing returning id""",
        rows,
    )


async def import_primary_songs(batch: Batch) -> None:
    """Give each entry its song, once the tracks are there: an entry that has one keeps it."""
    rows = [(entry.id, song) for entry in batch.entries if (song := read.text(entry.document, "primaryMusicId", 64))]
    await batch.execute(
        """update diaries d set primary_music_id = m.id
           from unnest($1::text[], $2::text[]) as p (diary_id, music_id) join music m on m.id = p.music_id
           where d.id = p.diary_id and m.diary_id = d.id and d.primary_music_id is null and m.deleted_at is null""",
        rows,
    )


class _Track:
    """A document of `music` that is imported, with its generation."""

    def __init__(self, batch: Batch, entry: Entry, diary_id: str | None) -> None:
        document = entry.document
        self.entry, self.diary_id = entry, diary_id
        self.task_id = read.text(document, "taskId", 200)
        self.generation_id = read.derived_id("gen", self.task_id or entry.id, entry.user_id)
        self.made_at, self.changed_at = read.made(document, batch.now), read.changed(document, batch.now)
        status = read.text(document, "status") or "failed"
        self.status = status if status in RANK else "failed"
        if self.status == "pending" and (self.task_id is None or diary_id is None):
            # Suno cannot be asked about it.
            self.status = "failed"

    @property
    def generation_status(self) -> str:
        return {"pending": "composing", "ready": "ready", "failed": "failed"}[self.status]


async def import_music(batch: Batch) -> None:
    """Import tracks. One that is pending is looked up at Suno once; if it is not ready then, it fails."""
    tracks = await _tracks(batch)
    places = {track.entry.id: read.whole(track.entry.document, "musicIndex", 1000) or 0 for track in tracks}
    await _insert_generations(batch, tracks)
    there = await batch.present("generations", [track.generation_id for track in tracks])
    for track in tracks:
        if track.generation_id not in there:
            batch.tally.skip(track.entry.line, "its task or its entry has another song in progress")
    await batch.execute(
        """insert into usage_refunds (charge_id, reason, refunded_at)
           select id, 'imported', at from unnest($1::text[], $2::timestamptz[]) as c (id, at) on conflict do nothing""",
        [(_charge_of(track), track.made_at) for track in tracks if track.generation_id not in there],
    )
    tracks = [track for track in tracks if track.generation_id in there]
    rows = []
    for track in tracks:
        document = track.entry.document
        words = _timed(batch, track.entry)
        rows.append((
            track.entry.id, track.entry.user_id, track.diary_id, track.generation_id, places[track.entry.id],
            track.status, read.text(document, "title", LONGEST_TITLE), read.text(document, "lyric", LONGEST_LYRIC),
            words, read.number(document, "duration"), read.text(document, "audioId", 200),
            _address(document, "audioUrl"), _address(document, "imageUrl"),
            _json(document.get("metadata")), track.made_at, track.changed_at, read.moment(document, "deletedAt"),
        ))  # fmt: skip
    inserted = await batch.insert(
        """insert into music (id, user_id, diary_id, generation_id, music_index, status, title, lyric, lyric_with_time,
                              duration, audio_id, audio_url, image_url, metadata, created_at, updated_at, deleted_at)
           select id, user_id, diary_id, generation_id, music_index, status, title, lyric, lyric_with_time::jsonb,
                  duration, audio_id, audio_url, image_url, metadata::jsonb, created_at, updated_at, deleted_at
           from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[],
                       $8::text[], $9::text[], $10::double precision[], $11::text[], $12::text[], $13::text[],
                       $14::text[], $15::timestamptz[], $16::timestamptz[], $17::timestamptz[])
             as m (id, user_id, diary_id, generation_id, music_index, status, title, lyric, lyric_with_time, duration,
                   audio_id, audio_url, image_url, metadata, created_at, updated_at, deleted_at)
           on conflict do nothing returning id""",
        rows,
    )
    await batch.execute(
        "insert into imported_music (music_id, user_id) select * from unnest($1::text[], $2::text[])",
        [
            (track.entry.id, track.entry.user_id)
            for track in tracks
            if track.entry.id in inserted and track.status == "ready" and _address(track.entry.document, "audioUrl")
        ],
    )


async def _tracks(batch: Batch) -> list[_Track]:
    """Return the tracks to import: of an account that is there, and of an entry of that account if it names one."""
    entries = await batch.owned()
    diaries = await batch.present("diaries", [entry.document.get("diaryId") for entry in entries])
    found = []
    for entry in entries:
        diary_id = read.text(entry.document, "diaryId", 64)
        if diary_id is not None and diaries.get(diary_id) != entry.user_id:
            batch.tally.skip(entry.line, "its entry is not there")
        else:
            found.append(_Track(batch, entry, diary_id))
    return found


async def _insert_generations(batch: Batch, tracks: list[_Track]) -> None:
    """Insert what the tracks belong to, unless another batch did."""
    songs: dict[str, _Track] = {}
    for track in tracks:
        best = songs.get(track.generation_id)
        if best is None or RANK[track.status] > RANK[best.status]:
            songs[track.generation_id] = track
    live: set[str] = set()
    for track in songs.values():
        # An entry has one song in progress at most.
        if track.status == "pending" and track.diary_id in live:
            track.status = "failed"
        elif track.status == "pending":
            live.add(str(track.diary_id))
    charged = await batch.db.fetch(
        """with given as (
             select * from unnest($1::text[], $2::text[], $3::timestamptz[], $4::boolean[])
               as g (charge_id, user_id, at, pending)),
           refunded as (
             insert into usage_refunds (charge_id, reason, refunded_at)
             select charge_id, 'imported', at from given where not pending on conflict do nothing)
           insert into usage_charges (id, user_id, charged_at)
           select charge_id, user_id, at from given on conflict do nothing returning id""",
        *map(list, zip(*(
            (_charge_of(song), song.entry.user_id, song.made_at, song.status == "pending") for song in songs.values()
        ), strict=True)),
    ) if songs else []  # fmt: skip
    new = {row["id"] for row in charged}
    for song in songs.values():
        if song.status == "pending" and _charge_of(song) in new:
            await _count_once(batch, song, new)
    waiting = batch.now - rules.COMPOSING_DEADLINE + LAST_LOOK
    await batch.execute(
        """insert into generations (id, user_id, diary_id, charge_id, status, callback_secret, task_id, asked_at,
                                    composing_since, next_poll_at, failure_code, failure_reason, created_at, updated_at)
           select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                                $8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::text[], $12::text[],
                                $13::timestamptz[], $14::timestamptz[])
           on conflict do nothing""",
        [
            (
                song.generation_id, song.entry.user_id, song.diary_id, _charge_of(song), song.generation_status,
                secrets.token_urlsafe(24), song.task_id, song.made_at,
                waiting if song.status == "pending" else None, batch.now if song.status == "pending" else None,
                "imported" if song.status == "failed" else None, None, song.made_at, song.changed_at,
            )
            for song in songs.values()
        ],
    )  # fmt: skip
    await batch.never_notify([
        (song.entry.user_id, kind, song.generation_id)
        for song in songs.values()
        if song.status == "pending"
        for kind in ("music_ready", "music_failed")
    ])  # fmt: skip


async def _count_once(batch: Batch, song: _Track, charges_of_songs: set[str]) -> None:
    """Delete one of the charges that the subscription brought along: it counts the pending song, which has its own.

    The charges of this batch have no generation yet, and look like those of the subscription.
    """
    charge_id = await batch.db.fetchval(
        """delete from usage_charges where id = (
             select c.id from usage_charges c join subscriptions s on s.user_id = c.user_id
             where c.user_id = $1 and c.charged_at = s.last_reset_at and s.last_reset_at <= $2
               and c.id <> all($3) and not exists (select from generations g where g.charge_id = c.id)
               and not exists (select from music_videos v where v.charge_id = c.id)
             order by c.id limit 1)
           returning id""",
        song.entry.user_id, song.made_at, list(charges_of_songs),
    )  # fmt: skip
    await batch.db.execute("delete from mailbox_usage where charge_id = $1", charge_id)


def _charge_of(song: _Track) -> str:
    return read.derived_id("charge", song.generation_id)


def _timed(batch: Batch, entry: Entry) -> str | None:
    """Return the timed words as JSON, if they have the form of Suno's."""
    given = entry.document.get("lyricWithTime")
    if given is None:
        return None
    try:
        words = msgspec.convert(values.plain(given), TimedLyrics, strict=False)
    except msgspec.ValidationError:
        batch.tally.note(entry.line, "timed words of an unknown form are left out")
        return None
    return msgspec.json.encode(words).decode() if words.aligned_words else None


def _json(value: Any) -> str | None:
    return msgspec.json.encode(values.plain(value)).decode() if isinstance(value, dict) else None


def _address(document: read.Document, name: str) -> str | None:
    """Return an https address of a vendor's file."""
    address = read.text(document, name)
    if address is None or len(address) > LONGEST_URL or not address.startswith(("https://", "http://")):
        return None
    return address


async def import_shares(batch: Batch) -> None:
    """Import share links that are active, with the number of their views; revoked ones stay dead."""
    entries = []
    for entry in await batch.owned():
        share_id = read.text(entry.document, "shareId", 64)
        if read.flag(entry.document, "isActive") is False:
            batch.tally.skip(entry.line, "revoked")
        elif share_id is None or not is_share_id(share_id):
            batch.tally.skip(entry.line, "a shareId that is none")
        else:
            entries.append(entry)
    songs = await batch.present("music", [entry.document.get("musicId") for entry in entries])
    kept = []
    for entry in entries:
        if songs.get(str(entry.document.get("musicId"))) != entry.user_id:
            batch.tally.skip(entry.line, "its song is not there")
        else:
            kept.append(entry)
    rows = [
        (
            entry.id, entry.document["shareId"], entry.user_id, entry.document["musicId"],
            read.flag(entry.document, "isPrivate") or False, read.made(entry.document, batch.now),
            read.changed(entry.document, batch.now),
        )
        for entry in kept
    ]  # fmt: skip
    inserted = await batch.insert(
        """insert into shared_music (id, share_id, user_id, music_id, is_private, created_at, updated_at)
           select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::timestamptz[],
                                $7::timestamptz[])
           on conflict do nothing returning id""",
        rows,
    )
    await batch.execute(
        """insert into share_views (share_row_id, user_id, views)
           select * from unnest($1::text[], $2::text[], $3::bigint[]) on conflict do nothing""",
        [
            (entry.id, entry.user_id, views)
            for entry in kept
            if entry.id in inserted and (views := read.whole(entry.document, "viewCount", MOST_VIEWS))
        ],
    )


class CopyFiles(Args):
    """Where to go on: after this track."""

    after: str = ""


@mutation
async def copy_imported_files(ctx: MutationContext, args: CopyFiles) -> None:
    """Schedule copies of imported tracks' files, some at a time. A song whose link is dead stays listed."""
    rows = await ctx.db.fetch(
        """delete from imported_music where music_id in
             (select music_id from imported_music where music_id > $1 order by music_id limit $2 for update)
           returning music_id""",
        args.after, COPIED_AT_ONCE,
    )  # fmt: skip
    for row in rows:
        await ctx.schedule(copy_files, OneMusic(music_id=row["music_id"]), key=f"imported files {row['music_id']}")
    if len(rows) == COPIED_AT_ONCE:
        last = max(row["music_id"] for row in rows)
        key = f"imported files after {last}"
        await ctx.schedule(copy_imported_files, CopyFiles(after=last), delay=COPY_PAUSE, key=key)
