"""The effects of a ban or lock at Clerk: waiting songs fail, and a lock with an end is lifted by a job.

A suspended user is not called (`features/phone_calls/dialing.py`), is anonymous to queries
(`features/users/callers.py`), and Unauthorized to mutations (`features/users/store.py`).
"""

from __future__ import annotations

from daysong.features.music import generations, video_rows
from daysong.features.users import store as users
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import Args, IdText, mutation

CODE = "suspended"
REASON = "This account is locked."


class OneUser(Args):
    """The id of a user."""

    user_id: IdText


async def stop(ctx: MutationContext, user_id: str) -> None:
    """Fail and refund the songs and videos of a suspended account whose vendor was not requested yet.

    Does nothing for other accounts. The caller's transaction holds the account's lock.
    """
    row = await ctx.db.fetchrow(
        "select suspension, suspension_ends_at from users where id = $1 and suspension is not null", user_id
    )
    if row is None:
        return
    not_requested = await ctx.db.fetch(
        "select id from generations where user_id = $1 and status in ('queued', 'writing') and asked_at is null",
        user_id,
    )
    for each in not_requested:
        await generations.fail(ctx.db, each["id"], code=CODE, reason=REASON, now=ctx.now)
    videos = await ctx.db.fetch(
        "select id from music_videos where user_id = $1 and status in ('queued', 'writing') and requested_at is null",
        user_id,
    )
    for each in videos:
        await video_rows.fail(ctx.db, each["id"], code=CODE, reason=REASON, now=ctx.now)
    ends_at = row["suspension_ends_at"]
    if ends_at is not None:
        key = f"lock of {user_id} until {ends_at.isoformat()}"
        await ctx.schedule(lift_lock, OneUser(user_id=user_id), delay=ends_at - ctx.now, key=key)


@mutation
async def lift_lock(ctx: MutationContext, args: OneUser) -> None:
    """End a lock that has expired. A job; a prolonged lock, or a ban, stays."""
    await users.lift_lock(ctx, args.user_id)
