"""SCHEDULED JOBS: the whole timetable. Times are UTC; each tick runs once, however many workers there are."""

from __future__ import annotations

from daysong.kernel.context import MutationContext
from daysong.kernel.jobs import Cron, purge_finished
from daysong.kernel.registry import NoArgs, Room
from daysong.workflows.song_delivery import sweep_generations

room = Room("crons")


@room.mutation()
async def retention(ctx: MutationContext, args: NoArgs) -> None:  # noqa: ARG001
    """Forget finished jobs after a week."""
    await purge_finished(ctx.db, ctx.now)


TIMETABLE = (
    Cron("generation-sweeper", "* * * * *", sweep_generations),
    Cron("retention", "30 3 * * *", retention),
)
