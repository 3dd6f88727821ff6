"""Follow-up of finished tracks: timed lyrics, and our own copies of audio and cover.

Suno deletes its files after about 15 days, so each is copied at once, by its own job.
"""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta

import msgspec

from daysong.features.music.playback import OneMusic
from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, Retry, action, mutation, query
from daysong.kernel.ids import FileId
from daysong.kernel.limits.lanes import Lane
from daysong.vendors.files import FileFetcher
from daysong.vendors.sound import MP3_TYPE, Sound, image_size, image_type, recognized, tagged
from daysong.vendors.storage import FileStore
from daysong.vendors.suno.answers import TimedLyrics
from daysong.vendors.suno.client import SongMaker
from daysong.workflows.songs.song_audio import MAX_AUDIO

MAX_COVER = 12 * 1024 * 1024
ARTIST = "daysong"
# Timed lyrics may not exist right after completion.
MAX_TIMING_ATTEMPTS = 10
FIRST_TIMING_PAUSE = timedelta(seconds=5)
MAX_TIMING_PAUSE = timedelta(hours=1)

log = logs.get_logger("songs")


class Source(Result):
    """The sources of a track's files; a file id is set once our copy exists."""

    task_id: str | None
    audio_id: str | None
    title: str | None
    lyric: str | None
    audio_url: str | None
    image_url: str | None
    audio_file_id: str | None
    image_file_id: str | None
    secret: str


class TimingAttempt(OneMusic):
    """A track without timed lyrics, and the number of earlier attempts."""

    attempts: int = 0


class TimedWords(Args):
    """The timed lyrics of a track."""

    music_id: IdText
    words: TimedLyrics


class StoredFile(Args):
    """A stored file of a track; `kind` is audio or image."""

    music_id: IdText
    kind: str
    file_id: IdText
    content_type: str
    size: int
    width: int | None = None
    height: int | None = None


@query
async def file_sources(ctx: QueryContext, args: OneMusic) -> Source | None:
    """Return the sources of a ready track's files; None when the track is deleted or not ready."""
    row = await ctx.db.fetchrow(
        """select g.task_id, m.audio_id, m.title, m.lyric, m.audio_url, m.image_url, m.audio_file_id, m.image_file_id,
                  g.callback_secret as secret
           from music m join generations g on g.id = m.generation_id
           where m.id = $1 and m.status = 'ready' and m.deleted_at is null""",
        args.music_id,
    )
    return None if row is None else Source(**row)


@action(lane=Lane.SONGS)
async def fetch_timed_lyrics(ctx: ActionContext, args: TimingAttempt) -> None:
    """Fetch the timed lyrics of a track. A job; a track that Suno has no timing for stays without.

    They are optional: after any error the job is rescheduled, and after the last attempt it ends without an error.
    """
    source = await ctx.run_query(file_sources, OneMusic(music_id=args.music_id))
    if source is None or source.task_id is None or source.audio_id is None:
        return
    maker: SongMaker = ctx.vendor(SongMaker)  # type: ignore[type-abstract]  # looked up by its interface
    try:
        words = await maker.timed_lyrics(source.task_id, source.audio_id)
    except VendorError as error:
        log.warning("timed lyrics not available", code=error.code)
        words = None
    if words is None:
        await ctx.run_mutation(retry_timed_lyrics, args)
    elif words.aligned_words:
        await ctx.run_mutation(save_timed_lyrics, TimedWords(music_id=args.music_id, words=words))


@mutation
async def retry_timed_lyrics(ctx: MutationContext, args: TimingAttempt) -> None:
    """Schedule another attempt after a pause that doubles, for a few hours at most."""
    if args.attempts + 1 < MAX_TIMING_ATTEMPTS:
        again = TimingAttempt(music_id=args.music_id, attempts=args.attempts + 1)
        delay = min(FIRST_TIMING_PAUSE * 2**args.attempts, MAX_TIMING_PAUSE)
        await ctx.schedule(fetch_timed_lyrics, again, delay=delay)


@mutation
async def save_timed_lyrics(ctx: MutationContext, args: TimedWords) -> None:
    """Store the timed lyrics of a track."""
    await ctx.db.execute(
        "update music set lyric_with_time = $2, updated_at = $3 where id = $1",
        args.music_id, msgspec.to_builtins(args.words), ctx.now,
    )  # fmt: skip


@action(retry=Retry(attempts=12, first=timedelta(seconds=5), longest=timedelta(hours=2)), lane=Lane.FILES)
async def copy_files(ctx: ActionContext, args: OneMusic) -> None:
    """Copy a track's audio and cover into our storage. A job; existing copies are kept.

    When one of the two cannot be fetched, the other is copied anyway.
    """
    source = await ctx.run_query(file_sources, args)
    if source is None:
        return
    cover: bytes | None = None
    failure: VendorError | None = None
    if source.image_url and source.image_file_id is None:
        try:
            cover = await _copy_cover(ctx, args, source, source.image_url)
        except VendorError as error:
            failure = error
    if source.audio_url and source.audio_file_id is None:
        await _copy_audio(ctx, args, source, source.audio_url, cover)
    if failure is not None:
        raise failure


async def _copy_cover(ctx: ActionContext, args: OneMusic, source: Source, url: str) -> bytes:
    found = await ctx.vendor(FileFetcher).fetch(url, max_bytes=MAX_COVER)
    kind = image_type(found.content)
    if kind is None:
        raise VendorError("files", "not a picture", permanent=False, code="not_a_picture")
    await _store(ctx, args, file_id_of(source.secret, args.music_id, "image"), "image", found.content, kind)
    return found.content


async def _copy_audio(ctx: ActionContext, args: OneMusic, source: Source, url: str, cover: bytes | None) -> None:
    found = await ctx.vendor(FileFetcher).fetch(url, max_bytes=MAX_AUDIO)
    if cover is None and source.image_file_id is not None:
        cover = b"".join([chunk async for chunk in ctx.vendor(FileStore).read(source.image_file_id)])
    # Parsing and rewriting megabytes: not on the event loop.
    sound, content = await asyncio.to_thread(_tagged_song, found.content, source, cover)
    if sound is None or not sound.is_song:
        raise VendorError("files", "not a song", permanent=False, code="not_a_song")
    await _store(ctx, args, file_id_of(source.secret, args.music_id, "audio"), "audio", content, sound.media_type)


def _tagged_song(content: bytes, source: Source, cover: bytes | None) -> tuple[Sound | None, bytes]:
    """Return the parsed audio, and the file with our tags."""
    sound = recognized(content)
    if sound is None or sound.media_type != MP3_TYPE:
        return sound, content
    tags = {"title": source.title or "Untitled Track", "artist": ARTIST, "lyrics": source.lyric or ""}
    return sound, tagged(content, **tags, cover=cover)


async def _store(
    ctx: ActionContext, args: OneMusic, file_id: FileId, kind: str, content: bytes, media_type: str
) -> None:
    await ctx.vendor(FileStore).put(file_id, content, media_type)
    width, height = image_size(content) or (None, None)
    await ctx.run_mutation(
        record_file,
        StoredFile(
            music_id=args.music_id,
            kind=kind,
            file_id=file_id,
            content_type=media_type,
            size=len(content),
            width=width,
            height=height,
        ),
    )


def file_id_of(secret: str, music_id: str, kind: str) -> FileId:
    """Return the id of a track's file: the same for every attempt, so that a retry leaves no orphan.

    It cannot be guessed without the generation's secret.
    """
    return FileId.of(hashlib.sha256(f"{secret}:{music_id}:{kind}".encode()).digest())


@mutation
async def record_file(ctx: MutationContext, args: StoredFile) -> None:
    """Record a stored file, from which the track is served from now on."""
    inserted = await ctx.db.fetchval(
        """insert into files (id, user_id, content_type, size, created_at)
           select $2, user_id, $3, $4, $5 from music where id = $1 for update
           on conflict (id) do update set content_type = excluded.content_type, size = excluded.size
           returning id""",
        args.music_id, args.file_id, args.content_type, args.size, ctx.now,
    )  # fmt: skip
    if inserted:
        updates = {
            "audio": "update music set audio_file_id = $2, updated_at = $3 where id = $1",
            "image": """update music set image_file_id = $2, image_width = $4, image_height = $5, updated_at = $3
                        where id = $1""",
        }
        picture = (args.width, args.height) if args.kind == "image" else ()
        await ctx.db.execute(updates[args.kind], args.music_id, args.file_id, ctx.now, *picture)
