"""How long each table keeps its rows. What is not declared here lives as long as the account it belongs to.

Days come from the settings (RETENTION_DAYS). Rows are deleted some hundred at a time, each time in a transaction of its
own, so that a purge blocks no other transaction.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from daysong.features.phone_calls.numbers import consent
from daysong.features.sharing.views import tally_share_views
from daysong.kernel.functions.context import ActionContext, MutationContext
from daysong.kernel.functions.declarations import Args, NoArgs, action, mutation
from daysong.kernel.limits.lanes import Lane
from daysong.workflows.orphan_files import remove_orphan_files

AT_ONCE = 500


class Kept(NamedTuple):
    """Rows of `table`, known by `key`, are forgotten when `over` is true of $1: the moment that many days ago."""

    table: str
    key: str
    over: str


RETENTION = {
    # Its key keeps a cron from running twice for one minute, so it outlasts the oldest tick that is made up for.
    "jobs": Kept("jobs", "id", "status = 'done' and finished_at < $1"),
    "dead_jobs": Kept("jobs", "id", "status = 'dead' and finished_at < $1"),
    "queue_log": Kept("pgqueuer_log", "id", "created < $1"),
    # Of VAPI also what could not be handled: it was said by people, perhaps without their consent.
    "webhook_events": Kept("webhook_events", "id", "handled_at < $1 or (vendor = 'vapi' and received_at < $1)"),
    "unhandled_webhook_events": Kept("webhook_events", "id", "handled_at is null and received_at < $1"),
    # A phone may sleep for so long before it asks again.
    "answered_mutations": Kept("answered_mutations", "session_id, request_id", "answered_at < $1"),
    # A charge that a song holds lives as long as the song.
    "usage_charges": Kept(
        "usage_charges c",
        "id",
        "charged_at < $1 and not exists (select from generations g where g.charge_id = c.id)",
    ),
    # Free songs and minutes of a mailbox count for thirty days.
    "mailbox_usage": Kept("mailbox_usage", "charge_id", "charged_at < $1"),
    "mailbox_minutes": Kept("mailbox_minutes", "id", "reserved_at < $1"),
    "subscription_log": Kept("subscription_log", "id", "recorded_at < $1"),
    # Customers that no account has claimed.
    "parked_customers": Kept("parked_customers", "id", "updated_at < $1"),
    "call_jobs": Kept("call_jobs", "id", "ended_at < $1"),
    "call_days": Kept("call_days", "day", "day < $1"),
    # Far longer than a vendor goes on sending events about an account that is gone.
    "vendor_costs": Kept("vendor_costs", "id", "at < $1"),
    "budget_reservations": Kept("budget_reservations", "reference, vendor", "expires_at < $1"),
    "budget_days": Kept("budget_days", "day, vendor", "day < $1"),
    # Of callers who have not asked for so long that they may ask as often as anybody.
    "rate_limits": Kept("rate_limits", "name, key", "key <> '' and next_at < $1"),
    "tombstones": Kept("tombstones", "clerk_hash", "deleted_at < $1"),
}


class OneRetention(Args):
    """A name in RETENTION."""

    name: str


@action(lane=Lane.FILES)
async def retention(ctx: ActionContext, args: NoArgs) -> None:
    """Forget what is over, in small transactions: rows, numbers, viewers of shared songs; then files without a row."""
    for name in RETENTION:
        while await ctx.run_mutation(forget_rows, OneRetention(name=name)):
            pass
    while await ctx.run_mutation(forget_phone_numbers, args):
        pass
    while await ctx.run_mutation(tally_share_views, args):
        pass
    await remove_orphan_files(ctx)


@mutation
async def forget_rows(ctx: MutationContext, args: OneRetention) -> bool:
    """Delete some rows of one kind that have been kept for long enough; return whether there are more."""
    kept, days = RETENTION[args.name], ctx.settings.retention_days[args.name]
    table = kept.table.partition(" ")[0]
    gone = await ctx.db.execute(
        f"""delete from {table} where ({kept.key}) in (
              select {kept.key} from {kept.table} where {kept.over} limit {AT_ONCE})""",  # noqa: S608 - constants
        ctx.now - timedelta(days=days),
    )
    return gone == f"DELETE {AT_ONCE}"


@mutation
async def forget_phone_numbers(ctx: MutationContext, args: NoArgs) -> bool:  # noqa: ARG001
    """Forget some numbers that were called and need not be remembered; return whether there are more."""
    return await consent.forget(ctx)
