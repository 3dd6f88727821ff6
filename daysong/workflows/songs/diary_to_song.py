"""From a diary entry to a song: save, charge, write lyrics, ask Suno, deliver.

    startDiaryMusicGeneration   one transaction: diary, charge, generation (queued) with pending tracks, job
    requestSunoGeneration       the job: lyrics (writing) → noted that Suno is asked → task (composing)
    a callback, or a poll       tracks with audio (ready), or failed with the charge given back
    song_files                  timed words, and our own copies of audio and cover

Every step is its own transaction and looks at what is there before it acts, so the job may be killed anywhere and run
again. The one thing that cannot be undone or looked up is asking Suno, which is why it is noted before it is done.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.diaries import functions as diaries
from daysong.features.music import generations, rules
from daysong.features.subscriptions import accounts, revenuecat_billing
from daysong.features.subscriptions.quotas import usage
from daysong.kernel import logs
from daysong.kernel.errors import DatabaseUnavailable, TooBusy, VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext
from daysong.kernel.functions.declarations import Args, IdText, Result, Retry, action, mutation
from daysong.kernel.ids import DiaryId, UserId
from daysong.kernel.limits import budgets
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.visible import trimmed
from daysong.vendors.openai.client import LyricsWriter
from daysong.vendors.openai.lyrics import Lyrics, final_style
from daysong.vendors.suno.client import SongMaker
from daysong.workflows.songs import song_budget, song_delivery
from daysong.workflows.songs.song_delivery import OneGeneration

log = logs.get_logger("songs")


# Seconds: how long what Suno answered is tried to be written, and the longest pause between two tries.
WRITE_FOR = 300.0
LONGEST_WRITE_PAUSE = 10.0
DATABASE_TROUBLE = (
    TooBusy,
    DatabaseUnavailable,
    asyncpg.TransactionRollbackError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
)
# The code of an error that means a long line before a vendor, not the vendor's word.
IN_LINE = "deferred"

LIMIT_REACHED = "You have used all your songs of this period."
IN_PROGRESS = "A song is already being made from this entry."
GAVE_UP = "The song could not be made this time. It was not counted."


class StartGeneration(Args):
    """What was written, which entry it replaces if any, and how the song should sound."""

    content: str
    diary_id: IdText | UnsetType = UNSET
    style: Annotated[str, msgspec.Meta(max_length=500)] | UnsetType = UNSET


class BeginGeneration(StartGeneration):
    """The same, with what its budget has said: what was reserved for it, or which cap is reached."""

    reservation: str | None = None
    cap: str | None = None


class Started(Result):
    """The saved entry, and whether a song is on its way."""

    diary_id: str
    success: bool
    code: Literal["USAGE_LIMIT_REACHED", "ALREADY_IN_PROGRESS", "DAILY_LIMIT_REACHED"] | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    remaining_quota: float | UnsetType = UNSET


class Assignment(Result):
    """What is to be done for a generation that has not reached Suno yet."""

    diary: str
    style_hint: str | None
    owner: str
    person: str
    lyrics: Lyrics | None
    callback_secret: str
    asked: bool


class WrittenLyrics(Args):
    """The lyrics of a generation."""

    generation_id: IdText
    lyrics: Lyrics


class PendingTracks(Args):
    """The task Suno gave a generation; none when its answer was lost."""

    generation_id: IdText
    task_id: str | None = None


@mutation
async def begin_generation(ctx: MutationContext, args: BeginGeneration) -> Started:
    """Entry, charge, generation and job in one transaction."""
    owner = await accounts.of_caller(ctx)
    diary_id = await diaries.save(ctx, owner, args.content, args.diary_id or None)
    # A new entry has no song in the making.
    if args.diary_id and await generations.live_for(ctx.db, diary_id):
        return await _refused(ctx, owner, diary_id, "ALREADY_IN_PROGRESS", IN_PROGRESS)
    if args.cap is not None and (await usage.quota_of(ctx.db, owner, ctx.now)).remaining:
        return await _refused(ctx, owner, diary_id, "DAILY_LIMIT_REACHED", song_budget.reason_of(args.cap))
    charge_id = await usage.charge(ctx.db, owner, ctx.now)
    if charge_id is None:
        return await _refused(ctx, owner, diary_id, "USAGE_LIMIT_REACHED", LIMIT_REACHED)
    hint = trimmed(args.style or "") or None
    generation_id = await generations.insert(
        ctx.db, owner=owner, diary_id=diary_id, charge_id=charge_id, style_hint=hint, now=ctx.now
    )
    await budgets.claim(ctx.db, ctx.settings, args.reservation, generation_id, ctx.now)
    await ctx.schedule(request_suno_generation, OneGeneration(generation_id=generation_id), account=owner)
    quota = await usage.quota_of(ctx.db, owner, ctx.now)
    return Started(diary_id=diary_id, success=True, remaining_quota=quota.remaining)


@action(settled_by=begin_generation)
async def start_diary_music_generation(ctx: ActionContext, args: StartGeneration) -> Started:
    """Save the entry and set out to make a song of it.

    The entry is saved also when no song can be made: then `code` says why. Errors as for writing an entry.
    """
    await revenuecat_billing.refresh_if_stale(ctx)
    money = await song_budget.reserve_song(ctx)
    told = msgspec.structs.asdict(args)
    began = await ctx.run_mutation(
        begin_generation, BeginGeneration(**told, reservation=money.reservation, cap=money.cap)
    )
    if not began.success:
        await song_budget.cancel(ctx, money)
    return began


async def _refused(
    ctx: MutationContext, owner: UserId, diary_id: DiaryId,
    code: Literal["USAGE_LIMIT_REACHED", "ALREADY_IN_PROGRESS", "DAILY_LIMIT_REACHED"], reason: str,
) -> Started:  # fmt: skip
    quota = await usage.quota_of(ctx.db, owner, ctx.now)
    return Started(diary_id=diary_id, success=False, code=code, reason=reason, remaining_quota=quota.remaining)


@mutation
async def give_up(ctx: MutationContext, args: OneGeneration) -> None:
    """No more tries: the generation fails and its charge is given back."""
    await budgets.release(ctx.db, ctx.settings, args.generation_id)
    await generations.fail(ctx.db, args.generation_id, code="exhausted", reason=GAVE_UP, now=ctx.now)


@action(retry=Retry(attempts=8), on_exhausted=give_up, lane=Lane.SONGS)
async def request_suno_generation(ctx: ActionContext, args: OneGeneration) -> None:
    """Write the lyrics and ask Suno for the song. A job; safe to be killed anywhere and to run twice."""
    work = await ctx.run_mutation(take_up, args)
    if work is None:
        return
    try:
        with budgets.paid_for(ctx.settings, work.owner, args.generation_id):
            lyrics = work.lyrics or await _written(ctx, args, work)
        await _ask_suno(ctx, args, work, lyrics)
    except VendorError as error:
        if not error.permanent and not rules.asks_too_much(error.retry_after, deferred=error.code == IN_LINE):
            raise
        log.warning("song failed", generation=args.generation_id, code=error.code)
        await ctx.run_mutation(
            fail_generation, Failure(generation_id=args.generation_id, code=error.code, reason=error.reason)
        )


async def _written(ctx: ActionContext, args: OneGeneration, work: Assignment) -> Lyrics:
    writer: LyricsWriter = ctx.vendor(LyricsWriter)  # type: ignore[type-abstract]  # looked up by its interface
    lyrics = await writer.write_lyrics(diary=work.diary, style_hint=work.style_hint, person=work.person)
    lyrics = msgspec.structs.replace(lyrics, style=final_style(lyrics, work.style_hint))
    await ctx.run_mutation(save_lyrics, WrittenLyrics(generation_id=args.generation_id, lyrics=lyrics))
    return lyrics


async def _ask_suno(ctx: ActionContext, args: OneGeneration, work: Assignment, lyrics: Lyrics) -> None:
    if work.asked or not await ctx.run_mutation(note_asked, args):
        # An earlier try asked, and its answer was lost: its callback will tell the task, or the deadline refunds.
        await ctx.run_mutation(create_pending_music_records, PendingTracks(generation_id=args.generation_id))
        return
    maker: SongMaker = ctx.vendor(SongMaker)  # type: ignore[type-abstract]  # looked up by its interface
    callback_url = f"{ctx.settings.site_url}/http/suno-webhook/{args.generation_id}/{work.callback_secret}"
    try:
        task_id = await maker.generate(
            lyric=lyrics.lyric, style=lyrics.style, title=lyrics.title, callback_url=callback_url
        )
    except VendorError as error:
        if not error.ambiguous:
            await _written_down(ctx, note_refused, args)
            raise
        log.warning("suno's answer was lost", generation=args.generation_id, code=error.code)
        task_id = None
    await _written_down(
        ctx, create_pending_music_records, PendingTracks(generation_id=args.generation_id, task_id=task_id)
    )


async def _written_down(ctx: ActionContext, mutation: Callable[..., Awaitable[None]], args: Args) -> None:
    """Write what Suno answered until it is written: no other try of this job would hear it again.

    Past WRITE_FOR the job fails as it is, and a callback has to tell the task.
    """
    pause, tried_for = 0.1, 0.0
    while True:
        try:
            await ctx.run_mutation(mutation, args)
        except DATABASE_TROUBLE as error:
            if tried_for >= WRITE_FOR:
                raise
            log.warning("suno's answer could not be written yet", error=logs.describe(error))
        else:
            return
        await asyncio.sleep(pause)
        tried_for += pause
        pause = min(pause * 2, LONGEST_WRITE_PAUSE)


@mutation
async def take_up(ctx: MutationContext, args: OneGeneration) -> Assignment | None:
    """Begin or go on with the writing; None when there is nothing left to do here."""
    row = await generations.locked(ctx.db, args.generation_id)
    if row is None or row["status"] not in {"queued", "writing"}:
        return None
    await generations.step(ctx.db, args.generation_id, "writing", ctx.now)
    diary = await ctx.db.fetchval("select content from diaries where id = $1", row["diary_id"])
    written = row["lyric"] is not None
    return Assignment(
        diary=diary,
        style_hint=row["style_hint"],
        owner=row["user_id"],
        # A stable id that tells the vendor nothing about who it is.
        person=hashlib.sha256(row["user_id"].encode()).hexdigest(),
        lyrics=Lyrics(row["lyric"], row["mood"], row["style"], row["title"]) if written else None,
        callback_secret=row["callback_secret"],
        asked=row["asked_at"] is not None,
    )


@mutation
async def save_lyrics(ctx: MutationContext, args: WrittenLyrics) -> None:
    """Keep the lyrics, so that another try does not pay for them again."""
    written = args.lyrics
    await generations.save_lyrics(
        ctx.db,
        args.generation_id,
        lyric=written.lyric,
        mood=written.mood,
        style=written.style,
        title=written.title,
        now=ctx.now,
    )


@mutation
async def note_asked(ctx: MutationContext, args: OneGeneration) -> bool:
    """Note that Suno is about to be asked; False when that was noted before, and it must not be asked again."""
    noted = await generations.note_asked(ctx.db, args.generation_id, ctx.now)
    if noted:
        await song_budget.pay_suno(ctx, args.generation_id)
    return noted


@mutation
async def note_refused(ctx: MutationContext, args: OneGeneration) -> None:
    """Note that Suno certainly did not take the song: it may be asked again."""
    await generations.note_refused(ctx.db, args.generation_id, ctx.now)
    await song_budget.take_back_from_suno(ctx, args.generation_id)


@mutation
async def create_pending_music_records(ctx: MutationContext, args: PendingTracks) -> None:
    """Suno is composing: keep its task, if that is known, for the generation and its two pending tracks."""
    await budgets.release(ctx.db, ctx.settings, args.generation_id)
    row = await generations.locked(ctx.db, args.generation_id)
    if row is not None:
        await song_delivery.adopt_task(ctx, row, args.task_id)


class Failure(Args):
    """Which generation failed, why for us (code), and why for its person (reason)."""

    generation_id: IdText
    code: str
    reason: str


@mutation
async def fail_generation(ctx: MutationContext, args: Failure) -> None:
    """End a generation in failure and give its charge back, unless it has ended already."""
    await budgets.release(ctx.db, ctx.settings, args.generation_id)
    await generations.fail(ctx.db, args.generation_id, code=args.code, reason=args.reason, now=ctx.now)
