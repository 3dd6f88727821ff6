"""What people are notified of. Each function is called in the transaction of what it tells of.

An occasion is inserted once for its subject, however often it is reported, and its job is scheduled only with the
transaction's commit. Callers hold the account's lock, or are the only ones to take this step.
"""

from __future__ import annotations

from daysong.features.push_notifications import store
from daysong.features.push_notifications.rules import MISSED_CALLS, MISSED_IN_A_ROW, Kind, is_missed_streak
from daysong.kernel.functions.context import MutationContext
from daysong.workflows.push.sending import OneOccasion, send_notification


async def song_ready(ctx: MutationContext, generation_id: str) -> None:
    """The first track of a song can be heard."""
    await _of_song(ctx, "music_ready", generation_id)


async def song_failed(ctx: MutationContext, generation_id: str, reason: str) -> None:
    """A song failed; `reason` is the sentence that its owner reads."""
    await _of_song(ctx, "music_failed", generation_id, reason)


async def video_ready(ctx: MutationContext, owner: str, *, video_id: str, music_id: str, diary_id: str | None) -> None:
    """The video of a track can be watched."""
    await _record(ctx, owner, "video_ready", video_id, music_id=music_id, video_id=video_id, diary_id=diary_id)


async def call_missed(ctx: MutationContext, owner: str, job_id: str) -> None:
    """A scheduled call was not taken: tell of it when it is the second in a row, and of no later one of that streak."""
    rows = await ctx.db.fetch(
        """select id, status = 'failed' as missed from call_jobs
           where user_id = $1 and kind = 'scheduled'
             and (status = 'completed' or status = 'failed' and error_code = any($2))
           order by scheduled_for desc, id desc limit $3""",
        owner, MISSED_CALLS, MISSED_IN_A_ROW + 1,
    )  # fmt: skip
    if job_id in {row["id"] for row in rows} and is_missed_streak([row["missed"] for row in rows]):
        await _record(ctx, owner, "call_missed", rows[0]["id"])


async def _of_song(ctx: MutationContext, kind: Kind, generation_id: str, reason: str | None = None) -> None:
    row = await ctx.db.fetchrow(
        "select id, user_id, diary_id from music where generation_id = $1 and music_index = 0", generation_id
    )
    if row is not None:
        await _record(
            ctx, row["user_id"], kind, generation_id, music_id=row["id"], diary_id=row["diary_id"], reason=reason
        )


async def _record(
    ctx: MutationContext, owner: str, kind: Kind, subject: str, *, music_id: str | None = None,
    video_id: str | None = None, diary_id: str | None = None, reason: str | None = None,
) -> None:  # fmt: skip
    if not ctx.settings.offers("push"):
        return
    occasion_id = await store.insert_occasion(
        ctx, owner, kind, subject, music_id=music_id, video_id=video_id, diary_id=diary_id, reason=reason
    )
    if occasion_id is not None:
        await ctx.schedule(send_notification, OneOccasion(occasion_id=occasion_id), account=owner)
