"""The webhook inbox: stores an event and schedules its handler in one statement, before the webhook is answered.

Each event is handled by a job, which is retried. An event whose job is dead stays as a dead letter, to be listed and
replayed (`daysong webhooks`).
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg

from daysong.kernel.database.transactions import UNFLUSHED, Reader, Transaction
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import SYSTEM, MutationContext
from daysong.kernel.functions.declarations import Args, IdText
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.ids import EventId
from daysong.kernel.jobs.queue import job_sql

# Bytes; Litestar answers 413 to a larger body.
MAX_BODY = 1024 * 1024

# Replaces the body of an event when it is removed.
STRIPPED = "{}"

VENDORS = ("clerk", "revenuecat", "suno", "kie", "vapi")
STATUSES = ("waiting", "handled", "dead", "stranded")

# Events with their latest job. Stranded: not handled, and without a job.
STATUS_SQL = """
    select e.*, j.last_error, coalesce(j.failures, 0) as failures,
           case when e.handled_at is not null then 'handled'
                when j.status in ('queued', 'running') then 'waiting'
                when j.status = 'dead' then 'dead'
                else 'stranded' end as status
    from webhook_events e
    left join jobs j on j.unique_key = 'event ' || e.id || ' ' || e.replays"""


# One statement each; both return a row for an event that is new.
_STORE_SQL = f"""
    insert into webhook_events
        (id, vendor, event_id, type, subject, about, body, received_at, handled_at, outcome)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9) on conflict (vendor, event_id) do nothing
    returning id, {UNFLUSHED}"""  # noqa: S608 - a constant


@functools.cache
def _store_with_job_sql(condition: str) -> str:
    return job_sql(
        f"""event as (
            insert into webhook_events (id, vendor, event_id, type, subject, about, body, received_at, handler)
            select $13, $14, $15, $16, $17, $18, $19, $20, $6 {condition}
            on conflict (vendor, event_id) do nothing returning id),""",
        "from event",
        output=UNFLUSHED,
    )


class OneEvent(Args):
    """The arguments of a handler: an event of the inbox."""

    event_id: IdText


class Event(Args):
    """A vendor's event to store.

    subject  our id of what it is about, if known
    about    further ids it mentions, ours or the vendor's; it is erased with any of these or the subject
    """

    vendor: str
    event_id: str
    type: str
    body: str
    subject: str | None = None
    about: tuple[str, ...] = ()


class UrlSecret(NamedTuple):
    """The secret that a callback was sent with, for the row `id` of `table`, whose `callback_secret` it should be."""

    table: str
    id: str
    given: str

    @property
    def condition(self) -> str:
        """A condition of the statement that stores the event; its parameters are `values`.

        It compares digests: how long that takes tells nothing of the secret.
        """
        return f"from {self.table} where id = $21 and sha256(convert_to(callback_secret, 'UTF8')) = $22"

    @property
    def values(self) -> tuple[str, bytes]:
        """The parameters of `condition`."""
        return self.id, hashlib.sha256(self.given.encode()).digest()

    async def check(self, db: Reader) -> None:
        """Compare it alone. Errors: WrongSecret, also when there is no such row."""
        expected = await db.fetchval(f"select callback_secret from {self.table} where id = $1", self.id)  # noqa: S608
        # Compared also for an unknown id, so that timing reveals nothing.
        if not hmac.compare_digest((expected or "unknown").encode(), self.given.encode()) or expected is None:
            raise WrongSecret("The secret in the callback URL is wrong")


class WrongSecret(DaysongError):
    """The secret of a callback is not that of its row, or there is no such row."""


class NoSuchEvent(DaysongError):
    """There is no such event in the inbox, or it cannot be replayed."""


Handler = Callable[[MutationContext, OneEvent], Awaitable[Any]]


async def receive(
    runtime: Runtime, event: Event, handler: Handler | None, *, outcome: str = "noted", secret: UrlSecret | None = None
) -> bool:
    """Store a verified event and schedule `handler`; return False for a duplicate.

    Without a handler the event is stored as handled, with that outcome. With a `secret`, which needs a handler, it is
    stored only if that is right. Errors: WrongSecret.
    """

    now = runtime.clock.now()
    identifier = EventId.new(now)
    about = dict.fromkeys([event.subject, *event.about] if event.subject else event.about)
    columns = (identifier, event.vendor, event.event_id, event.type, event.subject, list(about), event.body, now)
    if handler is None:
        sql, values = _STORE_SQL, (*columns, outcome)
    else:
        args = OneEvent(event_id=identifier)
        job = runtime.queue.new_job(handler, args, due_at=now, key=_job_key(identifier, replays=0))
        sql = _store_with_job_sql(secret.condition if secret else "")
        values = (*job, *columns, *(secret.values if secret else ()))

    async def store(db: Transaction) -> bool:
        if await db.fetchval(sql, *values) is not None:
            return True
        if secret is not None:
            await secret.check(db)
        return False

    # The unique key makes it idempotent.
    return await runtime.database.mutate(store, one_statement=True)


async def trace_of(runtime: Runtime, order: str) -> str | None:
    """Return the `traceparent` that the jobs of an order began with: a song's, a video's or a call's id."""
    found: str | None = await runtime.database.one_statement().fetchval(
        # Materialized, since a plan for any order would read the jobs by id until one mentions it.
        """with found as materialized (select id, traceparent from jobs where mentioned(args) ? $1)
           select traceparent from found where traceparent is not null order by id limit 1""",
        order,
    )
    return found


def _job_key(event_id: str, *, replays: int) -> str:
    return f"event {event_id} {replays}"


async def lock_event(db: Transaction, args: OneEvent) -> Any:
    """Lock and return the row of an event that is not handled yet; None when it is handled or deleted."""
    return await db.fetchrow(
        "select * from webhook_events where id = $1 and handled_at is null for update", args.event_id
    )


async def close(ctx: MutationContext, args: OneEvent, outcome: str) -> None:
    """Mark the event as handled, with that outcome."""
    await ctx.db.execute(
        "update webhook_events set handled_at = $2, outcome = $3 where id = $1", args.event_id, ctx.now, outcome
    )


async def strip(ctx: MutationContext, args: OneEvent) -> None:
    """Remove the body and ids of a handled event, so that only the fact that it arrived is left."""
    await ctx.db.execute(
        "update webhook_events set subject = null, about = '{}', body = $2, handler = null where id = $1",
        args.event_id, STRIPPED,
    )  # fmt: skip


async def remove_body(ctx: MutationContext, args: OneEvent) -> None:
    """Remove the body of a handled event; its ids stay, so that it is erased with the account."""
    await ctx.db.execute(
        "update webhook_events set body = $2, handler = null where id = $1", args.event_id, STRIPPED
    )  # fmt: skip


async def listed(
    db: Reader, *, vendor: str | None, status: str | None, limit: int, kind: str | None = None,
    about: str | None = None, since: datetime | None = None,
) -> Sequence[asyncpg.Record]:  # fmt: skip
    """Return the newest events with the columns of STATUS_SQL.

    Optionally those of one vendor, status or type (`kind`), that mention the id `about`, or that came `since` then.
    """
    return await db.fetch(
        f"""select * from ({STATUS_SQL}) e
            where ($1::text is null or vendor = $1)
              and ($2::text is null or status = $2 and ($2 = 'handled' or handled_at is null))
              and ($4::text is null or type = $4) and ($5::text is null or about @> array[$5])
              and ($6::timestamptz is null or received_at >= $6)
            order by received_at desc, id desc limit $3""",  # noqa: S608 - a constant
        vendor, status, limit, kind, about, since,
    )  # fmt: skip


async def one(db: Reader, event_id: str) -> asyncpg.Record:
    """Return an event with the columns of STATUS_SQL. Errors: NoSuchEvent."""
    row = await db.fetchrow(f"{STATUS_SQL} where e.id = $1", event_id)
    if row is None:
        raise NoSuchEvent(f"There is no event {event_id} in the inbox.")
    return row


async def replay(runtime: Runtime, event_id: str) -> bool:
    """Schedule an event's handler again; see `replay_in`."""
    begun: bool = await runtime.mutate(replay_in, OneEvent(event_id=event_id), SYSTEM)
    return begun


async def replay_in(ctx: MutationContext, args: OneEvent) -> bool:
    """Schedule an event's handler again; False when a job is pending. Errors: NoSuchEvent when it has no handler.

    Handlers are idempotent, so a handled event may be handled again.
    """
    # Concurrent replays are serialized: the later one finds the job of the earlier.
    await ctx.db.execute("select from webhook_events where id = $1 for update", args.event_id)
    row = await one(ctx.db, args.event_id)
    if row["status"] == "waiting":
        return False
    if row["body"] == STRIPPED and row["handler"] is None:
        raise NoSuchEvent(f"The body of the event {args.event_id} was not kept: it cannot be replayed.")
    handler = ctx.jobs.handler_named(row["handler"]) if row["handler"] else None
    if handler is None:
        raise NoSuchEvent(f"Nothing handles an event of the type {row['type']}.")
    # The new job replaces the dead one.
    await ctx.db.execute(
        "delete from jobs where unique_key = $1 and status = 'dead'", f"event {args.event_id} {row['replays']}"
    )
    replays: int = await ctx.db.fetchval(
        """update webhook_events set handled_at = null, outcome = null, replays = replays + 1
           where id = $1 returning replays""",
        args.event_id,
    )
    await ctx.schedule(handler, OneEvent(event_id=args.event_id), key=_job_key(args.event_id, replays=replays))
    return True
