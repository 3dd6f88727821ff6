"""VAPI's webhooks: status and report of a call, and the request for an assistant for an inbound call."""

from __future__ import annotations

import asyncio

import msgspec

from daysong.features.phone_calls import inbound
from daysong.features.phone_calls.inbound import IncomingCall
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.inbox import Event
from daysong.kernel.keys import is_one_of
from daysong.transport.http.routes import Reply, Request, Route
from daysong.transport.webhooks import receiving
from daysong.transport.webhooks.receiving import NotConfigured, Received
from daysong.vendors.vapi.reports import ASSISTANT_REQUEST, Message, parse_message, redacted
from daysong.vendors.webhooks import UnsignedEvent
from daysong.workflows.vendor_events import handle_vapi_event

# The report of a long call repeats its transcript several times. The secret is checked before the body is read.
MAX_REPORT = 8 * 1024 * 1024

LARGE = 64 * 1024  # bytes; larger reports are parsed in a thread


def routes(runtime: Runtime) -> list[Route]:
    """Return the route of VAPI's webhooks."""
    secret, earlier = runtime.settings.vapi.webhook_secret, runtime.settings.vapi.webhook_secrets_old

    async def read(request: Request) -> Received | Reply:
        if secret is None:
            raise NotConfigured("VAPI_WEBHOOK_SECRET")
        if not _is_from_vapi(request, (secret, *earlier)):
            raise UnsignedEvent("The secret is missing or wrong")
        body = await request.body()
        # Parsing a large report would block the event loop.
        message, event = await asyncio.to_thread(_read, body) if len(body) > LARGE else _read(body)
        if message.type == ASSISTANT_REQUEST:
            call = IncomingCall(vapi_call_id=message.call_id, number=message.customer_number, line=message.line_number)
            assistant = await runtime.run_mutation(inbound.answer_call, call, SYSTEM)
            return Reply(msgspec.json.encode(assistant))
        log_fields = {"type": message.type, "status": message.status}
        return Received(event, handle_vapi_event, log_fields, order=message.job_id)

    return [receiving.route(runtime, "vapi", read, path="/http/vapi-webhook", largest=MAX_REPORT)]


def _is_from_vapi(request: Request, secrets: tuple[str, ...]) -> bool:
    """Whether the request has one of the secrets, as a bearer token or in VAPI's older header."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    given = (bearer, request.headers.get("x-vapi-secret", ""))
    # Compare both, so that timing does not reveal which one was sent.
    matches = [is_one_of(one, secrets) for one in given]
    return any(matches)


def _read(body: bytes) -> tuple[Message, Event]:
    """Parse the message, and return it with the event to store. Errors: MalformedReport."""
    message = parse_message(body)
    about = tuple(name for name in (message.call_id, message.job_id, message.user_id) if name)
    return message, Event(
        vendor="vapi", event_id=message.event_key, type=message.type, body=redacted(body), about=about
    )  # fmt: skip
