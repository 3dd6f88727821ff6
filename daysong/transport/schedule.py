"""SCHEDULED JOBS: the whole timetable. Times are UTC; each tick runs once, however many workers there are."""

from __future__ import annotations

from daysong.features.phone_calls import consent
from daysong.features.phone_calls.planner import execute_scheduled_calls
from daysong.features.sharing.views import tally_share_views
from daysong.features.subscriptions.reconciliation import reconcile_stale_subscriptions
from daysong.features.users import tombstones
from daysong.kernel.context import ActionContext, MutationContext
from daysong.kernel.jobs import Cron, purge_finished
from daysong.kernel.registry import NoArgs, Room
from daysong.transport import answered
from daysong.transport.webhooks import inbox
from daysong.workflows.account_deletion import resume_erasures
from daysong.workflows.call_reaper import reap_calls
from daysong.workflows.orphan_files import remove_orphan_files
from daysong.workflows.song_delivery import sweep_generations

room = Room("crons")


@room.action()
async def retention(ctx: ActionContext, args: NoArgs) -> None:
    """Forget what nobody needs any more, in small transactions.

    Jobs, events, tombstones, answers to sockets, numbers, who looked; then files.
    """
    await ctx.run_mutation(forget_finished_jobs, args)
    while await ctx.run_mutation(forget_handled_events, args):
        pass
    while await ctx.run_mutation(forget_tombstones, args):
        pass
    while await ctx.run_mutation(forget_phone_numbers, args):
        pass
    while await ctx.run_mutation(forget_answered_mutations, args):
        pass
    while await ctx.run_mutation(tally_share_views, args):
        pass
    await remove_orphan_files(ctx)


@room.mutation()
async def forget_finished_jobs(ctx: MutationContext, args: NoArgs) -> None:  # noqa: ARG001
    """Forget finished jobs after a week, and the queue's own notes of them."""
    await purge_finished(ctx.db, ctx.now)


@room.mutation()
async def forget_handled_events(ctx: MutationContext, args: NoArgs) -> bool:  # noqa: ARG001
    """Forget some webhook events of over 30 days ago; whether there are more."""
    return await inbox.forget(ctx)


@room.mutation()
async def forget_tombstones(ctx: MutationContext, args: NoArgs) -> bool:  # noqa: ARG001
    """Forget some accounts that were deleted over a year ago; whether there are more."""
    return await tombstones.forget(ctx)


@room.mutation()
async def forget_phone_numbers(ctx: MutationContext, args: NoArgs) -> bool:  # noqa: ARG001
    """Forget some numbers that were called and need not be remembered; whether there are more."""
    return await consent.forget(ctx)


@room.mutation()
async def forget_answered_mutations(ctx: MutationContext, args: NoArgs) -> bool:  # noqa: ARG001
    """Forget some answers given to sockets over 14 days ago; whether there are more."""
    return await answered.forget(ctx)


TIMETABLE = (
    Cron("call-executor", "* * * * *", execute_scheduled_calls),
    Cron("call-reaper", "*/5 * * * *", reap_calls),
    Cron("generation-sweeper", "* * * * *", sweep_generations),
    Cron("erasure-sweeper", "15 * * * *", resume_erasures),
    Cron("revenuecat-reconciliation", "0 0 * * *", reconcile_stale_subscriptions),
    Cron("retention", "30 3 * * *", retention),
)
