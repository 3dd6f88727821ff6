"""RevenueCat's webhooks: a purchase, a renewal, an end. They come in any order, repeatedly, late, or not at all."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from daysong.kernel import inbox, logs
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.inbox import MAX_BODY, Event
from daysong.vendors.revenuecat.events import (
    SIGNATURE_HEADER,
    BillingEvent,
    MalformedEvent,
    UnsignedEvent,
    check_authorization,
    check_signature,
    kept_of,
    parse_event,
)
from daysong.workflows.vendor_events import handle_revenuecat_event

log = logs.get_logger("webhooks")


def routes(runtime: Runtime) -> list[HTTPRouteHandler]:
    """The route RevenueCat calls."""
    settings = runtime.settings.revenuecat

    @post("/http/revenuecat-webhook", status_code=200, request_max_body_size=MAX_BODY, include_in_schema=False)
    async def receive(request: Request[Any, Any, Any]) -> Response[dict[str, str]]:
        if settings.webhook_secret is None:
            return _answer(503, "NotConfigured", "REVENUECAT_WEBHOOK_SECRET is not set")
        try:
            check_authorization(request.headers.get("Authorization"), settings.webhook_secret)
            body = await request.body()
            if settings.webhook_hmac_secret is not None:
                signature = request.headers.get(SIGNATURE_HEADER)
                check_signature(signature, body, settings.webhook_hmac_secret, runtime.clock.now())
            event = parse_event(body)
        except UnsignedEvent as error:
            log.warning("revenuecat's webhook refused", reason=error.message)
            return _answer(401, "Unauthorized", error.message)
        except MalformedEvent as error:
            return _answer(400, "MalformedEvent", error.message)
        new = await inbox.receive(runtime, _stored(event, body), handle_revenuecat_event)
        log.info("revenuecat told", type=event.type, new=new)
        return _answer(200, "OK", "Thank you")

    return [receive]


def _stored(event: BillingEvent, body: bytes) -> Event:
    about = (*event.app_user_ids, *event.transferred_from, *event.transferred_to)
    return Event(vendor="revenuecat", event_id=event.id, type=event.type, body=kept_of(body), about=about)


def _answer(status: int, code: str, message: str) -> Response[dict[str, str]]:
    return Response({"code": code, "message": message}, status_code=status)
