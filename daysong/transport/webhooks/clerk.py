"""Clerk's webhooks: a user was made, changed, banned or deleted there.

They come in any order, repeatedly, or not at all.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from standardwebhooks import Webhook

from daysong.kernel import inbox, logs
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.inbox import MAX_BODY, Event
from daysong.vendors.clerk.events import USED, MalformedEvent, UnsignedEvent, check_signature, parse_event
from daysong.workflows.vendor_events import handle_clerk_event

log = logs.get_logger("webhooks")


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
