"""Receives a webhook, in the same way for all vendors: verify the sender, parse the event, store it, respond."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from prometheus_client import Counter

from daysong.kernel import inbox, logs
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.ids import may_be_id
from daysong.kernel.inbox import MAX_BODY, Event, Handler
from daysong.kernel.monitoring import tracing
from daysong.transport.http.routes import Reply, Request, Route, json_reply
from daysong.vendors.webhooks import MalformedEvent, UnsignedEvent

RECEIVED = Counter(
    "daysong_webhooks",
    "Webhooks by vendor and outcome: new, repeated, answered, refused, malformed, not_configured",
    ["vendor", "outcome"],
)

log = logs.get_logger("webhooks")


class NotConfigured(DaysongError):
    """The setting that verifies the sender is missing; the message is its name."""


class Received(NamedTuple):
    """An event of a verified sender.

    handler     the mutation that applies the event in a job; without one it is stored as handled, with `outcome`
    log_fields  further fields of the log line
    order       the id of the song, video or call that the vendor was asked for: the event continues its trace
    """

    event: Event
    handler: Handler | None
    log_fields: Mapping[str, Any]
    outcome: str = "noted"
    order: str | None = None


def check_secret(given: str, expected: str | None) -> None:
    """Compare the secret in a callback URL; `expected` is None for an unknown id. Errors: UnsignedEvent."""
    # Compared also for an unknown id, so that timing reveals nothing.
    if not hmac.compare_digest((expected or "unknown").encode(), given.encode()) or expected is None:
        raise UnsignedEvent("The secret in the callback URL is wrong")


# Verifies and parses. A Reply is sent unchanged, and nothing is stored. Errors: NotConfigured, UnsignedEvent,
# MalformedEvent.
Read = Callable[[Request], Awaitable[Received | Reply]]


def route(runtime: Runtime, vendor: str, read: Read, *, path: str, largest: int = MAX_BODY) -> Route:
    """Return the route that receives the vendor's events, which `read` verifies and parses."""

    async def trace_of(received: Received) -> str | None:
        found = None
        if tracing.is_on() and received.order is not None and may_be_id(received.order):
            found = await inbox.trace_of(runtime, received.order)
        return found or tracing.CURRENT

    def count(outcome: str) -> None:
        RECEIVED.labels(vendor, outcome).inc()
        tracing.annotate(vendor=vendor, outcome=outcome)

    async def receive(request: Request) -> Reply:
        try:
            received = await read(request)
        except NotConfigured as error:
            count("not_configured")
            return json_reply(503, "NotConfigured", f"{error} is not set")
        except UnsignedEvent as error:
            count("refused")
            log.warning("webhook refused", vendor=vendor, reason=error.message)
            return json_reply(401, "Unauthorized", error.message)
        except MalformedEvent as error:
            count("malformed")
            return json_reply(400, error.code, error.message)
        if isinstance(received, Reply):
            count("answered")
            return received
        with tracing.span(f"webhook {vendor}", "consumer", parent=await trace_of(received), vendor=vendor):
            new = await inbox.receive(runtime, received.event, received.handler, outcome=received.outcome)
            outcome = "new" if new else "repeated"
            tracing.annotate(outcome=outcome)
        RECEIVED.labels(vendor, outcome).inc()
        log.info("webhook received", vendor=vendor, **received.log_fields, new=new)
        return json_reply(200, "OK", "Thank you")

    return Route("POST", path, receive, largest)
