"""Clerk's webhooks: a user was made, changed, banned or deleted there.

They come in any order, repeatedly, or not at all.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from standardwebhooks import Webhook

from daysong.features.phone_calls import ownership
from daysong.features.subscriptions import accounts
from daysong.features.users.store import ToldByClerk
from daysong.kernel import logs
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.registry import Room
from daysong.kernel.functions.runtime import Runtime
from daysong.transport.webhooks import inbox
from daysong.transport.webhooks.inbox import MAX_BODY, Event, OneEvent
from daysong.vendors.clerk.events import USED, ClerkEvent, MalformedEvent, UnsignedEvent, check_signature, parse_event
from daysong.workflows import account_deletion, suspended_accounts

room = Room("webhooks")
log = logs.get_logger("webhooks")

# What may be left of an event that is about nobody who has an account.
GONE = frozenset({"account is deleted", "deleted before", "unknown user"})


@room.mutation()
async def handle_clerk_event(ctx: MutationContext, args: OneEvent) -> None:
    """Apply what a stored event tells of somebody, once."""
    row = await inbox.opened(ctx.db, args)
    if row is None:
        return
    outcome = await _apply(ctx, parse_event(row["body"].encode(), row["received_at"]))
    await inbox.close(ctx, args, outcome)
    if outcome in GONE:
        await inbox.strip(ctx, args)


async def _apply(ctx: MutationContext, event: ClerkEvent) -> str:
    if event.clerk_id is None:
        return "names no user"
    if event.person is None:
        return await account_deletion.close_for_clerk(ctx, event.clerk_id)
    person = event.person
    told = ToldByClerk(
        event.clerk_id, person.email, person.name, person.changed_at, event.said_at, phones=person.phones,
        suspension=person.suspension, suspension_ends_at=person.suspension_ends_at, is_whole=person.is_whole,
    )  # fmt: skip
    account, outcome = await accounts.hear(ctx, told)
    if account is not None:
        await suspended_accounts.stop(ctx, account.user_id)
    if account is not None and account.new_phones:
        await ownership.vouch(ctx, account.user_id, account.new_phones)
    return outcome


def routes(runtime: Runtime) -> list[HTTPRouteHandler]:
    """The route Clerk calls."""
    secret = runtime.settings.clerk.webhook_signing_secret
    webhook = Webhook(secret) if secret else None

    @post("/http/clerk-webhook", status_code=200, request_max_body_size=MAX_BODY, include_in_schema=False)
    async def receive(request: Request[Any, Any, Any]) -> Response[dict[str, str]]:
        if webhook is None:
            return _answer(503, "NotConfigured", "CLERK_WEBHOOK_SIGNING_SECRET is not set")
        body = await request.body()
        now = runtime.clock.now()
        try:
            message_id = check_signature(webhook, request.headers, body, now)
            event = parse_event(body, now)
        except UnsignedEvent as error:
            log.warning("clerk's webhook refused", reason=error.message)
            return _answer(401, "Unauthorized", error.message)
        except MalformedEvent as error:
            return _answer(400, "MalformedEvent", error.message)
        handler = handle_clerk_event if event.type in USED else None
        stored = Event(
            vendor="clerk", event_id=message_id, type=event.type, body=event.kept, subject=event.clerk_id
        )  # fmt: skip
        new = await inbox.receive(runtime, stored, handler, outcome="not used")
        log.info("clerk told", type=event.type, new=new)
        return _answer(200, "OK", "Thank you")

    return [receive]


def _answer(status: int, code: str, message: str) -> Response[dict[str, str]]:
    return Response({"code": code, "message": message}, status_code=status)
