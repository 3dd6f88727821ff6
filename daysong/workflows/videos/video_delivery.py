"""What becomes of a requested video: callbacks, polls, and the copy of the finished file.

A callback is only a hint: the task is read from Kie again before anything changes. A task that a callback names is the
video's own only if Kie's record of it has the video's callback URL.
"""

from __future__ import annotations

from datetime import timedelta

import asyncpg

from daysong.features.diary_media.file_types import is_photo, media_type
from daysong.features.music import video_rows, video_rules
from daysong.features.music.videos import OneVideo
from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import NoArgs, Result, Retry, action, mutation, query
from daysong.kernel.ids import FileId
from daysong.kernel.limits.lanes import Lane
from daysong.vendors.alarms import alarm
from daysong.vendors.files import VideoFetcher
from daysong.vendors.kie.answers import KieCallback
from daysong.vendors.kie.client import VideoMaker
from daysong.vendors.storage import FileStore
from daysong.workflows.push import occasions
from daysong.workflows.songs.song_files import file_id_of
from daysong.workflows.videos.song_to_video import callback_url

MAX_VIDEO = 300 * 1024 * 1024
# Enough of a file to recognize its type.
HEAD = 4096
KIND = "video"
TOO_LATE = "The video took too long. It was not counted."
NOT_MADE = "The video could not be made this time. It was not counted."

log = logs.get_logger("videos")


class OneTask(OneVideo):
    """A video, and the task at Kie that may be its own."""

    task_id: str | None = None


class AwaitedVideo(Result):
    """A video that may still be delivered."""

    task_id: str | None
    callback_url: str
    secret: str
    result_url: str | None


class CheckedTask(OneTask):
    """What Kie says of a video's task."""

    state: str = "unknown"
    result_url: str | None = None
    code: str = ""
    reason: str = ""


class StoredVideo(OneVideo):
    """The copy of a finished video in our storage."""

    file_id: str
    content_type: str
    size: int


async def on_callback(ctx: MutationContext, video_id: str, callback: KieCallback) -> str:
    """Have the task of a callback read again; return the outcome in a word."""
    video = await video_rows.locked(ctx.db, video_id)
    if video is None:
        return "video is gone"
    if video["requested_at"] is None:
        return "ignored"
    if video["status"] == "writing":
        # The answer to the request is lost, or still to be written.
        await video_rows.step(ctx.db, video_id, "rendering", ctx.now)
    elif not _is_awaited(video):
        return "ignored"
    if video["task_id"] not in {None, callback.task_id}:
        return "another task"
    await ctx.schedule(check_video, OneTask(video_id=video_id, task_id=callback.task_id))
    return "to be checked"


def _is_awaited(video: asyncpg.Record) -> bool:
    return video["status"] == "rendering" or video_rules.is_gift(video["status"], video["failure_code"])


@mutation
async def fail_video_if_overdue(ctx: MutationContext, args: OneTask) -> None:
    """Fail and refund a video that has been in its step for too long."""
    video = await video_rows.locked(ctx.db, args.video_id)
    if video is not None and _is_overdue(video, ctx):
        await _fail_overdue(ctx, video)


async def _fail_overdue(ctx: MutationContext, video: asyncpg.Record) -> None:
    lost = video["status"] == "rendering" and video["task_id"] is None
    code = video_rules.ANSWER_LOST if lost else "too_late"
    await video_rows.fail(ctx.db, video["id"], code=code, reason=TOO_LATE, now=ctx.now)


def _is_overdue(video: asyncpg.Record, ctx: MutationContext) -> bool:
    return video_rules.is_overdue(
        video["status"],
        created_at=video["created_at"],
        rendering_since=video["rendering_since"],
        named=video["task_id"] is not None,
        now=ctx.now,
    )


@query
async def awaited_video(ctx: QueryContext, args: OneVideo) -> AwaitedVideo | None:
    """Return a video that may still be delivered; None for any other."""
    video = await ctx.db.fetchrow(
        """select id, status, failure_code, task_id, callback_secret, result_url from music_videos
           where id = $1 and requested_at is not null""",
        args.video_id,
    )
    if video is None or not _is_awaited(video):
        return None
    return AwaitedVideo(
        task_id=video["task_id"],
        callback_url=callback_url(ctx.settings.site_url, args.video_id, video["callback_secret"]),
        secret=video["callback_secret"],
        result_url=video["result_url"],
    )


@action(retry=Retry(attempts=3, outlasts_outages=False), on_exhausted=fail_video_if_overdue, lane=Lane.SONGS)
async def check_video(ctx: ActionContext, args: OneTask) -> None:
    """Read the state of a video's task from Kie, and apply it. A job; after failures the sweeper polls again."""
    video = await ctx.run_query(awaited_video, OneVideo(video_id=args.video_id))
    if video is None or args.task_id is None or video.task_id not in {None, args.task_id}:
        return
    maker: VideoMaker = ctx.vendor(VideoMaker)  # type: ignore[type-abstract]  # looked up by its interface
    task = await maker.task(args.task_id)
    log.info("task read", video=args.video_id, state=task.state, status=task.status)
    if video.task_id is None and task.callback_url != video.callback_url:
        log.warning("callback named another's task", video=args.video_id)
        return
    await ctx.run_mutation(
        apply_video_task,
        CheckedTask(
            video_id=args.video_id,
            task_id=args.task_id,
            state=task.state,
            result_url=next(iter(task.result_urls), None),
            code=task.code,
            reason=task.reason,
        ),
    )


@mutation
async def apply_video_task(ctx: MutationContext, args: CheckedTask) -> None:
    """Apply what Kie says of a task: have the result copied, or fail. Past the deadline, no result is a failure."""
    video = await video_rows.locked(ctx.db, args.video_id)
    if video is None or args.task_id is None or not _is_awaited(video):
        return
    if video["task_id"] is None:
        await video_rows.save_task(ctx.db, args.video_id, args.task_id)
    elif video["task_id"] != args.task_id:
        return
    if args.state == "failed":
        await video_rows.fail(
            ctx.db, args.video_id, code=f"kie_{args.code}", reason=args.reason or NOT_MADE, now=ctx.now
        )
    elif args.state == "done" and args.result_url is not None:
        await video_rows.save_result(ctx.db, args.video_id, args.result_url)
        if _is_overdue(video, ctx):
            await _fail_overdue(ctx, video)
            return
        key = f"keep {args.video_id} {video['polls']}"
        await ctx.schedule(keep_video, OneTask(video_id=args.video_id), key=key, account=video["user_id"])
    elif _is_overdue(video, ctx):
        await _fail_overdue(ctx, video)


@action(retry=Retry(attempts=4, first=timedelta(seconds=5)), on_exhausted=fail_video_if_overdue, lane=Lane.FILES)
async def keep_video(ctx: ActionContext, args: OneTask) -> None:
    """Copy a finished video into our storage; then it is ready. A job.

    What cannot be fetched now is tried again, and with a newly read URL by the sweeper, until the deadline.
    """
    video = await ctx.run_query(awaited_video, OneVideo(video_id=args.video_id))
    if video is None or video.result_url is None:
        return
    file_id = file_id_of(video.secret, args.video_id, KIND)
    try:
        content_type, size = await _copy(ctx, video.result_url, file_id)
    except VendorError as error:
        if error.code == "file_refused":
            alarm(log, "kie", "file_refused")
        if not error.permanent:
            raise
        log.warning("video cannot be copied", video=args.video_id, code=error.code)
        return
    await ctx.run_mutation(
        complete_kie_video_task,
        StoredVideo(video_id=args.video_id, file_id=file_id, content_type=content_type, size=size),
    )


async def _copy(ctx: ActionContext, url: str, file_id: FileId) -> tuple[str, int]:
    """Copy a video without holding it in memory; return its media type and size. Errors: VendorError."""
    store = ctx.vendor(FileStore)
    async with store.receive() as incoming:
        beginning = b""
        async with ctx.vendor(VideoFetcher).opened(url, max_bytes=MAX_VIDEO) as chunks:
            async for chunk in chunks:
                beginning = beginning if len(beginning) >= HEAD else beginning + chunk
                await incoming.write(chunk)
        kind = media_type(beginning)
        if kind is None or is_photo(kind):
            raise VendorError("files", "not a video", permanent=False, code="not_a_video")
        await store.keep(incoming, file_id, kind)
        return kind, incoming.size


@mutation
async def complete_kie_video_task(ctx: MutationContext, args: StoredVideo) -> None:
    """Serve a video from our copy: it is ready. Changes nothing when it has ended, or is gone."""
    video = await video_rows.locked(ctx.db, args.video_id)
    if video is None or not _is_awaited(video):
        return
    await ctx.db.execute(
        """insert into files (id, user_id, content_type, size, created_at) values ($1, $2, $3, $4, $5)
           on conflict (id) do update set content_type = excluded.content_type, size = excluded.size""",
        args.file_id, video["user_id"], args.content_type, args.size, ctx.now,
    )  # fmt: skip
    if await video_rows.deliver(ctx.db, args.video_id, args.file_id, ctx.now):
        diary_id = await ctx.db.fetchval("select diary_id from music where id = $1", video["music_id"])
        await occasions.video_ready(
            ctx, video["user_id"], video_id=args.video_id, music_id=video["music_id"], diary_id=diary_id
        )


@mutation
async def sweep_videos(ctx: MutationContext, args: NoArgs) -> None:  # noqa: ARG001
    """Poll videos whose callback is missing, and fail those that are overdue. A job for each."""
    for video_id in await video_rows.overdue_writing(ctx.db, ctx.now - video_rules.WRITING_DEADLINE):
        await _fail_soon(ctx, video_id)
    for video in await video_rows.due_for_poll(ctx.db, ctx.now):
        if video["task_id"] is None:
            # The answer to our request was lost, and no callback has named the task: there is nothing to read.
            if _is_overdue(video, ctx):
                await _fail_soon(ctx, video["id"])
            continue
        key = f"check {video['id']} {video['polls']}"
        await ctx.schedule(check_video, OneTask(video_id=video["id"], task_id=video["task_id"]), key=key)
        await ctx.db.execute(
            "update music_videos set polls = $2, next_poll_at = $3 where id = $1",
            video["id"], video["polls"] + 1, ctx.now + video_rules.poll_pause(video["polls"]),
        )  # fmt: skip


async def _fail_soon(ctx: MutationContext, video_id: str) -> None:
    # Each in its own transaction, which holds one account's lock; at most one job in ten minutes.
    window = int(ctx.now.timestamp() // 600)
    await ctx.schedule(fail_video_if_overdue, OneTask(video_id=video_id), key=f"overdue {video_id} {window}")
