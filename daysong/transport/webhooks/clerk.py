"""Clerk's webhooks: a user was created, updated, banned or deleted.

They arrive in any order, repeatedly, or not at all.
"""

from __future__ import annotations

from standardwebhooks import Webhook

from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.inbox import Event
from daysong.transport.http.routes import Request, Route
from daysong.transport.webhooks import receiving
from daysong.transport.webhooks.receiving import NotConfigured, Received
from daysong.vendors.clerk.events import USED, check_signature, parse_event
from daysong.workflows.vendor_events import handle_clerk_event


def routes(runtime: Runtime) -> list[Route]:
    """Return the route of Clerk's webhooks."""
    settings = runtime.settings.clerk
    secrets = (settings.webhook_signing_secret, *settings.webhook_signing_secrets_old)
    webhooks = [Webhook(secret) for secret in secrets if secret]

    async def read(request: Request) -> Received:
        if settings.webhook_signing_secret is None:
            raise NotConfigured("CLERK_WEBHOOK_SIGNING_SECRET")
        body = await request.body()
        now = runtime.clock.now()
        message_id = check_signature(webhooks, request.headers, body, now)
        event = parse_event(body, now)
        return Received(
            Event(vendor="clerk", event_id=message_id, type=event.type, body=event.kept, subject=event.clerk_id),
            handle_clerk_event if event.type in USED else None,
            {"type": event.type},
            outcome="not used",
        )

    return [receiving.route(runtime, "clerk", read, path="/http/clerk-webhook")]
