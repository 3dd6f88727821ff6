"""How long each table keeps its rows. Rows of other tables are kept as long as their account.

The days are in the settings (RETENTION_DAYS). Rows are deleted in batches of some hundred, each in its own transaction,
so that a purge does not block other transactions.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from daysong.features.blog.views import tally_views
from daysong.features.phone_calls.numbers import consent
from daysong.features.sharing.views import tally_share_views
from daysong.kernel.functions.context import ActionContext, MutationContext
from daysong.kernel.functions.declarations import Args, NoArgs, action, mutation
from daysong.kernel.limits.lanes import Lane
from daysong.workflows.orphan_files import remove_orphan_files
from daysong.workflows.recovery import journal

AT_ONCE = 500


class Rule(NamedTuple):
    """Rows of `table`, with the key `key`, are deleted when the condition `expired` holds; $1 is now minus the days."""

    table: str
    key: str
    expired: str


RETENTION = {
    # A cron job's key prevents a second run of its tick, so the row outlives the oldest tick that is caught up on.
    "jobs": Rule("jobs", "id", "status = 'done' and finished_at < $1"),
    "dead_jobs": Rule("jobs", "id", "status = 'dead' and finished_at < $1"),
    "queue_log": Rule("pgqueuer_log", "id", "created < $1"),
    # VAPI's also when unhandled: they have transcripts, perhaps without consent.
    "webhook_events": Rule("webhook_events", "id", "handled_at < $1 or (vendor = 'vapi' and received_at < $1)"),
    "unhandled_webhook_events": Rule("webhook_events", "id", "handled_at is null and received_at < $1"),
    # A phone may be offline this long before it retries a mutation.
    "answered_mutations": Rule("answered_mutations", "session_id, request_id", "answered_at < $1"),
    # Upload addresses that are closed; they count for a day.
    "diary_uploads": Rule("diary_uploads", "id", "created_at < $1 and (file_id is null or attached_at is not null)"),
    # The charge of a song is kept as long as the song.
    "usage_charges": Rule(
        "usage_charges c",
        "id",
        "charged_at < $1 and not exists (select from generations g where g.charge_id = c.id)",
    ),
    # Free songs and minutes of a mailbox count for thirty days.
    "mailbox_usage": Rule("mailbox_usage", "charge_id", "charged_at < $1"),
    "mailbox_minutes": Rule("mailbox_minutes", "id", "reserved_at < $1"),
    "subscription_log": Rule("subscription_log", "id", "recorded_at < $1"),
    # Customers without an account.
    "parked_customers": Rule("parked_customers", "id", "updated_at < $1"),
    "call_jobs": Rule("call_jobs", "id", "ended_at < $1"),
    "call_days": Rule("call_days", "day", "day < $1"),
    # Far longer than vendors send events about a deleted account.
    "vendor_costs": Rule("vendor_costs", "id", "at < $1"),
    "budget_reservations": Rule("budget_reservations", "reference, vendor", "expires_at < $1"),
    "budget_days": Rule("budget_days", "day, vendor", "day < $1"),
    # Of callers whose limit has fully recovered.
    "rate_limits": Rule("rate_limits", "name, key", "key <> '' and next_at < $1"),
    # Since the address was entered last. Attempts count for an hour.
    "invitations": Rule("invitations", "id", "updated_at < $1"),
    "invitation_attempts": Rule("invitation_attempts", "id", "at < $1"),
    # Long after a late receipt, and a song that is delivered after its refund.
    "push_occasions": Rule("push_occasions", "id", "created_at < $1"),
    "imports": Rule("import_progress", "archive, step", "updated_at < $1"),
    # Left by an import that never ended.
    "import_users": Rule("import_users", "old_id", "staged_at < $1"),
    "import_files": Rule("import_files", "old_id", "staged_at < $1"),
    # An old one counts for no day any more.
    "readings": Rule("readings", "id", "begun_at < $1"),
    "console_sessions": Rule("console_sessions", "token_hash", "expires_at < $1"),
    # A grant counts in its period.
    "usage_grants": Rule("usage_grants", "id", "granted_at < $1"),
    "tombstones": Rule("tombstones", "clerk_hash", "deleted_at < $1"),
    # Rows are gone within a minute; the files of the journal are kept as long.
    "removals": Rule("removals", "id", "at < $1"),
}


class OneRetention(Args):
    """A name in RETENTION."""

    name: str


@action(lane=Lane.FILES)
async def retention(ctx: ActionContext, args: NoArgs) -> None:
    """Delete expired rows, unused numbers and viewers of shared songs in small transactions; then old files."""
    for name in RETENTION:
        while await ctx.run_mutation(delete_expired_rows, OneRetention(name=name)):
            pass
    while await ctx.run_mutation(delete_unused_numbers, args):
        pass
    while await ctx.run_mutation(tally_share_views, args):
        pass
    while await ctx.run_mutation(tally_views, args):
        pass
    await remove_orphan_files(ctx)
    await journal.delete_old(ctx)


@mutation
async def delete_expired_rows(ctx: MutationContext, args: OneRetention) -> bool:
    """Delete one batch of expired rows of one kind; return whether there may be more."""
    rule, days = RETENTION[args.name], ctx.settings.retention_days[args.name]
    table = rule.table.partition(" ")[0]
    deleted = await ctx.db.execute(
        f"""delete from {table} where ({rule.key}) in (
              select {rule.key} from {rule.table} where {rule.expired} limit {AT_ONCE})""",  # noqa: S608 - constants
        ctx.now - timedelta(days=days),
    )
    return deleted == f"DELETE {AT_ONCE}"


@mutation
async def delete_unused_numbers(ctx: MutationContext, args: NoArgs) -> bool:  # noqa: ARG001
    """Delete one batch of phone numbers without any state; return whether there may be more."""
    return await consent.delete_unused(ctx)
