"""What vendors' stored webhook events do: each is handled by a job of its own, once.

A handler locks its event, applies it, notes the outcome, and removes what need not be kept of it, in one transaction.
"""

from __future__ import annotations

from daysong.features.phone_calls.numbers import ownership
from daysong.features.subscriptions import accounts, revenuecat_billing
from daysong.features.users.store import ClerkUpdate
from daysong.kernel import inbox
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import mutation
from daysong.kernel.inbox import OneEvent
from daysong.vendors.clerk import events as clerk_events
from daysong.vendors.clerk.events import ClerkEvent
from daysong.vendors.revenuecat import events as revenuecat_events
from daysong.vendors.suno.answers import parse_callback
from daysong.vendors.vapi.reports import parse_message
from daysong.workflows.accounts import account_deletion, suspended_accounts
from daysong.workflows.calls import call_reports
from daysong.workflows.songs import song_delivery

# Outcomes of Clerk's events about users without an account: nothing of such an event is kept.
WITHOUT_ACCOUNT = frozenset({"account is deleted", "deleted before", "unknown user"})


@mutation
async def handle_clerk_event(ctx: MutationContext, args: OneEvent) -> None:
    """Apply what Clerk said of a user: profile, phone numbers, a ban or lock, deletion."""
    row = await inbox.opened(ctx.db, args)
    if row is None:
        return
    outcome = await _apply(ctx, clerk_events.parse_event(row["body"].encode(), row["received_at"]))
    await inbox.close(ctx, args, outcome)
    if outcome in WITHOUT_ACCOUNT:
        await inbox.strip(ctx, args)


async def _apply(ctx: MutationContext, event: ClerkEvent) -> str:
    if event.clerk_id is None:
        return "names no user"
    if event.person is None:
        return await account_deletion.close_for_clerk(ctx, event.clerk_id)
    person = event.person
    told = ClerkUpdate(
        event.clerk_id, person.email, person.name, person.changed_at, event.said_at, phones=person.phones,
        suspension=person.suspension, suspension_ends_at=person.suspension_ends_at, is_whole=person.is_whole,
    )  # fmt: skip
    account, outcome = await accounts.apply_clerk_update(ctx, told)
    if account is not None:
        await suspended_accounts.stop(ctx, account.user_id)
    if account is not None and account.new_phones:
        await ownership.vouch(ctx, account.user_id, account.new_phones)
    return outcome


@mutation
async def handle_revenuecat_event(ctx: MutationContext, args: OneEvent) -> None:
    """Apply what RevenueCat said of a customer, or have the customer read again."""
    row = await inbox.opened(ctx.db, args)
    if row is None:
        return
    outcome = await revenuecat_billing.handle_event(ctx, revenuecat_events.parse_event(row["body"].encode()))
    await inbox.close(ctx, args, outcome)
    if outcome == revenuecat_billing.ACCOUNT_DELETED:
        await inbox.strip(ctx, args)


@mutation
async def handle_suno_event(ctx: MutationContext, args: OneEvent) -> None:
    """Apply a stage of a song, and remove the body: it has the lyrics, which may be deleted with their entry."""
    event = await inbox.opened(ctx.db, args)
    if event is None:
        return
    outcome = await song_delivery.on_callback(ctx, event["subject"], parse_callback(event["body"].encode()))
    await inbox.close(ctx, args, outcome)
    await inbox.remove_body(ctx, args)


@mutation
async def handle_vapi_event(ctx: MutationContext, args: OneEvent) -> None:
    """Apply a message about a call, and remove its body: what was said is in the call's session, or is not kept."""
    event = await inbox.opened(ctx.db, args)
    if event is None:
        return
    outcome = await call_reports.on_message(ctx, parse_message(event["body"].encode()))
    await inbox.close(ctx, args, outcome)
    await inbox.strip(ctx, args)
