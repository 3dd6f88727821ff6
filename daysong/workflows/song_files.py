"""What a finished track still lacks: the words timed to the music, and our own copies of audio and cover.

Suno's files are gone after about 15 days, so each is copied at once, by a job of its own that is tried again.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta

import msgspec

from daysong.features.music.playback import OneMusic
from daysong.kernel.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.errors import VendorError
from daysong.kernel.ids import FileId
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.registry import Args, IdText, Result, Retry, Room
from daysong.vendors.http import FileFetcher
from daysong.vendors.storage import FileStore
from daysong.vendors.suno import SongMaker
from daysong.vendors.suno_answers import TimedLyrics

music = Room("music")

MAX_AUDIO = 64 * 1024 * 1024
MAX_COVER = 12 * 1024 * 1024
AUDIO_TYPES = ("audio/", "application/octet-stream")
COVER_TYPES = ("image/",)


class Source(Result):
    """Where a track's files come from; a file id is there when our copy is."""

    task_id: str | None
    audio_id: str | None
    audio_url: str | None
    image_url: str | None
    audio_file_id: str | None
    image_file_id: str | None
    secret: str


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


@music.query()
async def file_sources(ctx: QueryContext, args: OneMusic) -> Source | None:
    """What is known of a ready track's files; None when the track is gone."""
    row = await ctx.db.fetchrow(
        """select g.task_id, m.audio_id, m.audio_url, m.image_url, m.audio_file_id, m.image_file_id,
                  g.callback_secret as secret
           from music m join generations g on g.id = m.generation_id
           where m.id = $1 and m.status = 'ready' and m.deleted_at is null""",
        args.music_id,
    )
    return None if row is None else Source(**row)


@music.action(retry=Retry(attempts=10, first=timedelta(seconds=5)), lane=Lane.SONGS)
async def fetch_timed_lyrics(ctx: ActionContext, args: OneMusic) -> None:
    """Time the words of a track to its music. A job; a track of which Suno has no timing stays without."""
    source = await ctx.run_query(file_sources, args)
    if source is None or source.task_id is None or source.audio_id is None:
        return
    maker: SongMaker = ctx.vendor(SongMaker)  # type: ignore[type-abstract]  # looked up by its interface
    words = await maker.timed_lyrics(source.task_id, source.audio_id)
    if words is None:
        # Right after completion the timing may not be there yet.
        raise VendorError("suno", "no timed lyrics yet", permanent=False)
    await ctx.run_mutation(save_timed_lyrics, TimedWords(music_id=args.music_id, words=words))


@music.mutation()
async def save_timed_lyrics(ctx: MutationContext, args: TimedWords) -> None:
    """Keep the timed words of a track."""
    await ctx.db.execute(
        "update music set lyric_with_time = $2, updated_at = $3 where id = $1",
        args.music_id, msgspec.to_builtins(args.words), ctx.now,
    )  # fmt: skip


@music.action(retry=Retry(attempts=12, first=timedelta(seconds=5), longest=timedelta(hours=2)), lane=Lane.FILES)
async def keep_files(ctx: ActionContext, args: OneMusic) -> None:
    """Copy a track's audio and cover into our own storage. A job; what is there already is not copied again."""
    source = await ctx.run_query(file_sources, args)
    if source is None:
        return
    if source.audio_url and source.audio_file_id is None:
        await _keep(ctx, args, source, "audio", source.audio_url, MAX_AUDIO, AUDIO_TYPES)
    if source.image_url and source.image_file_id is None:
        await _keep(ctx, args, source, "image", source.image_url, MAX_COVER, COVER_TYPES)


async def _keep(
    ctx: ActionContext, args: OneMusic, source: Source, kind: str, url: str, max_bytes: int, types: tuple[str, ...]
) -> None:
    found = await ctx.vendor(FileFetcher).fetch(url, max_bytes=max_bytes, content_types=types)
    file_id = file_id_of(source.secret, args.music_id, kind)
    await ctx.vendor(FileStore).put(file_id, found.content, found.content_type)
    await ctx.run_mutation(
        record_file,
        KeptFile(
            music_id=args.music_id,
            kind=kind,
            file_id=file_id,
            content_type=found.content_type,
            size=len(found.content),
        ),
    )


def file_id_of(secret: str, music_id: str, kind: str) -> FileId:
    """The id of a track's file: always the same, so that another try overwrites instead of leaving an orphan.

    Nobody can guess it without the generation's secret.
    """
    return FileId.of(hashlib.sha256(f"{secret}:{music_id}:{kind}".encode()).digest())


@music.mutation()
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
        column = {"audio": "audio_file_id", "image": "image_file_id"}[args.kind]
        await ctx.db.execute(
            f"update music set {column} = $2, updated_at = $3 where id = $1",  # noqa: S608 - one of two names above
            args.music_id, args.file_id, ctx.now,
        )  # fmt: skip
