"""Receives a webhook, in the same way for all vendors: verify the sender, parse the event, store it, respond."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from prometheus_client import Counter

from daysong.kernel import inbox, logs
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.inbox import MAX_BODY, Event, Handler
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
    """

    event: Event
    handler: Handler | None
    log_fields: Mapping[str, Any]
    outcome: str = "noted"


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

    async def receive(request: Request) -> Reply:
        try:
            received = await read(request)
        except NotConfigured as error:
            RECEIVED.labels(vendor, "not_configured").inc()
            return json_reply(503, "NotConfigured", f"{error} is not set")
        except UnsignedEvent as error:
            RECEIVED.labels(vendor, "refused").inc()
            log.warning("webhook refused", vendor=vendor, reason=error.message)
            return json_reply(401, "Unauthorized", error.message)
        except MalformedEvent as error:
            RECEIVED.labels(vendor, "malformed").inc()
            return json_reply(400, error.code, error.message)
        if isinstance(received, Reply):
            RECEIVED.labels(vendor, "answered").inc()
            return received
        new = await inbox.receive(runtime, received.event, received.handler, outcome=received.outcome)
        RECEIVED.labels(vendor, "new" if new else "repeated").inc()
        log.info("webhook received", vendor=vendor, **received.log_fields, new=new)
        return json_reply(200, "OK", "Thank you")

    return Route("POST", path, receive, largest)
