"""Delivery of songs: tasks, tracks and failures, from Suno's callbacks, or by polling when none arrives.

A "gift" is a song that is delivered after its refund, because Suno's answer was lost.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import asyncpg
import msgspec

from daysong.features.music import generations, rules
from daysong.features.music.playback import OneMusic
from daysong.kernel import logs
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Retry, action, mutation, query
from daysong.kernel.limits.lanes import Lane
from daysong.vendors.suno.answers import SunoCallback, SunoTrack, failure_reason, parse_tracks
from daysong.vendors.suno.client import SongMaker
from daysong.workflows.push import occasions
from daysong.workflows.songs import song_audio, song_endings, song_files

log = logs.get_logger("songs")

TOO_LATE = "The song took too long. It was not counted."


class OneGeneration(Args):
    """The id of a generation."""

    generation_id: IdText


class FoundTracks(Args):
    """Finished tracks as Suno sent them, and how often their audio was checked."""

    generation_id: IdText
    tracks: list[dict[str, Any]]
    checks: int = 0


class CheckedTracks(FoundTracks):
    """The same, with those that are playable, and how many are not."""

    playable: list[dict[str, Any]] = msgspec.field(default_factory=list)
    unplayable: int = 0


class CompletedTask(Args):
    """A finished task, with its tracks as Suno sent them."""

    task_id: str
    tracks: list[dict[str, Any]]


async def adopt_task(ctx: MutationContext, generation: asyncpg.Record, task_id: str | None) -> bool:
    """Move a generation to `composing`, with its task if it is known. A possible gift only gets its task.

    False, without any change, when the generation has ended, was never requested, or has another task.
    """
    if generation["asked_at"] is None or generation["task_id"] not in {None, task_id or generation["task_id"]}:
        return False
    if generation["status"] == "writing":
        await generations.step(ctx.db, generation["id"], "composing", ctx.now)
    elif generation["status"] != "composing" and not rules.is_gift(generation["status"], generation["failure_code"]):
        return False
    if task_id is not None and generation["task_id"] is None:
        await ctx.db.execute(
            """update generations set task_id = $2
               where id = $1 and not exists (select from generations where task_id = $2)""",
            generation["id"], task_id,
        )  # fmt: skip
    # Generations begun by releases before 0009 have no tracks yet.
    await generations.insert_tracks(ctx.db, generation["id"], ctx.now)
    return True


@mutation
async def fail_if_overdue(ctx: MutationContext, args: OneGeneration) -> None:
    """Fail a generation that is past the deadline of its status."""
    generation = await generations.locked(ctx.db, args.generation_id)
    if generation is None or not _is_overdue(generation, ctx.now):
        return
    lost = generation["status"] == "composing" and generation["task_id"] is None
    code = rules.ANSWER_LOST if lost else "too_late"
    await song_endings.fail(ctx, args.generation_id, code=code, reason=TOO_LATE)


def _is_overdue(generation: asyncpg.Record, now: datetime) -> bool:
    return rules.is_overdue(
        generation["status"],
        created_at=generation["created_at"],
        composing_since=generation["composing_since"],
        named=generation["task_id"] is not None,
        now=now,
    )


async def on_callback(ctx: MutationContext, generation_id: str, callback: SunoCallback) -> str:
    """Apply a verified callback; return the outcome.

    Stages may arrive in any order and repeatedly: a final status stays, and an early stage never overwrites a later.
    """
    generation = await generations.locked(ctx.db, generation_id)
    if generation is None:
        return "generation is gone"
    if not await adopt_task(ctx, generation, callback.task_id or None):
        return "ignored"
    match callback.stage:
        case "error":
            await _fail(ctx, generation_id, callback.code, callback.reason)
            return "failed"
        case "complete" if any(track.audio_url for track in callback.tracks):
            await _schedule_check(ctx, generation_id, callback.tracks)
            return "audio to be checked"
        case _:
            await _store_early_tracks(ctx, generation_id, callback.tracks)
            return "noted"


async def _schedule_check(
    ctx: MutationContext, generation_id: str, tracks: tuple[SunoTrack, ...], checks: int = 0
) -> None:
    """Schedule a check of finished tracks' audio: the first one now, later ones after a pause."""
    delay = rules.CHECK_PAUSES[checks - 1] if checks else timedelta(0)
    found = FoundTracks(generation_id=generation_id, tracks=[track.raw for track in tracks], checks=checks)
    await ctx.schedule(check_audio, found, delay=delay)


@mutation
async def fail_if_audio_is_overdue(ctx: MutationContext, args: FoundTracks) -> None:
    """Fail an overdue generation whose audio cannot be fetched; otherwise the sweeper checks it again."""
    await fail_if_overdue(ctx, OneGeneration(generation_id=args.generation_id))


@action(retry=Retry(attempts=6), on_exhausted=fail_if_audio_is_overdue, lane=Lane.SONGS)
async def check_audio(ctx: ActionContext, args: FoundTracks) -> None:
    """Check the audio of finished tracks. A job; retried while it cannot be fetched."""
    task_id = await ctx.run_query(deliverable_task, OneGeneration(generation_id=args.generation_id))
    if task_id is None:
        return
    tracks = parse_tracks(args.tracks)
    if args.checks:
        # By now the audio may exist, perhaps at another URL.
        maker: SongMaker = ctx.vendor(SongMaker)  # type: ignore[type-abstract]  # looked up by its interface
        current = (await maker.task(task_id)).tracks
        tracks = current if any(track.audio_url for track in current) else tracks
    checked = [await song_audio.playable(ctx, track) for track in tracks if track.audio_url]
    await ctx.run_mutation(
        settle_audio,
        CheckedTracks(
            generation_id=args.generation_id,
            tracks=[track.raw for track in tracks],
            playable=[_as_checked(track) for track in checked if track is not None],
            unplayable=checked.count(None),
            checks=args.checks,
        ),
    )


def _as_checked(track: SunoTrack) -> dict[str, Any]:
    """Return the track as Suno sent it, with the URL and duration that were checked."""
    return track.raw | {"audio_url": track.audio_url, "duration": track.duration}


@mutation
async def settle_audio(ctx: MutationContext, args: CheckedTracks) -> None:
    """Complete a generation with its playable tracks; while one is not playable, check again first."""
    generation = await generations.locked(ctx.db, args.generation_id)
    if generation is None or not _is_deliverable(generation):
        return
    if args.unplayable and args.checks < len(rules.CHECK_PAUSES):
        await _schedule_check(ctx, args.generation_id, parse_tracks(args.tracks), args.checks + 1)
    elif args.playable:
        await complete(ctx, args.generation_id, parse_tracks(args.playable))
    else:
        log.warning("song without audio", generation=args.generation_id)
        await _fail(ctx, args.generation_id, None, failure_reason(501), code="no_audio")


def _is_deliverable(generation: asyncpg.Record) -> bool:
    return generation["status"] == "composing" or rules.is_gift(generation["status"], generation["failure_code"])


async def complete(ctx: MutationContext, generation_id: str, tracks: tuple[SunoTrack, ...]) -> bool:
    """Move a generation to `ready`, fail missing tracks, and schedule the copying. False if it had ended.

    The caller has checked the audio.
    """
    if await generations.deliver_gift(ctx.db, generation_id, ctx.now):
        log.info("song delivered after its refund", generation=generation_id)
    elif not await generations.step(ctx.db, generation_id, "ready", ctx.now):
        return False
    # Tracks with audio first: track 0 is the entry's song, and must be playable.
    allowed = (song_audio.fetchable(ctx.settings, track) for track in tracks)
    playable = [track for track in allowed if track.audio_url]
    rows = await ctx.db.fetch(
        "select id, diary_id from music where generation_id = $1 order by music_index", generation_id
    )
    for row, track in zip(rows, playable, strict=False):
        await ctx.db.execute(
            """update music set status = 'ready', failure_reason = null,
                 title = coalesce($2, title), lyric = coalesce($3, lyric), duration = $4, audio_id = $5,
                 audio_url = $6, stream_url = $7, image_url = $8, metadata = $9, updated_at = $10
               where id = $1""",
            row["id"], track.title or None, track.lyric or None, track.duration, track.audio_id or None,
            track.audio_url, track.stream_url, track.image_url, track.raw, ctx.now,
        )  # fmt: skip
        await ctx.schedule(song_files.copy_files, OneMusic(music_id=row["id"]))
        if track.audio_id:
            await ctx.schedule(song_files.fetch_timed_lyrics, song_files.TimingAttempt(music_id=row["id"]))
    for row in rows[len(playable) :]:
        await ctx.db.execute(
            """update music set status = 'failed', failure_reason = $3, audio_url = null, stream_url = null,
                 updated_at = $2
               where id = $1""",
            row["id"], ctx.now, failure_reason(501),
        )  # fmt: skip
    await generations.choose_song(ctx.db, rows[0]["diary_id"], ctx.now)
    await occasions.song_ready(ctx, generation_id)
    return True


async def _store_early_tracks(ctx: MutationContext, generation_id: str, tracks: tuple[SunoTrack, ...]) -> None:
    rows = await ctx.db.fetch(
        "select id from music where generation_id = $1 and status = 'pending' order by music_index", generation_id
    )
    allowed = [song_audio.fetchable(ctx.settings, track) for track in tracks]
    for row, track in zip(rows, allowed, strict=False):
        await ctx.db.execute(
            """update music set title = coalesce($2, title), lyric = coalesce($3, lyric),
                 stream_url = coalesce($4, stream_url), image_url = coalesce($5, image_url),
                 audio_url = coalesce($6, audio_url), updated_at = $7
               where id = $1""",
            row["id"], track.title or None, track.lyric or None, track.stream_url, track.image_url,
            track.audio_url, ctx.now,
        )  # fmt: skip


async def _fail(ctx: MutationContext, generation_id: str, number: int | None, reason: str, code: str = "") -> None:
    await song_endings.fail(
        ctx, generation_id, code=code or f"suno_{number or 'failed'}", reason=reason or failure_reason(number)
    )


@mutation
async def complete_suno_task(ctx: MutationContext, args: CompletedTask) -> None:
    """Complete a task with tracks as Suno sends them.

    Changes nothing when the task has ended, when no track has audio, or when all audio is on other hosts than
    SUNO_FILE_HOSTS.
    """
    generation_id = await ctx.db.fetchval("select id from generations where task_id = $1", args.task_id)
    tracks = parse_tracks(args.tracks)
    if generation_id is not None and any(song_audio.fetchable(ctx.settings, track).audio_url for track in tracks):
        await complete(ctx, generation_id, tracks)


class PolledTask(Args):
    """The state of a generation's task at Suno."""

    generation_id: IdText
    state: str
    tracks: list[dict[str, Any]]
    code: int | None
    reason: str


@mutation
async def apply_poll(ctx: MutationContext, args: PolledTask) -> None:
    """Apply the state of a task; an unfinished one fails after the deadline."""
    generation = await generations.locked(ctx.db, args.generation_id)
    if generation is None or generation["status"] != "composing":
        return
    tracks = parse_tracks(args.tracks)
    if args.state == "done" and any(track.audio_url for track in tracks):
        await _schedule_check(ctx, args.generation_id, tracks)
    elif args.state == "failed":
        await _fail(ctx, args.generation_id, args.code, args.reason)
    else:
        await fail_if_overdue(ctx, OneGeneration(generation_id=args.generation_id))


@action(retry=Retry(attempts=3, outlasts_outages=False), on_exhausted=fail_if_overdue, lane=Lane.SONGS)
async def poll_suno_task(ctx: ActionContext, args: OneGeneration) -> None:
    """Poll Suno for a generation's task, since its callback may be lost. A job."""
    task_id = await ctx.run_query(task_to_poll, args)
    if task_id is None:
        return
    maker: SongMaker = ctx.vendor(SongMaker)  # type: ignore[type-abstract]  # looked up by its interface
    task = await maker.task(task_id)
    log.info("task polled", generation=args.generation_id, state=task.state, status=task.status)
    await ctx.run_mutation(
        apply_poll,
        PolledTask(
            generation_id=args.generation_id,
            state=task.state,
            tracks=[track.raw for track in task.tracks],
            code=task.code,
            reason=task.reason,
        ),
    )


@query
async def deliverable_task(ctx: QueryContext, args: OneGeneration) -> str | None:
    """Return the task of a generation that may still be delivered; None otherwise."""
    generation = await ctx.db.fetchrow(
        "select status, failure_code, task_id from generations where id = $1", args.generation_id
    )
    return generation["task_id"] if generation is not None and _is_deliverable(generation) else None


@query
async def task_to_poll(ctx: QueryContext, args: OneGeneration) -> str | None:
    """Return the task of a generation that is composing; None otherwise."""
    task_id: str | None = await ctx.db.fetchval(
        "select task_id from generations where id = $1 and status = 'composing'", args.generation_id
    )
    return task_id


@mutation
async def sweep_generations(ctx: MutationContext, args: NoArgs) -> None:  # noqa: ARG001
    """Schedule polls of songs without a callback, and failures of overdue ones, each as a job. A cron."""
    for generation_id in await generations.overdue_writing(ctx.db, ctx.now - rules.WRITING_DEADLINE):
        await _schedule_failure(ctx, generation_id)
    for row in await generations.due_for_poll(ctx.db, ctx.now, rules.POLL_AFTER):
        if row["task_id"] is None:
            # Suno's answer was lost and no callback has arrived: there is no task to poll.
            if _is_overdue(row, ctx.now):
                await _schedule_failure(ctx, row["id"])
            continue
        await ctx.schedule(
            poll_suno_task, OneGeneration(generation_id=row["id"]), key=f"poll {row['id']} {row['polls']}"
        )
        await _next_poll(ctx, row["id"], row["polls"] + 1, rules.poll_pause(row["polls"]))


async def _schedule_failure(ctx: MutationContext, generation_id: str) -> None:
    # Each in its own transaction, which locks one account. The key makes it one job per ten minutes.
    window = int(ctx.now.timestamp() // 600)
    await ctx.schedule(
        fail_if_overdue, OneGeneration(generation_id=generation_id), key=f"overdue {generation_id} {window}"
    )


async def _next_poll(ctx: MutationContext, generation_id: str, polls: int, pause: timedelta) -> None:
    await ctx.db.execute(
        "update generations set polls = $2, next_poll_at = $3 where id = $1", generation_id, polls, ctx.now + pause
    )
