"""Receives a webhook, in the same way for all vendors: verify the sender, parse the event, store it, respond."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from prometheus_client import Counter

from daysong.kernel import inbox, logs
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.ids import may_be_id
from daysong.kernel.inbox import MAX_BODY, Event, Handler, UrlSecret, WrongSecret
from daysong.kernel.monitoring import tracing
from daysong.transport.http.routes import Reply, Request, Route, json_reply
from daysong.vendors.webhooks import MalformedEvent, UnsignedEvent

RECEIVED = Counter(
    "daysong_webhooks",
    "Webhooks by vendor and outcome: new, repeated, answered, refused, malformed, not_configured",
    ["vendor", "outcome"],
)

# Bytes; a larger callback is read only after its secret was compared.
LARGE = 64 * 1024

log = logs.get_logger("webhooks")


class NotConfigured(DaysongError):
    """The setting that verifies the sender is missing; the message is its name."""


class Received(NamedTuple):
    """An event of a verified sender.

    handler     the mutation that applies the event in a job; without one it is stored as handled, with `outcome`
    log_fields  further fields of the log line
    order       the id of the song, video or call that the vendor was asked for: the event continues its trace
    secret      the secret of the callback, if it is verified by the statement that stores the event
    """

    event: Event
    handler: Handler | None
    log_fields: Mapping[str, Any]
    outcome: str = "noted"
    order: str | None = None
    secret: UrlSecret | None = None


# Verifies and parses. A Reply is sent unchanged, and nothing is stored. Errors: NotConfigured, UnsignedEvent,
# MalformedEvent.
Read = Callable[[Request], Awaitable[Received | Reply]]


def route(runtime: Runtime, vendor: str, read: Read, *, path: str, largest: int = MAX_BODY) -> Route:
    """Return the route that receives the vendor's events, which `read` verifies and parses."""

    async def receive(request: Request) -> Reply:
        try:
            received = await read(request)
            if isinstance(received, Reply):
                _count(vendor, "answered")
                return received
            return await _store(runtime, vendor, received)
        except NotConfigured as error:
            _count(vendor, "not_configured")
            return json_reply(503, "NotConfigured", f"{error} is not set")
        except (UnsignedEvent, WrongSecret) as error:
            _count(vendor, "refused")
            log.warning("webhook refused", vendor=vendor, reason=str(error))
            return json_reply(401, "Unauthorized", str(error))
        except MalformedEvent as error:
            _count(vendor, "malformed")
            return json_reply(400, error.code, error.message)

    return Route("POST", path, receive, largest)


def _count(vendor: str, outcome: str) -> None:
    RECEIVED.labels(vendor, outcome).inc()
    tracing.annotate(vendor=vendor, outcome=outcome)


async def _store(runtime: Runtime, vendor: str, received: Received) -> Reply:
    with tracing.span(f"webhook {vendor}", "consumer", parent=await _trace_of(runtime, received), vendor=vendor):
        new = await inbox.receive(
            runtime, received.event, received.handler, outcome=received.outcome, secret=received.secret
        )
        outcome = "new" if new else "repeated"
        tracing.annotate(outcome=outcome)
    RECEIVED.labels(vendor, outcome).inc()
    log.info("webhook received", vendor=vendor, **received.log_fields, new=new)
    return json_reply(200, "OK", "Thank you")


async def _trace_of(runtime: Runtime, received: Received) -> str | None:
    found = None
    if tracing.is_on() and received.order is not None and may_be_id(received.order):
        found = await inbox.trace_of(runtime, received.order)
    return found or tracing.CURRENT


# Parses the body of a callback about the row of that id. Errors: UnsignedEvent, MalformedEvent.
Parse = Callable[[str, bytes, Request], Received]


def callback_routes(runtime: Runtime, vendor: str, table: str, parse: Parse, *, path: str) -> list[Route]:
    """Return the routes of callbacks whose URLs are `path` with the id of a row of `table`, and its callback_secret.

    The statement that stores the event compares the secret. It is compared before, in a statement of its own, where a
    stranger would have a large body read, would be told what is wrong with a body, or would be in a song's trace.
    """

    async def without_secret(_: Request) -> Received:
        raise UnsignedEvent("The callback URL has no secret")

    async def read(request: Request) -> Received:
        secret = UrlSecret(table, *request.parameters.values())
        if not may_be_id(secret.id):
            raise UnsignedEvent("The secret in the callback URL is wrong")

        async def check() -> None:
            await secret.check(runtime.database.one_statement())

        if tracing.is_on() or request.announced is None or request.announced > LARGE:
            await check()
        body = await request.body()
        try:
            return parse(secret.id, body, request)._replace(secret=secret)
        except (UnsignedEvent, MalformedEvent):
            await check()
            raise

    without = path.partition("/{")[0]
    return [route(runtime, vendor, without_secret, path=without), route(runtime, vendor, read, path=path)]
