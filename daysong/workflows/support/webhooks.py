"""Events of vendors, as operators see them: listed, traced to their effects, read with a reason, replayed."""

from __future__ import annotations

from typing import Any, Literal

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.kernel import inbox
from daysong.kernel.errors import ExpectedError
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, given, mutation, query
from daysong.kernel.inbox import NoSuchEvent, OneEvent
from daysong.kernel.time.clock import from_ms, to_ms
from daysong.workflows.support import audit, jobs
from daysong.workflows.support.audit import Limit, Outcome, Reason, Target
from daysong.workflows.support.hiding import visible, visible_id
from daysong.workflows.support.jobs import Job

Vendor = Literal["clerk", "revenuecat", "suno", "kie", "vapi"]
EventStatus = Literal["waiting", "handled", "dead", "stranded"]


class EventNotFound(ExpectedError):
    """No such event; it may have been deleted since it was handled."""

    code = "event_not_found"
    status = 404
    default_message = "There is no such event in the inbox"


class EventNotReplayable(ExpectedError):
    """Nothing handles the event, or its body was not kept."""

    code = "event_not_replayable"
    status = 409
    default_message = "The event cannot be replayed"


class ListEvents(Args):
    """Which events: of a vendor, status or type, that mention an id, or that came since a moment (ms)."""

    vendor: Vendor | UnsetType = UNSET
    status: EventStatus | UnsetType = UNSET
    type: Target | UnsetType = UNSET
    about: IdText | UnsetType = UNSET
    since: float | UnsetType = UNSET
    limit: Limit = 50


class ChangeEvent(OneEvent):
    """Which event, and why it is changed."""

    reason: Reason | UnsetType = UNSET


class ReadEvent(OneEvent):
    """Which event, and why its body is read."""

    reason: Reason


class Event(Result):
    """An event; times in ms. `outcome` is what its handler says."""

    id: str
    vendor: str
    type: str
    event_id: str
    status: EventStatus
    received_at: float
    failures: int
    replays: int
    handled_at: float | UnsetType = UNSET
    outcome: str | UnsetType = UNSET
    last_error: str | UnsetType = UNSET


class EventInFull(Event):
    """An event with the ids it mentions, its body without private values, and its trace.

    trace  the jobs of its handler and what these scheduled, in the order they were due
    """

    about: list[str] = msgspec.field(default_factory=list)
    body: Any = UNSET
    trace: list[Job] = msgspec.field(default_factory=list)


class Body(Result):
    """The body of an event, as the vendor sent it."""

    body: Any


def of_row(row: asyncpg.Record) -> Event:
    """Return the event of a row with the columns of `inbox.STATUS_SQL`."""
    return Event(**_fields(row))


def _fields(row: asyncpg.Record) -> dict[str, Any]:
    names = ("id", "vendor", "type", "event_id", "status", "failures", "replays")
    return {
        **{name: row[name] for name in names},
        "received_at": to_ms(row["received_at"]),
        "handled_at": given(None if row["handled_at"] is None else to_ms(row["handled_at"])),
        "outcome": given(row["outcome"]),
        "last_error": given(row["last_error"]),
    }


def _decoded(body: str) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body


@query(reads=("webhook_events", "jobs"))
async def list_events(ctx: QueryContext, args: ListEvents) -> list[Event]:
    """Return the newest events, without their bodies."""
    rows = await inbox.listed(
        ctx.db, vendor=args.vendor or None, status=args.status or None, limit=args.limit, kind=args.type or None,
        about=args.about or None, since=from_ms(args.since) if args.since else None,
    )  # fmt: skip
    return [of_row(row) for row in rows]


@query(reads=("webhook_events", "jobs"), snapshot=True)
async def show_event(ctx: QueryContext, args: OneEvent) -> EventInFull:
    """Return one event with its trace. Errors: EventNotFound."""
    row = await _one(ctx, args)
    handlers = await ctx.db.fetch(
        """select * from jobs where unique_key = any(
             select 'event ' || $1 || ' ' || number from generate_series(0, $2) number) order by due_at, id""",
        args.event_id, row["replays"],
    )  # fmt: skip
    trace = [jobs.of_row(each) for each in handlers]
    seen = {job.id for job in trace}
    for request in dict.fromkeys(each["request_id"] for each in handlers):
        trace += [job for job in await jobs.related(ctx, request) if job.id not in seen]
    return EventInFull(
        **_fields(row),
        about=[visible_id(one) for one in row["about"]],
        body=visible(_decoded(row["body"])),
        trace=trace,
    )


async def _one(ctx: QueryContext | MutationContext, args: OneEvent) -> asyncpg.Record:
    try:
        return await inbox.one(ctx.db, args.event_id)
    except NoSuchEvent:
        raise EventNotFound from None


@mutation(repeatable=True)
async def read_event(ctx: MutationContext, args: ReadEvent) -> Body:
    """Return the body of an event, which may be private; the audit log keeps the reason. Errors: EventNotFound."""
    row = await _one(ctx, args)
    await audit.record(ctx, "webhooks read", target=args.event_id, reason=args.reason)
    return Body(body=_decoded(row["body"]))


@mutation
async def replay_event(ctx: MutationContext, args: ChangeEvent) -> Outcome:
    """Have an event handled again; the outcome `waiting` says that a job is at it. Errors: EventNotFound,
    EventNotReplayable.
    """
    await _one(ctx, args)
    try:
        is_done = await inbox.replay_in(ctx, OneEvent(event_id=args.event_id))
    except NoSuchEvent as error:
        raise EventNotReplayable(str(error)) from None
    return await audit.record(
        ctx, "webhooks replay", target=args.event_id, reason=args.reason, outcome=audit.DONE if is_done else "waiting"
    )
