"""What a finished track still lacks: the words timed to the music, and our own copies of audio and cover.

Suno's files are gone after about 15 days, so each is copied at once, by a job of its own that is tried again.
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
# Of timed words, which may not be there right after completion.
MOST_TIMINGS = 10
FIRST_TIMING_PAUSE = timedelta(seconds=5)
LONGEST_TIMING_PAUSE = timedelta(hours=1)

log = logs.get_logger("songs")


class Source(Result):
    """Where a track's files come from; a file id is there when our copy is."""

    task_id: str | None
    audio_id: str | None
    title: str | None
    lyric: str | None
    audio_url: str | None
    image_url: str | None
    audio_file_id: str | None
    image_file_id: str | None
    secret: str


class Untimed(OneMusic):
    """A track whose words are to be timed, and how often that was tried."""

    tries: int = 0


class TimedWords(Args):
    """The timed words of a track."""

    music_id: IdText
    words: TimedLyrics


class KeptFile(Args):
    """A file of a track that is in our storage now."""

    music_id: IdText
    kind: str
    file_id: IdText
    content_type: str
    size: int
    width: int | None = None
    height: int | None = None


@query
async def file_sources(ctx: QueryContext, args: OneMusic) -> Source | None:
    """What is known of a ready track's files; None when the track is gone."""
    row = await ctx.db.fetchrow(
        """select g.task_id, m.audio_id, m.title, m.lyric, m.audio_url, m.image_url, m.audio_file_id, m.image_file_id,
                  g.callback_secret as secret
           from music m join generations g on g.id = m.generation_id
           where m.id = $1 and m.status = 'ready' and m.deleted_at is null""",
        args.music_id,
    )
    return None if row is None else Source(**row)


@action(lane=Lane.SONGS)
async def fetch_timed_lyrics(ctx: ActionContext, args: Untimed) -> None:
    """Time the words of a track to its music. A job; a track of which Suno has no timing stays without.

    Timed words are a decoration: whatever Suno answers, the job is tried again later, and ends without an error.
    """
    source = await ctx.run_query(file_sources, OneMusic(music_id=args.music_id))
    if source is None or source.task_id is None or source.audio_id is None:
        return
    maker: SongMaker = ctx.vendor(SongMaker)  # type: ignore[type-abstract]  # looked up by its interface
    try:
        words = await maker.timed_lyrics(source.task_id, source.audio_id)
    except VendorError as error:
        log.warning("timed words are not to be had now", code=error.code)
        words = None
    if words is None:
        await ctx.run_mutation(time_later, args)
    elif words.aligned_words:
        await ctx.run_mutation(save_timed_lyrics, TimedWords(music_id=args.music_id, words=words))


@mutation
async def time_later(ctx: MutationContext, args: Untimed) -> None:
    """Try once more to time the words of a track, after a pause that doubles; not for more than a few hours."""
    if args.tries + 1 < MOST_TIMINGS:
        again = Untimed(music_id=args.music_id, tries=args.tries + 1)
        delay = min(FIRST_TIMING_PAUSE * 2**args.tries, LONGEST_TIMING_PAUSE)
        await ctx.schedule(fetch_timed_lyrics, again, delay=delay)


@mutation
async def save_timed_lyrics(ctx: MutationContext, args: TimedWords) -> None:
    """Keep the timed words of a track."""
    await ctx.db.execute(
        "update music set lyric_with_time = $2, updated_at = $3 where id = $1",
        args.music_id, msgspec.to_builtins(args.words), ctx.now,
    )  # fmt: skip


@action(retry=Retry(attempts=12, first=timedelta(seconds=5), longest=timedelta(hours=2)), lane=Lane.FILES)
async def keep_files(ctx: ActionContext, args: OneMusic) -> None:
    """Copy a track's audio and cover into our own storage. A job; what is there already is not copied again.

    When one of the two cannot be had, the other is copied all the same.
    """
    source = await ctx.run_query(file_sources, args)
    if source is None:
        return
    cover: bytes | None = None
    failure: VendorError | None = None
    if source.image_url and source.image_file_id is None:
        try:
            cover = await _keep_cover(ctx, args, source, source.image_url)
        except VendorError as error:
            failure = error
    if source.audio_url and source.audio_file_id is None:
        await _keep_audio(ctx, args, source, source.audio_url, cover)
    if failure is not None:
        raise failure


async def _keep_cover(ctx: ActionContext, args: OneMusic, source: Source, url: str) -> bytes:
    found = await ctx.vendor(FileFetcher).fetch(url, max_bytes=MAX_COVER)
    kind = image_type(found.content)
    if kind is None:
        raise VendorError("files", "not a picture", permanent=False, code="not_a_picture")
    await _keep(ctx, args, file_id_of(source.secret, args.music_id, "image"), "image", found.content, kind)
    return found.content


async def _keep_audio(ctx: ActionContext, args: OneMusic, source: Source, url: str, cover: bytes | None) -> None:
    found = await ctx.vendor(FileFetcher).fetch(url, max_bytes=MAX_AUDIO)
    if cover is None and source.image_file_id is not None:
        cover = b"".join([chunk async for chunk in ctx.vendor(FileStore).read(source.image_file_id)])
    # Parsing and rewriting a few megabytes: not on the event loop.
    sound, content = await asyncio.to_thread(_song, found.content, source, cover)
    if sound is None or not sound.is_song:
        raise VendorError("files", "not a song", permanent=False, code="not_a_song")
    await _keep(ctx, args, file_id_of(source.secret, args.music_id, "audio"), "audio", content, sound.media_type)


def _song(content: bytes, source: Source, cover: bytes | None) -> tuple[Sound | None, bytes]:
    """What audio it is, and the file with our tags."""
    sound = recognized(content)
    if sound is None or sound.media_type != MP3_TYPE:
        return sound, content
    tags = {"title": source.title or "Untitled Track", "artist": ARTIST, "lyrics": source.lyric or ""}
    return sound, tagged(content, **tags, cover=cover)


async def _keep(
    ctx: ActionContext, args: OneMusic, file_id: FileId, kind: str, content: bytes, media_type: str
) -> None:
    await ctx.vendor(FileStore).put(file_id, content, media_type)
    width, height = image_size(content) or (None, None)
    await ctx.run_mutation(
        record_file,
        KeptFile(
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
    """The id of a track's file: always the same, so that another try overwrites instead of leaving an orphan.

    It cannot be guessed without the generation's secret.
    """
    return FileId.of(hashlib.sha256(f"{secret}:{music_id}:{kind}".encode()).digest())


@mutation
async def record_file(ctx: MutationContext, args: KeptFile) -> None:
    """From now on the track is served from our copy."""
    inserted = await ctx.db.fetchval(
        """insert into files (id, user_id, content_type, size, created_at)
           select $2, user_id, $3, $4, $5 from music where id = $1 for update
           on conflict (id) do update set content_type = excluded.content_type, size = excluded.size
           returning id""",
        args.music_id, args.file_id, args.content_type, args.size, ctx.now,
    )  # fmt: skip
    if inserted:
        kept = {
            "audio": "update music set audio_file_id = $2, updated_at = $3 where id = $1",
            "image": """update music set image_file_id = $2, image_width = $4, image_height = $5, updated_at = $3
                        where id = $1""",
        }
        picture = (args.width, args.height) if args.kind == "image" else ()
        await ctx.db.execute(kept[args.kind], args.music_id, args.file_id, ctx.now, *picture)
