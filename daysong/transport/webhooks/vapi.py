"""VAPI's webhooks: how calls go and what was said in them; and who is calling, when somebody rings us up."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from daysong.features.phone_calls import inbound
from daysong.features.phone_calls.inbound import Ringing
from daysong.kernel import inbox, logs
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.inbox import Event
from daysong.vendors.vapi.reports import ASSISTANT_REQUEST, MalformedReport, Message, parse_message, redacted
from daysong.workflows.vendor_events import handle_vapi_event

# A report of a long talk has every word several times over. The secret is checked before a byte of it is read.
MAX_REPORT = 8 * 1024 * 1024

log = logs.get_logger("webhooks")

LONG = 64 * 1024  # bytes


def routes(runtime: Runtime) -> list[HTTPRouteHandler]:
    """The route VAPI calls."""
    secret = runtime.settings.vapi.webhook_secret

    @post("/http/vapi-webhook", status_code=200, request_max_body_size=MAX_REPORT, include_in_schema=False)
    async def receive(request: Request[Any, Any, Any]) -> Response[Any]:
        if secret is None:
            return _answer(503, "NotConfigured", "VAPI_WEBHOOK_SECRET is not set")
        if not _is_from_vapi(request, secret):
            log.warning("vapi's webhook refused")
            return _answer(401, "Unauthorized", "The secret is missing, or is another")
        body = await request.body()
        try:
            # A long report takes its time to read, and others are to be served meanwhile.
            message, event = await asyncio.to_thread(_read, body) if len(body) > LONG else _read(body)
        except MalformedReport as error:
            return _answer(400, "MalformedReport", error.message)
        if message.type == ASSISTANT_REQUEST:
            ringing = Ringing(
                vapi_call_id=message.call_id, number=message.customer_number, line=message.line_number
            )  # fmt: skip
            return Response(await runtime.run_mutation(inbound.answer_call, ringing, SYSTEM, runtime.clock))
        new = await inbox.receive(runtime, event, handle_vapi_event)
        log.info("vapi told", type=message.type, status=message.status, new=new)
        return _answer(200, "OK", "Thank you")

    return [receive]


def _is_from_vapi(request: Request[Any, Any, Any], secret: str) -> bool:
    """Whether a request carries the secret: as a bearer token, or in the header VAPI has had for it longer."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    given = (bearer, request.headers.get("X-Vapi-Secret", ""))
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


def _answer(status: int, code: str, message: str) -> Response[dict[str, str]]:
    return Response({"code": code, "message": message}, status_code=status)
