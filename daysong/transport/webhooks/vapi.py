"""VAPI's webhooks: the course and the report of a call, and the request for an assistant when a call comes in."""

from __future__ import annotations

import asyncio
import hmac

import msgspec

from daysong.features.phone_calls import inbound
from daysong.features.phone_calls.inbound import Ringing
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.inbox import Event
from daysong.transport.http.routes import Reply, Request, Route
from daysong.transport.webhooks import receiving
from daysong.transport.webhooks.receiving import NotConfigured, Received
from daysong.vendors.vapi.reports import ASSISTANT_REQUEST, Message, parse_message, redacted
from daysong.vendors.webhooks import UnsignedEvent
from daysong.workflows.vendor_events import handle_vapi_event

# A report of a long talk has every word several times over. The secret is checked before a byte of it is read.
MAX_REPORT = 8 * 1024 * 1024

LONG = 64 * 1024  # bytes


def routes(runtime: Runtime) -> list[Route]:
    """The route VAPI calls."""
    secret = runtime.settings.vapi.webhook_secret

    async def read(request: Request) -> Received | Reply:
        if secret is None:
            raise NotConfigured("VAPI_WEBHOOK_SECRET")
        if not _is_from_vapi(request, secret):
            raise UnsignedEvent("The secret is missing, or is another")
        body = await request.body()
        # A long report takes its time to read, and others are to be served meanwhile.
        message, event = await asyncio.to_thread(_read, body) if len(body) > LONG else _read(body)
        if message.type == ASSISTANT_REQUEST:
            ringing = Ringing(vapi_call_id=message.call_id, number=message.customer_number, line=message.line_number)
            answered = await runtime.run_mutation(inbound.answer_call, ringing, SYSTEM)
            return Reply(msgspec.json.encode(answered))
        return Received(event, handle_vapi_event, {"type": message.type, "status": message.status})

    return [receiving.route(runtime, "vapi", read, path="/http/vapi-webhook", largest=MAX_REPORT)]


def _is_from_vapi(request: Request, secret: str) -> bool:
    """Whether a request carries the secret: as a bearer token, or in the header VAPI has had for it longer."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    given = (bearer, request.headers.get("x-vapi-secret", ""))
    # Both are compared, so that the time taken tells nothing of which one was sent.
    fits = [hmac.compare_digest(one.encode(), secret.encode()) for one in given]
    return any(fits)


def _read(body: bytes) -> tuple[Message, Event]:
    """What VAPI says, and what is stored of it; MalformedReport."""
    message = parse_message(body)
    about = tuple(name for name in (message.call_id, message.job_id, message.user_id) if name)
    return message, Event(
        vendor="vapi", event_id=message.event_key, type=message.type, body=redacted(body), about=about
    )  # fmt: skip
