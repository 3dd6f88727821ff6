"""The webhook inbox: what a vendor sent is stored and its handling scheduled, in one transaction, before we say 200."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from daysong.kernel.context import SYSTEM, MutationContext
from daysong.kernel.database import Transaction
from daysong.kernel.ids import EventId
from daysong.kernel.registry import Args, IdText
from daysong.kernel.runtime import Runtime

# Litestar answers 413 to a larger one.
MAX_BODY = 1024 * 1024


class OneEvent(Args):
    """Which event of the inbox."""

    event_id: IdText


class Event(Args):
    """A vendor's event, as it is stored. `subject` is what it is about on our side, where that is known already."""

    vendor: str
    event_id: str
    type: str
    body: str
    subject: str | None = None


Handler = Callable[[MutationContext, OneEvent], Awaitable[Any]]


async def receive(runtime: Runtime, event: Event, handler: Handler) -> bool:
    """Store an event whose sender was verified, and schedule `handler`; False for one we have already."""

    async def store(ctx: MutationContext, event: Event) -> bool:
        identifier = EventId.new(ctx.now)
        inserted = await ctx.db.fetchval(
            """insert into webhook_events (id, vendor, event_id, type, subject, body, received_at)
               values ($1, $2, $3, $4, $5, $6, $7) on conflict (vendor, event_id) do nothing returning id""",
            identifier, event.vendor, event.event_id, event.type, event.subject, event.body, ctx.now,
        )  # fmt: skip
        if inserted:
            await ctx.schedule(handler, OneEvent(event_id=identifier))
        return inserted is not None

    stored: bool = await runtime.mutate(store, event, SYSTEM, runtime.clock)
    return stored


async def opened(db: Transaction, args: OneEvent) -> Any:
    """The row of an event that is yet to be handled; None when it has been, or is gone."""
    return await db.fetchrow("select * from webhook_events where id = $1 and handled_at is null", args.event_id)


async def close(ctx: MutationContext, args: OneEvent, outcome: str) -> None:
    """The event is handled, with that outcome."""
    await ctx.db.execute(
        "update webhook_events set handled_at = $2, outcome = $3 where id = $1", args.event_id, ctx.now, outcome
    )
