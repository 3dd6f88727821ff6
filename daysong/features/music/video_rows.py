"""Rows of `music_videos`: start one, move it along its steps, end it with its refund.

Every function is part of its caller's transaction, and idempotent.
"""

from __future__ import annotations

import secrets
from datetime import datetime

import asyncpg
from prometheus_client import Counter

from daysong.features.music.video_rules import ANSWER_LOST, LIVE, POLL_AFTER, STEPS, Status
from daysong.features.subscriptions.quotas import usage
from daysong.features.users import store as users
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.ids import ChargeId, UserId, VideoId
from daysong.kernel.monitoring.counting import count, label

VIDEOS = Counter("daysong_videos", "Videos that were begun, and how they ended", ["outcome", "code"])


async def live_for(db: Transaction, music_id: str) -> bool:
    """Return whether a video of that track is in progress."""
    found = await db.fetchval("select true from music_videos where music_id = $1 and status = any($2)", music_id, LIVE)
    return found is not None


async def insert(db: Transaction, *, owner: UserId, music_id: str, charge_id: ChargeId, now: datetime) -> VideoId:
    """Insert a queued video; return its id. A unique index lets only one live video of a track commit."""
    video_id = VideoId.new(now)
    await db.execute(
        """insert into music_videos (id, user_id, music_id, charge_id, status, callback_secret, created_at, updated_at)
           values ($1, $2, $3, $4, 'queued', $5, $6, $6)""",
        video_id, owner, music_id, charge_id, secrets.token_urlsafe(32), now,
    )  # fmt: skip
    count(VIDEOS.labels("begun", ""))
    return video_id


async def locked(db: Transaction, video_id: str) -> asyncpg.Record | None:
    """Lock the account of a video, then the video; return its row, or None when either is gone."""
    owner = await db.fetchval("select user_id from music_videos where id = $1", video_id)
    if owner is None or not await users.lock_account(db, owner):
        return None
    return await db.fetchrow("select * from music_videos where id = $1 for update", video_id)


async def step(db: Transaction, video_id: str, to: Status, now: datetime) -> bool:
    """Move to status `to` if the present one allows it; return whether it did."""
    allowed = [status for status, following in STEPS.items() if to in following]
    moved = await db.fetchval(
        """update music_videos set status = $2, updated_at = $4,
             rendering_since = case when $2 = 'rendering' then $4 else rendering_since end
           where id = $1 and status = any($3) returning true""",
        video_id, to, allowed, now,
    )  # fmt: skip
    return moved is not None


async def save_prompt(db: Transaction, video_id: str, prompt: str, now: datetime) -> None:
    """Store the prompt of a video that was not requested from Kie yet."""
    await db.execute(
        """update music_videos set script_prompt = $2, updated_at = $3
           where id = $1 and status = 'writing' and requested_at is null""",
        video_id, prompt, now,
    )  # fmt: skip


async def mark_requested(db: Transaction, video_id: str, seconds: float, now: datetime) -> bool:
    """Note that Kie is about to be requested; False when that was noted before: it must not be requested again."""
    noted = await db.fetchval(
        """update music_videos set requested_at = $3, duration = $2, updated_at = $3
           where id = $1 and status = 'writing' and requested_at is null returning true""",
        video_id, seconds, now,
    )  # fmt: skip
    return noted is not None


async def mark_rejected(db: Transaction, video_id: str, now: datetime) -> None:
    """Note that Kie did not accept the request: it may be repeated, and a video canceled meanwhile is refunded."""
    refused = await db.fetchrow(
        """update music_videos set requested_at = null, updated_at = $2
           where id = $1 and status in ('writing', 'canceled') and task_id is null and requested_at is not null
           returning status, charge_id""",
        video_id, now,
    )  # fmt: skip
    if refused is not None and refused["status"] == "canceled":
        await usage.refund(db, refused["charge_id"], "not_bought", now)


async def save_task(db: Transaction, video_id: str, task_id: str) -> None:
    """Store the task of a video that has none; a task of another video is not taken over."""
    await db.execute(
        """update music_videos set task_id = $2
           where id = $1 and task_id is null and not exists (select from music_videos where task_id = $2)""",
        video_id, task_id,
    )  # fmt: skip


async def save_result(db: Transaction, video_id: str, url: str) -> None:
    """Store where Kie keeps the finished video."""
    await db.execute("update music_videos set result_url = $2 where id = $1", video_id, url)


async def deliver(db: Transaction, video_id: str, file_id: str, now: datetime) -> bool:
    """Move a rendering video to ready, with its file; return whether it did.

    So is a video that failed since Kie's answer was lost. Its refund stands.
    """
    delivered = await db.fetchval(
        """update music_videos set status = 'ready', file_id = $2, failure_code = null, failure_reason = null,
             updated_at = $3
           where id = $1 and (status = 'rendering' or status = 'failed' and failure_code = $4) returning music_id""",
        video_id, file_id, now, ANSWER_LOST,
    )  # fmt: skip
    if delivered is None:
        return False
    count(VIDEOS.labels("ready", ""))
    await choose_primary(db, delivered, now)
    return True


async def choose_primary(db: Transaction, music_id: str, now: datetime) -> None:
    """Make the newest ready video of a track its primary one, unless it has one."""
    await db.execute(
        """update music_videos set is_primary = true, updated_at = $2
           where id = (select id from music_videos where music_id = $1 and status = 'ready'
                       order by created_at desc, id desc limit 1)
             and not exists (select from music_videos where music_id = $1 and is_primary)""",
        music_id, now,
    )  # fmt: skip


async def fail(db: Transaction, video_id: str, *, code: str, reason: str, now: datetime) -> bool:
    """End in failure and refund the charge; False, and nothing changes, when it had ended already."""
    if await locked(db, video_id) is None:
        return False
    charge_id = await db.fetchval(
        """update music_videos set status = 'failed', failure_code = $2, failure_reason = $3, updated_at = $4
           where id = $1 and status = any($5) returning charge_id""",
        video_id, code, reason, now, LIVE,
    )  # fmt: skip
    if charge_id is None:
        return False
    await usage.refund(db, charge_id, code, now)
    count(VIDEOS.labels("failed", label(code)))
    return True


async def cancel(db: Transaction, video_id: str, *, reason: str, now: datetime) -> bool:
    """Cancel a video its owner no longer wants; False, and nothing changes, when it had ended already.

    The charge is refunded only while Kie was not requested: afterwards the video is bought.
    """
    canceled = await db.fetchrow(
        """update music_videos set status = 'canceled', updated_at = $2
           where id = $1 and status = any($3) returning charge_id, requested_at""",
        video_id, now, LIVE,
    )  # fmt: skip
    if canceled is None:
        return False
    count(VIDEOS.labels("canceled", label(reason)))
    if canceled["requested_at"] is None:
        await usage.refund(db, canceled["charge_id"], reason, now)
    return True


async def cancel_of_track(db: Transaction, music_id: str, *, reason: str, now: datetime) -> None:
    """Cancel the live video of a track, if there is one. See `cancel`."""
    for row in await db.fetch("select id from music_videos where music_id = $1 and status = any($2)", music_id, LIVE):
        await cancel(db, row["id"], reason=reason, now=now)


async def cancel_of_diary(db: Transaction, diary_id: str, *, reason: str, now: datetime) -> None:
    """Cancel the live videos of a diary's tracks. See `cancel`."""
    live = await db.fetch(
        """select v.id from music m join music_videos v on v.music_id = m.id
           where m.diary_id = $1 and v.status = any($2)""",
        diary_id, LIVE,
    )  # fmt: skip
    for row in live:
        await cancel(db, row["id"], reason=reason, now=now)


async def overdue_writing(db: Transaction, before: datetime) -> list[str]:
    """Return videos begun before that moment which were not requested from Kie yet."""
    rows = await db.fetch(
        "select id from music_videos where status in ('queued', 'writing') and created_at < $1 limit 500", before
    )
    return [row["id"] for row in rows]


async def due_for_poll(db: Transaction, now: datetime) -> list[asyncpg.Record]:
    """Return videos that render for longer than a callback takes, and whose next poll is due."""
    return await db.fetch(
        """select id, status, task_id, polls, created_at, rendering_since from music_videos
           where status = 'rendering' and rendering_since <= $1 and (next_poll_at is null or next_poll_at <= $2)
           order by rendering_since limit 500""",
        now - POLL_AFTER, now,
    )  # fmt: skip
