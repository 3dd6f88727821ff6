"""From a song to its video: charge, write the prompt, request the video from Kie.

    startVideoGeneration        one transaction: charge of three songs, video (queued), job
    requestKieVideoGeneration   the job: prompt by OpenAI (writing) → noted that Kie is requested → task (rendering)
    video_delivery              a callback, or a poll: the file copied (ready), or failed and refunded

Each step is its own transaction and checks what was done before it, so the job may be killed at any point and run
again. Only the request to Kie can be neither undone nor looked up, so it is noted before it is sent.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from msgspec import UNSET, UnsetType

from daysong.features.diary_media.addresses import photo_address_for_vendor
from daysong.features.music import rules as song_rules
from daysong.features.music import video_rows
from daysong.features.music.playback import OneMusic
from daysong.features.music.rules import MusicNotFound
from daysong.features.music.videos import OneVideo
from daysong.features.subscriptions import accounts, revenuecat_billing
from daysong.features.subscriptions.quotas import usage
from daysong.features.subscriptions.rules import SONGS_OF_A_VIDEO
from daysong.kernel import logs
from daysong.kernel.errors import ExpectedError, Unauthorized, VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext
from daysong.kernel.functions.declarations import NoArgs, Result, Retry, action, mutation
from daysong.kernel.ids import UserId
from daysong.kernel.limits import budgets
from daysong.kernel.limits.counters import ACCOUNT
from daysong.kernel.limits.errors import DEFERRED
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.limits.prices import Purchase
from daysong.vendors.kie.client import VideoMaker, seconds_of
from daysong.vendors.openai.video_prompt import VideoPromptWriter
from daysong.workflows.songs import song_budget
from daysong.workflows.songs.diary_to_song import store_answer

log = logs.get_logger("videos")

Code = Literal["USAGE_LIMIT_REACHED", "ALREADY_IN_PROGRESS", "NO_LYRICS", "UNKNOWN_ERROR"]

LIMIT_REACHED = f"A video costs {SONGS_OF_A_VIDEO} songs, and fewer are left in this period."
IN_PROGRESS = "A video of this song is already being made."
NO_LYRICS = "This song has no lyrics to make a video of."
NOT_READY = "The song is not ready yet."
NOT_OFFERED = "Videos are not available at the moment."
OWN_CAP = "You have reached today's limit. A video can be made tomorrow."
COMMON_CAP = "So much was made today that no more videos can be made until tomorrow."
GAVE_UP = "The video could not be made this time. It was not counted."


class BeginVideo(OneMusic):
    """A track, with the answer of the budget: a reservation, or the cap that is reached."""

    reservation: str | None = None
    cap: str | None = None


class StartedVideo(Result):
    """Whether a video is being made; else `code` and `reason` say why not."""

    success: bool
    video_id: str | UnsetType = UNSET
    code: Code | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    remaining_quota: float | UnsetType = UNSET


class VideoAssignment(Result):
    """What a video that was not requested from Kie yet is made of."""

    title: str
    lyric: str
    diary: str | None
    owner: str
    person: str
    prompt: str | None
    callback_url: str
    requested: bool
    photo_url: str | None


class WrittenPrompt(OneVideo):
    """The prompt of a video."""

    prompt: str


class RequestedVideo(OneVideo):
    """A video that is about to be requested, and how long it will play."""

    seconds: int


class PendingVideo(OneVideo):
    """The task that Kie gave a video; None when its answer was lost."""

    task_id: str | None = None


class FailedVideo(OneVideo):
    """A video that failed: a code for the log, and a reason shown to the user."""

    code: str
    reason: str


@mutation
async def begin_video(ctx: MutationContext, args: BeginVideo) -> StartedVideo:
    """Charge, video and job in one transaction. Errors: MusicNotFound."""
    owner = await accounts.of_caller(ctx)
    track = await ctx.db.fetchrow(
        "select user_id, status, lyric from music where id = $1 and deleted_at is null", args.music_id
    )
    if track is None or track["user_id"] != owner:
        raise MusicNotFound
    if track["status"] != "ready":
        return await _refused(ctx, owner, "UNKNOWN_ERROR", NOT_READY)
    if not (track["lyric"] or "").strip():
        return await _refused(ctx, owner, "NO_LYRICS", NO_LYRICS)
    if await video_rows.live_for(ctx.db, args.music_id):
        return await _refused(ctx, owner, "ALREADY_IN_PROGRESS", IN_PROGRESS)
    if args.cap is not None and (await usage.quota_of(ctx.db, owner, ctx.now)).remaining >= SONGS_OF_A_VIDEO:
        reason = OWN_CAP if args.cap == ACCOUNT else COMMON_CAP
        return await _refused(ctx, owner, "UNKNOWN_ERROR", reason)
    charge_id = await usage.charge(ctx.db, owner, ctx.now, amount=SONGS_OF_A_VIDEO)
    if charge_id is None:
        return await _refused(ctx, owner, "USAGE_LIMIT_REACHED", LIMIT_REACHED)
    video_id = await video_rows.insert(ctx.db, owner=owner, music_id=args.music_id, charge_id=charge_id, now=ctx.now)
    await budgets.claim(ctx.db, ctx.settings, args.reservation, video_id, ctx.now)
    await ctx.schedule(request_kie_video_generation, OneVideo(video_id=video_id), account=owner)
    quota = await usage.quota_of(ctx.db, owner, ctx.now)
    return StartedVideo(success=True, video_id=video_id, remaining_quota=quota.remaining)


@action(settled_by=begin_video)
async def start_video_generation(ctx: ActionContext, args: OneMusic) -> StartedVideo:
    """Start a video of a track, for three songs of the quota. Errors: Unauthorized, MusicNotFound.

    `code` and `reason` say why none is made. A video that fails is refunded.
    """
    if ctx.caller.subject is None:
        raise Unauthorized
    if not _maker(ctx).enabled:
        return StartedVideo(success=False, code="UNKNOWN_ERROR", reason=NOT_OFFERED)
    person = await ctx.run_query(revenuecat_billing.current_person, NoArgs())
    if person is not None:
        await revenuecat_billing.refresh_if_stale(ctx, person)
    money = await song_budget.reserve(ctx, Purchase.VIDEO, None if person is None else person.user_id)
    try:
        started = await ctx.run_mutation(
            begin_video, BeginVideo(music_id=args.music_id, reservation=money.reservation, cap=money.cap)
        )
    except ExpectedError:
        await song_budget.cancel(ctx, money)
        raise
    if not started.success:
        await song_budget.cancel(ctx, money)
    return started


async def _refused(ctx: MutationContext, owner: UserId, code: Code, reason: str) -> StartedVideo:
    quota = await usage.quota_of(ctx.db, owner, ctx.now)
    return StartedVideo(success=False, code=code, reason=reason, remaining_quota=quota.remaining)


def _maker(ctx: ActionContext) -> VideoMaker:
    maker: VideoMaker = ctx.vendor(VideoMaker)  # type: ignore[type-abstract]  # looked up by its interface
    return maker


@mutation
async def give_up_video(ctx: MutationContext, args: OneVideo) -> None:
    """Fail and refund a video whose job has no attempt left."""
    await budgets.release(ctx.db, ctx.settings, args.video_id)
    await video_rows.fail(ctx.db, args.video_id, code="exhausted", reason=GAVE_UP, now=ctx.now)


@action(retry=Retry(attempts=8), on_exhausted=give_up_video, lane=Lane.SONGS)
async def request_kie_video_generation(ctx: ActionContext, args: OneVideo) -> None:
    """Write the prompt and request the video from Kie. A job; idempotent, and safe to be killed at any point."""
    work = await ctx.run_mutation(start_writing_prompt, args)
    if work is None:
        return
    try:
        with budgets.paid_for(ctx.settings, work.owner, args.video_id):
            prompt = work.prompt or await _write_prompt(ctx, args, work)
        await _request(ctx, args, work, prompt)
    except VendorError as error:
        if not error.permanent and not song_rules.asks_too_much(error.retry_after, deferred=error.code == DEFERRED):
            raise
        log.warning("video failed", video=args.video_id, code=error.code)
        await ctx.run_mutation(
            fail_video_generation, FailedVideo(video_id=args.video_id, code=error.code, reason=error.reason)
        )


async def _write_prompt(ctx: ActionContext, args: OneVideo, work: VideoAssignment) -> str:
    writer: VideoPromptWriter = ctx.vendor(VideoPromptWriter)  # type: ignore[type-abstract]  # by its interface
    prompt = await writer.write_video_prompt(
        title=work.title,
        lyric=work.lyric,
        diary=work.diary,
        seconds=seconds_of(with_image=work.photo_url is not None),
        photo=work.photo_url is not None,
        person=work.person,
    )
    await ctx.run_mutation(save_video_prompt, WrittenPrompt(video_id=args.video_id, prompt=prompt))
    return prompt


async def _request(ctx: ActionContext, args: OneVideo, work: VideoAssignment, prompt: str) -> None:
    seconds = seconds_of(with_image=work.photo_url is not None)
    noted = not work.requested and await ctx.run_mutation(
        mark_video_requested, RequestedVideo(video_id=args.video_id, seconds=seconds)
    )
    if not noted:
        # An earlier attempt sent the request, and its answer was lost: the callback names the task, or the deadline
        # refunds.
        await ctx.run_mutation(create_pending_video_record, PendingVideo(video_id=args.video_id))
        return
    try:
        task_id = await _maker(ctx).generate(prompt=prompt, image_url=work.photo_url, callback_url=work.callback_url)
    except VendorError as error:
        if not error.ambiguous:
            await store_answer(ctx, mark_video_rejected, args)
            raise
        log.warning("kie's answer was lost", video=args.video_id, code=error.code)
        task_id = None
    await store_answer(ctx, create_pending_video_record, PendingVideo(video_id=args.video_id, task_id=task_id))


@mutation
async def start_writing_prompt(ctx: MutationContext, args: OneVideo) -> VideoAssignment | None:
    """Begin or resume writing; None when Kie needs no request any more."""
    video = await video_rows.locked(ctx.db, args.video_id)
    if video is None or video["status"] not in {"queued", "writing"}:
        # Canceled before it was requested, say.
        await budgets.release(ctx.db, ctx.settings, args.video_id)
        return None
    await video_rows.step(ctx.db, args.video_id, "writing", ctx.now)
    track = await ctx.db.fetchrow(
        """select m.title, m.lyric, m.diary_id, d.content from music m left join diaries d on d.id = m.diary_id
           where m.id = $1""",
        video["music_id"],
    )
    if track is None:
        return None
    return VideoAssignment(
        title=track["title"] or "",
        lyric=track["lyric"] or "",
        diary=track["content"],
        owner=video["user_id"],
        # A stable id that does not identify the user to the vendor.
        person=hashlib.sha256(video["user_id"].encode()).hexdigest(),
        prompt=video["script_prompt"],
        callback_url=callback_url(ctx.settings.site_url, args.video_id, video["callback_secret"]),
        requested=video["requested_at"] is not None,
        photo_url=await photo_address_for_vendor(ctx.db, ctx.settings, track["diary_id"], ctx.now),
    )


def callback_url(site_url: str, video_id: str, secret: str) -> str:
    """Return the callback URL of a video."""
    return f"{site_url}/http/kie-webhook/{video_id}/{secret}"


@mutation
async def save_video_prompt(ctx: MutationContext, args: WrittenPrompt) -> None:
    """Store the prompt, so that another attempt does not pay for it again."""
    await video_rows.save_prompt(ctx.db, args.video_id, args.prompt, ctx.now)


@mutation
async def mark_video_requested(ctx: MutationContext, args: RequestedVideo) -> bool:
    """Note that Kie is about to be requested, and paid; False when that was noted before."""
    noted = await video_rows.mark_requested(ctx.db, args.video_id, args.seconds, ctx.now)
    if noted:
        owner = await ctx.db.fetchval("select user_id from music_videos where id = $1", args.video_id)
        await budgets.pay(
            ctx.db, ctx.settings, "kie", "video", ctx.settings.costs.kie_video,
            account=owner, subject=args.video_id, now=ctx.now,
        )  # fmt: skip
    return noted


@mutation
async def mark_video_rejected(ctx: MutationContext, args: OneVideo) -> None:
    """Note that Kie certainly did not accept the request: it may be repeated, and costs nothing."""
    await video_rows.mark_rejected(ctx.db, args.video_id, ctx.now)
    await budgets.take_back(ctx.db, ctx.settings, "kie", ctx.settings.costs.kie_video, subject=args.video_id)


@mutation
async def create_pending_video_record(ctx: MutationContext, args: PendingVideo) -> None:
    """Move a video to rendering, with its task at Kie if that is known."""
    await budgets.release(ctx.db, ctx.settings, args.video_id)
    video = await video_rows.locked(ctx.db, args.video_id)
    if video is None or video["requested_at"] is None:
        return
    await video_rows.step(ctx.db, args.video_id, "rendering", ctx.now)
    if args.task_id is not None and video["status"] in {"writing", "rendering"}:
        await video_rows.save_task(ctx.db, args.video_id, args.task_id)


@mutation
async def fail_video_generation(ctx: MutationContext, args: FailedVideo) -> None:
    """Fail and refund a video, unless it has ended already."""
    await budgets.release(ctx.db, ctx.settings, args.video_id)
    await video_rows.fail(ctx.db, args.video_id, code=args.code, reason=args.reason, now=ctx.now)
