"""The end of the hold after a restore: work that the database remembers as due is not done a second time.

Between the backup and the restore, songs may have been ordered, calls made and notifications shown of which the
restored database knows nothing. Whether they were cannot be known, so none is repeated:

    a song or video that was not ordered yet      fails, and its charge is refunded
    one that was ordered before the backup        is asked for at its vendor, which costs nothing; its owner is not
                                                  notified
    a call that has been due                      is missed; the next one is planned from now on
    a call that was asked for before the backup   is asked for at VAPI by the reaper
    a notification that was not sent              is not sent
    anything else                                 its jobs run: they are idempotent
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

from daysong.features.music import generations, video_rows
from daysong.features.music.rules import LIVE
from daysong.features.music.video_rules import LIVE as LIVE_VIDEOS
from daysong.features.phone_calls.rules import REASONS
from daysong.features.phone_calls.schedule.calendar import is_known, next_run
from daysong.kernel import logs
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import NoArgs, Result, mutation, query
from daysong.kernel.ids import PushOccasionId
from daysong.kernel.jobs import hold
from daysong.kernel.limits import budgets
from daysong.kernel.time.clock import to_ms
from daysong.workflows.support import audit

CODE = "restored"
REASON = "Our records of this one were lost. It costs nothing; please try again."

# Of songs and videos that are not ended: those that were not ordered, and began before the hold.
_UNORDERED_SONGS = """
    select id from generations where status = any($1) and asked_at is null and created_at <= $2 order by id"""
_UNORDERED_VIDEOS = """
    select id from music_videos where status = any($1) and requested_at is null and created_at <= $2 order by id"""

log = logs.get_logger("recovery")


class HoldStatus(Result):
    """Since when jobs wait, and when the backup was taken that was restored, in ms; None when they do not wait."""

    since: float | None = None
    snapshot_at: float | None = None


class Resumed(Result):
    """What was not repeated: songs and videos that failed, calls missed, notifications not sent."""

    songs: float = 0
    videos: float = 0
    calls: float = 0
    notifications: float = 0
    was_held: bool = True


@query
async def get_hold(ctx: QueryContext, args: NoArgs) -> HoldStatus:  # noqa: ARG001
    """Return whether jobs wait after a restore."""
    found = await hold.current(ctx.db)
    return HoldStatus() if found is None else HoldStatus(since=to_ms(found.since), snapshot_at=to_ms(found.snapshot_at))


@mutation
async def resume(ctx: MutationContext, args: NoArgs) -> Resumed:  # noqa: ARG001
    """End the hold after a restore. Idempotent."""
    held = await ctx.db.fetchrow("select since from holds for update")
    if held is None:
        return Resumed(was_held=False)
    notifications = await _drop_notifications(ctx, held["since"])
    songs = await _fail(ctx, _UNORDERED_SONGS, LIVE, held["since"], generations.fail)
    videos = await _fail(ctx, _UNORDERED_VIDEOS, LIVE_VIDEOS, held["since"], video_rows.fail)
    calls = await _miss_calls(ctx)
    await ctx.db.execute("delete from holds")
    counts = {"songs": songs, "videos": videos, "calls": calls, "notifications": notifications}
    await audit.record(ctx, "resumed after a restore", details=counts)
    log.info("resumed after a restore", songs=songs, videos=videos, calls=calls, notifications=notifications)
    return Resumed(songs=songs, videos=videos, calls=calls, notifications=notifications)


async def _fail(
    ctx: MutationContext, unordered: str, live: Sequence[str], since: datetime, fail: Callable[..., Awaitable[bool]]
) -> int:
    """Fail and refund what was not ordered; return how many."""
    rows = await ctx.db.fetch(unordered, live, since)
    for row in rows:
        await budgets.release(ctx.db, ctx.settings, row["id"])
        await fail(ctx.db, row["id"], code=CODE, reason=REASON, now=ctx.now)
    return len(rows)


async def _drop_notifications(ctx: MutationContext, since: datetime) -> int:
    """Mark as sent what waits to be sent, and what ordered songs and videos would tell of."""
    done = await ctx.db.execute(
        "update push_occasions set taken_at = $2 where taken_at is null and created_at <= $1", since, ctx.now
    )
    await ctx.db.execute(
        """update push_deliveries set state = 'lost', not_before = null, updated_at = $1
           where state in ('waiting', 'sending')""",
        ctx.now,
    )
    rows = await ctx.db.fetch(
        """select user_id, kind, id as subject from generations, unnest($3::text[]) as kind
           where status = any($1) and created_at <= $5
           union all
           select user_id, kind, id from music_videos, unnest($4::text[]) as kind
           where status = any($2) and created_at <= $5""",
        LIVE, LIVE_VIDEOS, ["music_ready", "music_failed"], ["video_ready"], since,
    )  # fmt: skip
    await ctx.db.execute(
        """insert into push_occasions (id, user_id, kind, subject, created_at, taken_at)
           select o.*, $5, $5 from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as o
           on conflict (kind, subject) do nothing""",
        [PushOccasionId.new(ctx.now) for _ in rows], [row["user_id"] for row in rows], [row["kind"] for row in rows],
        [row["subject"] for row in rows], ctx.now,
    )  # fmt: skip
    return int(done.rpartition(" ")[2])


async def _miss_calls(ctx: MutationContext) -> int:
    """Cancel calls that wait, and plan the next ones of all settings from now on."""
    await ctx.db.execute("lock table call_plans in exclusive mode")
    done = await ctx.db.execute(
        """update call_jobs set status = 'canceled', error_code = 'missed', error_message = $2, ended_at = $1,
             updated_at = $1 where status = 'queued' and asked_at is null""",
        ctx.now, REASONS["missed"],
    )  # fmt: skip
    rows = await ctx.db.fetch(
        "select id, timezone, local_minutes, byday_mask from call_settings where next_run_at <= $1 for update", ctx.now
    )
    due = [
        (row["id"], next_run(after=ctx.now, timezone=row["timezone"], local_minutes=row["local_minutes"],
                             byday_mask=row["byday_mask"]))
        for row in rows if is_known(row["timezone"])
    ]  # fmt: skip
    await ctx.db.execute(
        """update call_settings s set next_run_at = n.due, updated_at = $3
           from unnest($1::text[], $2::timestamptz[]) as n (id, due) where s.id = n.id""",
        [settings_id for settings_id, _ in due], [moment for _, moment in due], ctx.now,
    )  # fmt: skip
    return int(done.rpartition(" ")[2]) + len(rows)
