"""Handlers of vendors' stored webhook events: each event is handled once, by its own job.

A handler locks its event, applies it, stores the outcome, and removes data that need not be kept, in one transaction.
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
from daysong.vendors.kie import answers as kie_answers
from daysong.vendors.revenuecat import events as revenuecat_events
from daysong.vendors.suno.answers import parse_callback
from daysong.vendors.vapi.reports import parse_message
from daysong.workflows.accounts import account_deletion, suspended_accounts
from daysong.workflows.calls import call_reports
from daysong.workflows.songs import song_delivery
from daysong.workflows.videos import video_delivery

# Outcomes of Clerk's events about users without an account; such events are stripped.
WITHOUT_ACCOUNT = frozenset({"account is deleted", "deleted before", "unknown user"})


@mutation
async def handle_clerk_event(ctx: MutationContext, args: OneEvent) -> None:
    """Apply a change of a Clerk user: profile, phone numbers, a ban or lock, deletion."""
    row = await inbox.lock_event(ctx.db, args)
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
    update = ClerkUpdate(
        event.clerk_id, person.email, person.name, person.changed_at, event.said_at, phones=person.phones,
        suspension=person.suspension, suspension_ends_at=person.suspension_ends_at, is_whole=person.is_whole,
    )  # fmt: skip
    account, outcome = await accounts.apply_clerk_update(ctx, update)
    if account is not None:
        await suspended_accounts.stop(ctx, account.user_id)
    if account is not None and account.new_phones:
        await ownership.grant_verified(ctx, account.user_id, account.new_phones)
    return outcome


@mutation
async def handle_revenuecat_event(ctx: MutationContext, args: OneEvent) -> None:
    """Apply an event about a customer, or schedule that the customer is fetched."""
    row = await inbox.lock_event(ctx.db, args)
    if row is None:
        return
    outcome = await revenuecat_billing.handle_event(ctx, revenuecat_events.parse_event(row["body"].encode()))
    await inbox.close(ctx, args, outcome)
    if outcome == revenuecat_billing.ACCOUNT_DELETED:
        await inbox.strip(ctx, args)


@mutation
async def handle_suno_event(ctx: MutationContext, args: OneEvent) -> None:
    """Apply a callback, and remove its body: the lyrics must be gone when their entry is deleted."""
    event = await inbox.lock_event(ctx.db, args)
    if event is None:
        return
    outcome = await song_delivery.on_callback(ctx, event["subject"], parse_callback(event["body"].encode()))
    await inbox.close(ctx, args, outcome)
    await inbox.remove_body(ctx, args)


@mutation
async def handle_kie_event(ctx: MutationContext, args: OneEvent) -> None:
    """Have the task of a video read, and remove the body: it has the prompt and the callback's secret."""
    event = await inbox.lock_event(ctx.db, args)
    if event is None:
        return
    callback = kie_answers.parse_callback(event["body"].encode())
    outcome = await video_delivery.on_callback(ctx, event["subject"], callback)
    await inbox.close(ctx, args, outcome)
    await inbox.remove_body(ctx, args)


@mutation
async def handle_vapi_event(ctx: MutationContext, args: OneEvent) -> None:
    """Apply a message about a call, and strip its body: a transcript is kept in the session only, with consent."""
    event = await inbox.lock_event(ctx.db, args)
    if event is None:
        return
    outcome = await call_reports.on_message(ctx, parse_message(event["body"].encode()))
    await inbox.close(ctx, args, outcome)
    await inbox.strip(ctx, args)
