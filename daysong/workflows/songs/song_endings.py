"""A song fails: its charge is given back, and its owner is notified, in one transaction."""

from __future__ import annotations

from daysong.features.music import generations
from daysong.kernel.functions.context import MutationContext
from daysong.workflows.push import occasions


async def fail(ctx: MutationContext, generation_id: str, *, code: str, reason: str) -> None:
    """End a generation in failure and refund its charge; nothing changes when it had ended already.

    `reason` is what its owner reads, in the app and in the notification.
    """
    if await generations.fail(ctx.db, generation_id, code=code, reason=reason, now=ctx.now):
        await occasions.song_failed(ctx, generation_id, reason)
