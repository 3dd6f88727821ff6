"""Sending a notification, at most once to each device.

    occasions.…        a row in push_occasions and this job, in the transaction of what is told
    sendNotification   a transaction chooses the devices and notes `sending` (take); Expo is asked; a transaction
                       records its tickets
    readReceipts       a job 15 minutes later: whether Apple or Google took them

Expo has no idempotency key: a message that is sent twice is shown twice. So it is noted before it is sent, and not sent
again unless Expo certainly did not take it. A worker that is killed, and what follows:

    killed                                          result
    before the occasion's transaction commits       nothing happened, so there is nothing to tell
    before `take` commits                           the job runs again; the notification is shown once
    between `take` and the request to Expo          `lost`: it is not sent again, and not shown
    after the request, before the tickets are       `lost`: it is not sent again, and shown once; no receipt is read
    recorded
    after the tickets are recorded                  the receipts' job runs later
    while receipts are read or recorded             the job runs again: reading changes nothing, and recording is one
                                                    transaction

The same holds for an answer that was lost on its way. An iPhone or Android shows a message in place of one with the
same collapse id or tag, which is the occasion's id.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

import asyncpg

from daysong.features.push_notifications import store
from daysong.features.push_notifications.rules import FRESH_FOR, RECEIPT_PAUSES, RECEIPTS_AFTER
from daysong.features.push_notifications.texts import text_for
from daysong.features.users import store as users
from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, Retry, action, mutation, query
from daysong.kernel.limits.lanes import Lane
from daysong.vendors.expo.answers import Receipt, Ticket
from daysong.vendors.expo.client import Notifier, PushMessage

log = logs.get_logger("push")

SEND_RETRIES = Retry(attempts=10, first=timedelta(seconds=2), longest=timedelta(minutes=30))
CHANNEL = "default"


class OneOccasion(Args):
    """Which occasion."""

    occasion_id: IdText


class LookForReceipts(OneOccasion):
    """Which occasion, and how often its receipts were looked for."""

    looks: int = 0


class Notification(Result):
    """A notification and the devices it goes to now."""

    title: str
    body: str
    data: dict[str, str]
    devices: list[store.Device]


class NotSent(OneOccasion):
    """Messages that Expo did not take, or may have taken (`lost`); `again` when the job tries once more."""

    token_ids: list[str]
    outcome: Literal["again", "failed", "lost"]
    error: str


class Tickets(OneOccasion):
    """Expo's tickets, in the order of the devices."""

    token_ids: list[str]
    tickets: list[Ticket]


class Receipts(LookForReceipts, kw_only=True):
    """Expo's receipts by ticket; those that it does not have are missing."""

    receipts: dict[str, Receipt]


@mutation
async def take_notification(ctx: MutationContext, args: OneOccasion) -> Notification | None:
    """Choose the devices to send to, and note it; None when there is nothing to send (any more)."""
    occasion = await _locked(ctx, args.occasion_id)
    devices = [] if occasion is None else await store.take(ctx, occasion)
    if occasion is None or not devices:
        return None
    title, body = text_for(occasion["kind"], occasion["language"], occasion["reason"])
    named = {"musicId": occasion["music_id"], "videoId": occasion["video_id"], "diaryId": occasion["diary_id"]}
    data = {"type": occasion["kind"]} | {name: value for name, value in named.items() if value is not None}
    return Notification(title=title, body=body, data=data, devices=devices)


@mutation
async def give_up_notification(ctx: MutationContext, args: OneOccasion) -> None:
    """Expo could not be asked for too long: what waits is not sent any more."""
    await store.fail_waiting(ctx, args.occasion_id, "exhausted")


@action(retry=SEND_RETRIES, on_exhausted=give_up_notification, lane=Lane.PUSH)
async def send_notification(ctx: ActionContext, args: OneOccasion) -> None:
    """Send a notification to its person's devices. A job; safe to be killed anywhere and to run twice."""
    found = await ctx.run_mutation(take_notification, args)
    if found is None:
        return
    notifier: Notifier = ctx.vendor(Notifier)  # type: ignore[type-abstract]  # looked up by its interface
    token_ids = [device.token_id for device in found.devices]
    try:
        tickets = await notifier.send([_message(args, found, device.token) for device in found.devices])
    except VendorError as error:
        outcome: Literal["again", "failed", "lost"] = "failed" if error.permanent else "again"
        outcome = "lost" if error.ambiguous else outcome
        log.warning("notification not sent", occasion=args.occasion_id, code=error.code, outcome=outcome)
        await ctx.run_mutation(
            note_not_sent,
            NotSent(occasion_id=args.occasion_id, token_ids=token_ids, outcome=outcome, error=error.code),
        )
        if outcome == "again":
            raise
        return
    await ctx.run_mutation(record_tickets, Tickets(occasion_id=args.occasion_id, token_ids=token_ids, tickets=tickets))


def _message(args: OneOccasion, found: Notification, token: str) -> PushMessage:
    return PushMessage(
        to=token,
        title=found.title,
        body=found.body,
        data=found.data,
        sound="default",
        ttl=int(FRESH_FOR.total_seconds()),
        priority="high",
        channel_id=CHANNEL,
        collapse_id=args.occasion_id,
        tag=args.occasion_id,
    )


@mutation
async def note_not_sent(ctx: MutationContext, args: NotSent) -> None:
    """Note that a request to Expo failed."""
    if args.outcome == "lost":
        await store.note_lost(ctx, args.occasion_id, args.token_ids, args.error)
    else:
        await store.note_not_sent(
            ctx, args.occasion_id, args.token_ids, again=args.outcome == "again", error=args.error
        )


@mutation
async def record_tickets(ctx: MutationContext, args: Tickets) -> None:
    """Record Expo's tickets, have their receipts read, and have sent again what was certainly not taken."""
    occasion = await _locked(ctx, args.occasion_id)
    if occasion is None:
        return
    again = []
    for token_id, ticket in zip(args.token_ids, args.tickets, strict=True):
        moment = await store.record_ticket(ctx, occasion, token_id, ticket)
        again += [] if moment is None else [moment]
    if any(ticket.id for ticket in args.tickets):
        await ctx.schedule(read_receipts, LookForReceipts(occasion_id=args.occasion_id), delay=RECEIPTS_AFTER)
    await _send_again(ctx, args.occasion_id, again)


async def _locked(ctx: MutationContext, occasion_id: str) -> asyncpg.Record | None:
    """Lock the account of an occasion, then the occasion; None when either is gone."""
    owner = await ctx.db.fetchval("select user_id from push_occasions where id = $1", occasion_id)
    if owner is None or not await users.lock_account(ctx.db, owner):
        return None
    return await ctx.db.fetchrow(store.OCCASION_SQL, occasion_id)


async def _send_again(ctx: MutationContext, occasion_id: str, moments: list[datetime]) -> None:
    """Schedule the next try of messages that were not shown, at each moment one job."""
    for moment in sorted(set(moments)):
        await ctx.schedule(send_notification, OneOccasion(occasion_id=occasion_id), delay=moment - ctx.now)


@query(reads=("push_deliveries",))
async def unread_tickets(ctx: QueryContext, args: OneOccasion) -> list[str]:
    """Return the tickets of an occasion whose receipts were not read yet."""
    return await store.unread_tickets(ctx.db, args.occasion_id)


@action(lane=Lane.PUSH)
async def read_receipts(ctx: ActionContext, args: LookForReceipts) -> None:
    """Ask Expo what became of an occasion's messages. A job; asking changes nothing, so it may run twice."""
    tickets = await ctx.run_query(unread_tickets, OneOccasion(occasion_id=args.occasion_id))
    if not tickets:
        return
    notifier: Notifier = ctx.vendor(Notifier)  # type: ignore[type-abstract]  # looked up by its interface
    receipts = await notifier.receipts(tickets)
    await ctx.run_mutation(record_receipts, Receipts(occasion_id=args.occasion_id, looks=args.looks, receipts=receipts))


@mutation
async def record_receipts(ctx: MutationContext, args: Receipts) -> None:
    """Record Expo's receipts, have sent again what was certainly not shown, and have missing ones looked for later."""
    occasion = await _locked(ctx, args.occasion_id)
    if occasion is None:
        return
    await _send_again(ctx, args.occasion_id, await store.record_receipts(ctx, occasion, args.receipts))
    if args.looks < len(RECEIPT_PAUSES) and await store.unread_tickets(ctx.db, args.occasion_id):
        later = LookForReceipts(occasion_id=args.occasion_id, looks=args.looks + 1)
        await ctx.schedule(read_receipts, later, delay=RECEIPT_PAUSES[args.looks])
