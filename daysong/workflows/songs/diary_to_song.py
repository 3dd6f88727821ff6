"""From a diary entry to a song: save, charge, write lyrics, request Suno, deliver.

    startDiaryMusicGeneration   one transaction: diary, charge, generation (queued) with pending tracks, job
    requestSunoGeneration       the job: lyrics (writing) → asked_at committed → task (composing)
    a callback, or a poll       tracks with audio (ready), or failed and refunded
    song_files                  timed lyrics, and our own copies of audio and cover

Every step is its own transaction and checks the state before it acts, so the job may be killed at any point and rerun.
Only the request to Suno can neither be undone nor looked up: that is why `asked_at` is committed before it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Literal

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.diaries import functions as diaries
from daysong.features.diaries.rules import checked
from daysong.features.diaries.store import Written
from daysong.features.music import generations, rules
from daysong.features.subscriptions import accounts, revenuecat_billing
from daysong.features.subscriptions.quotas import usage
from daysong.features.subscriptions.quotas.usage import Charge
from daysong.kernel import logs
from daysong.kernel.database.transactions import Statement
from daysong.kernel.errors import DatabaseUnavailable, ExpectedError, TooBusy, VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext, StatementContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, Retry, action, mutation
from daysong.kernel.ids import ChargeId, DiaryId, GenerationId, UserId
from daysong.kernel.limits import budgets
from daysong.kernel.limits.errors import DEFERRED
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.time.clock import from_ms
from daysong.kernel.visible import trimmed
from daysong.vendors.openai.client import LyricsWriter
from daysong.vendors.openai.lyrics import Lyrics, final_style
from daysong.vendors.suno.client import SongMaker
from daysong.workflows.songs import song_budget, song_delivery, song_endings
from daysong.workflows.songs.song_delivery import OneGeneration
from daysong.workflows.songs.song_quota import AffordableSong, current_person_and_song

log = logs.get_logger("songs")

# Seconds for which storing Suno's answer is retried, and the longest pause between two attempts.
STORE_FOR = 300.0
MAX_STORE_PAUSE = 10.0
DATABASE_ERRORS = (
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

LIMIT_REACHED = "You have used all your songs of this period."
IN_PROGRESS = "A song is already being made from this entry."
GAVE_UP = "The song could not be made this time. It was not counted."


class StartGeneration(Args):
    """The text of an entry, the id of the entry it replaces, and a style hint."""

    content: str
    diary_id: IdText | UnsetType = UNSET
    style: Annotated[str, msgspec.Meta(max_length=500)] | UnsetType = UNSET


class BeginGeneration(StartGeneration):
    """The same, with the budget's answer: the reservation, or the cap that is reached."""

    reservation: str | None = None
    cap: str | None = None


class BeginAffordable(BeginGeneration, kw_only=True):
    """A generation of an account that can afford it, unless it was charged since."""

    owner: str
    song: AffordableSong


class Started(Result):
    """The saved entry, and whether a song was started; `code` and `reason` say why not."""

    diary_id: str
    success: bool
    code: Literal["USAGE_LIMIT_REACHED", "ALREADY_IN_PROGRESS", "DAILY_LIMIT_REACHED"] | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    remaining_quota: float | UnsetType = UNSET


class Assignment(Result):
    """The input of a generation that Suno has no task for. `asked`: Suno was requested, and the answer was lost."""

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
    """Suno's task of a generation; None when the answer was lost."""

    generation_id: IdText
    task_id: str | None = None


def _begin_at_once(ctx: StatementContext, args: BeginGeneration) -> Statement | None:
    if not isinstance(args, BeginAffordable) or args.cap is not None or args.diary_id:
        return None
    song, now = args.song, from_ms(args.song.at)
    charge = Charge(ChargeId.new(now), int(song.remaining))
    new = _beginning(UserId(args.owner), None, charge, args, now)
    new = new._replace(claimed=budgets.claimed(ctx.settings, args.reservation, new.id, now))
    job = ctx.new_job(request_suno_generation, OneGeneration(generation_id=new.id), account=new.owner)
    result = Started(diary_id=new.diary_id, success=True, remaining_quota=charge.remaining)
    return generations.begin_at_once(ctx, new, now, song.charges, job, result)


def _beginning(
    owner: UserId, diary_id: DiaryId | None, charge: Charge, args: BeginGeneration, now: datetime
) -> generations.Beginning:
    return generations.Beginning(
        GenerationId.new(now), owner, diary_id or DiaryId.new(now), charge.id, charge=charge,
        content=None if diary_id else checked(args.content), style_hint=trimmed(args.style or "") or None,
    )  # fmt: skip


@mutation(at_once=_begin_at_once)
async def begin_generation(ctx: MutationContext, args: BeginGeneration) -> Started:
    """Save the entry, charge the account, insert the generation and schedule its job, in one transaction."""
    owner = await accounts.of_caller(ctx)
    content, diary_id = checked(args.content), None
    if args.diary_id:
        diary_id = await diaries.save(ctx, owner, content, args.diary_id)
        if await generations.live_for(ctx.db, diary_id):
            return await _refused(ctx, owner, diary_id, "ALREADY_IN_PROGRESS", IN_PROGRESS)
    charge = await usage.affordable(ctx.db, owner, ctx.now)
    if charge is None or args.cap is not None:
        diary_id = diary_id or await diaries.save(ctx, owner, content, None)
        if charge is None or args.cap is None:
            return await _refused(ctx, owner, diary_id, "USAGE_LIMIT_REACHED", LIMIT_REACHED)
        return await _refused(ctx, owner, diary_id, "DAILY_LIMIT_REACHED", song_budget.reason_of(args.cap))
    new = _beginning(owner, diary_id, charge, args, ctx.now)
    written = await begin_song(ctx, new, args.reservation)
    if written is not None:
        await diaries.with_reading(ctx, owner, written)
    return Started(diary_id=new.diary_id, success=True, remaining_quota=charge.remaining)


async def begin_song(
    ctx: MutationContext, new: generations.Beginning, reservation: str | None
) -> Written | None:  # fmt: skip
    """Insert a generation and schedule its job; return the entry, if it is new."""
    claimed = budgets.claimed(ctx.settings, reservation, new.id, ctx.now)
    job = ctx.new_job(request_suno_generation, OneGeneration(generation_id=new.id), account=new.owner)
    return await generations.begin(ctx.db, new._replace(claimed=claimed), ctx.now, job)


@action(settled_by=begin_generation)
async def start_diary_music_generation(ctx: ActionContext, args: StartGeneration) -> Started:
    """Save the entry and start a song of it.

    The entry is saved even when no song is started; `code` says why. Errors as for creating an entry.
    """
    person = await ctx.run_query(current_person_and_song, NoArgs())
    if person is not None and revenuecat_billing.is_stale(ctx, person):
        await revenuecat_billing.refresh_if_stale(ctx, person)
        person = await ctx.run_query(current_person_and_song, NoArgs())
    reserved = await song_budget.reserve_song(ctx, None if person is None else person.user_id)
    asked = {**msgspec.structs.asdict(args), "reservation": reserved.reservation, "cap": reserved.cap}
    if person is not None and person.song is not None:
        begin: BeginGeneration = BeginAffordable(**asked, owner=person.user_id, song=person.song)
    else:
        begin = BeginGeneration(**asked)
    try:
        started = await ctx.run_mutation(begin_generation, begin)
    except ExpectedError:
        await song_budget.cancel(ctx, reserved)
        raise
    if not started.success:
        await song_budget.cancel(ctx, reserved)
    return started


async def _refused(
    ctx: MutationContext, owner: UserId, diary_id: DiaryId,
    code: Literal["USAGE_LIMIT_REACHED", "ALREADY_IN_PROGRESS", "DAILY_LIMIT_REACHED"], reason: str,
) -> Started:  # fmt: skip
    quota = await usage.quota_of(ctx.db, owner, ctx.now)
    return Started(diary_id=diary_id, success=False, code=code, reason=reason, remaining_quota=quota.remaining)


@mutation
async def give_up(ctx: MutationContext, args: OneGeneration) -> None:
    """Fail and refund a generation whose job is out of attempts."""
    await budgets.release(ctx.db, ctx.settings, args.generation_id)
    await song_endings.fail(ctx, args.generation_id, code="exhausted", reason=GAVE_UP)


@action(retry=Retry(attempts=8), on_exhausted=give_up, lane=Lane.SONGS)
async def request_suno_generation(ctx: ActionContext, args: OneGeneration) -> None:
    """Write the lyrics and request the song from Suno. A job; idempotent, and safe to be killed at any point."""
    task = await ctx.run_mutation(start_writing, args)
    if task is None:
        return
    try:
        with budgets.paid_for(ctx.settings, task.owner, args.generation_id):
            lyrics = task.lyrics or await _write_lyrics(ctx, args, task)
        await _request_song(ctx, args, task, lyrics)
    except VendorError as error:
        if not error.permanent and not rules.asks_too_much(error.retry_after, deferred=error.code == DEFERRED):
            raise
        log.warning("song generation failed", generation=args.generation_id, code=error.code)
        await ctx.run_mutation(
            fail_generation, Failure(generation_id=args.generation_id, code=error.code, reason=error.reason)
        )


async def _write_lyrics(ctx: ActionContext, args: OneGeneration, task: Assignment) -> Lyrics:
    writer: LyricsWriter = ctx.vendor(LyricsWriter)  # type: ignore[type-abstract]  # looked up by its interface
    lyrics = await writer.write_lyrics(diary=task.diary, style_hint=task.style_hint, person=task.person)
    lyrics = msgspec.structs.replace(lyrics, style=final_style(lyrics, task.style_hint))
    await ctx.run_mutation(save_lyrics, WrittenLyrics(generation_id=args.generation_id, lyrics=lyrics))
    return lyrics


async def _request_song(ctx: ActionContext, args: OneGeneration, task: Assignment, lyrics: Lyrics) -> None:
    if task.asked or not await ctx.run_mutation(mark_requested, args):
        # An earlier attempt lost Suno's answer: the callback has the task's id, or the deadline refunds.
        await ctx.run_mutation(create_pending_music_records, PendingTracks(generation_id=args.generation_id))
        return
    maker: SongMaker = ctx.vendor(SongMaker)  # type: ignore[type-abstract]  # looked up by its interface
    callback_url = f"{ctx.settings.site_url}/http/suno-webhook/{args.generation_id}/{task.callback_secret}"
    try:
        task_id = await maker.generate(
            lyric=lyrics.lyric, style=lyrics.style, title=lyrics.title, callback_url=callback_url
        )
    except VendorError as error:
        if not error.ambiguous:
            await store_answer(ctx, mark_rejected, args)
            raise
        log.warning("suno's answer lost", generation=args.generation_id, code=error.code)
        task_id = None
    await store_answer(
        ctx, create_pending_music_records, PendingTracks(generation_id=args.generation_id, task_id=task_id)
    )


async def store_answer(ctx: ActionContext, mutation: Callable[..., Awaitable[None]], args: Args) -> None:
    """Store a vendor's answer, retrying on database errors: no later attempt of this job can get it again.

    After STORE_FOR the job fails, and only a callback can tell the task's id.
    """
    pause, waited = 0.1, 0.0
    while True:
        try:
            await ctx.run_mutation(mutation, args)
        except DATABASE_ERRORS as error:
            if waited >= STORE_FOR:
                raise
            log.warning("vendor's answer not stored yet", error=logs.describe(error))
        else:
            return
        await asyncio.sleep(pause)
        waited += pause
        pause = min(pause * 2, MAX_STORE_PAUSE)


@mutation
async def start_writing(ctx: MutationContext, args: OneGeneration) -> Assignment | None:
    """Move a generation to `writing`; return its input, or None when it is past that step."""
    row = await generations.locked(ctx.db, args.generation_id)
    if row is None or row["status"] not in {"queued", "writing"}:
        # Canceled before it was requested, say.
        await budgets.release(ctx.db, ctx.settings, args.generation_id)
        return None
    await generations.step(ctx.db, args.generation_id, "writing", ctx.now)
    diary = await ctx.db.fetchval("select content from diaries where id = $1", row["diary_id"])
    has_lyrics = row["lyric"] is not None
    return Assignment(
        diary=diary,
        style_hint=row["style_hint"],
        owner=row["user_id"],
        # Stable and opaque to the vendor.
        person=hashlib.sha256(row["user_id"].encode()).hexdigest(),
        lyrics=Lyrics(row["lyric"], row["mood"], row["style"], row["title"]) if has_lyrics else None,
        callback_secret=row["callback_secret"],
        asked=row["asked_at"] is not None,
    )


@mutation
async def save_lyrics(ctx: MutationContext, args: WrittenLyrics) -> None:
    """Store the lyrics, so that a retry does not pay for them again."""
    lyrics = args.lyrics
    await generations.save_lyrics(
        ctx.db,
        args.generation_id,
        lyric=lyrics.lyric,
        mood=lyrics.mood,
        style=lyrics.style,
        title=lyrics.title,
        now=ctx.now,
    )


@mutation
async def mark_requested(ctx: MutationContext, args: OneGeneration) -> bool:
    """Mark that Suno is about to be requested; False when it was marked before: then it must not be requested again."""
    marked = await generations.mark_requested(ctx.db, args.generation_id, ctx.now)
    if marked:
        await song_budget.record_suno_cost(ctx, args.generation_id)
    return marked


@mutation
async def mark_rejected(ctx: MutationContext, args: OneGeneration) -> None:
    """Mark that Suno certainly rejected the request: it may be requested again."""
    await generations.mark_rejected(ctx.db, args.generation_id, ctx.now)
    await song_budget.cancel_suno_cost(ctx, args.generation_id)


@mutation
async def create_pending_music_records(ctx: MutationContext, args: PendingTracks) -> None:
    """Move a generation to `composing`, with Suno's task if it is known."""
    await budgets.release(ctx.db, ctx.settings, args.generation_id)
    row = await generations.locked(ctx.db, args.generation_id)
    if row is not None:
        await song_delivery.adopt_task(ctx, row, args.task_id)


class Failure(Args):
    """A failed generation, with the error code, and the reason shown to the user."""

    generation_id: IdText
    code: str
    reason: str


@mutation
async def fail_generation(ctx: MutationContext, args: Failure) -> None:
    """Fail and refund a generation, unless it has ended."""
    await budgets.release(ctx.db, ctx.settings, args.generation_id)
    await song_endings.fail(ctx, args.generation_id, code=args.code, reason=args.reason)
