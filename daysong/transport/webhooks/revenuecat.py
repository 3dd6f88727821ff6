"""RevenueCat's webhooks: purchase, renewal, expiration. They arrive in any order, repeatedly, late, or not at all."""

from __future__ import annotations

from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.inbox import Event
from daysong.transport.http.routes import Request, Route
from daysong.transport.webhooks import receiving
from daysong.transport.webhooks.receiving import NotConfigured, Received
from daysong.vendors.revenuecat.events import (
    SIGNATURE_HEADER,
    check_authorization,
    check_signature,
    parse_webhook,
)
from daysong.workflows.vendor_events import handle_revenuecat_event


def routes(runtime: Runtime) -> list[Route]:
    """Return the route of RevenueCat's webhooks."""
    settings = runtime.settings.revenuecat

    async def read(request: Request) -> Received:
        if settings.webhook_secret is None:
            raise NotConfigured("REVENUECAT_WEBHOOK_SECRET")
        secrets = (settings.webhook_secret, *settings.webhook_secrets_old)
        check_authorization(request.headers.get("authorization"), *secrets)
        body = await request.body()
        if settings.webhook_hmac_secret is not None:
            signature = request.headers.get(SIGNATURE_HEADER.lower())
            keys = (settings.webhook_hmac_secret, *settings.webhook_hmac_secrets_old)
            check_signature(signature, body, runtime.clock.now(), *keys)
        event, stored = parse_webhook(body)
        about = (*event.app_user_ids, *event.transferred_from, *event.transferred_to)
        return Received(
            Event(vendor="revenuecat", event_id=event.id, type=event.type, body=stored, about=about),
            handle_revenuecat_event,
            {"type": event.type},
        )

    return [receiving.route(runtime, "revenuecat", read, path="/http/revenuecat-webhook")]
