"""Events: read one, read them by time, edit one. An event that its user has edited outlasts changes of its entry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.memory import rules, store
from daysong.features.memory.shown import (
    EVENT_COLUMNS,
    EVENT_TABLES,
    MemoryEvent,
    TimelineEvent,
    memory_event,
    timeline_event,
)
from daysong.features.subscriptions import accounts
from daysong.features.users.callers import CALLERS_ID
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, mutation, query
from daysong.kernel.time.clock import from_ms, to_ms
from daysong.kernel.visible import trimmed
from daysong.vendors.openai.extraction import MAX_NAME, MAX_SUMMARY, MAX_TAG, MAX_TITLE

FIRST_MOMENT, LAST_MOMENT = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
# Milliseconds since the epoch.
Moment = Annotated[float, msgspec.Meta(ge=to_ms(FIRST_MOMENT), le=to_ms(LAST_MOMENT))]
Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
Tag = Annotated[str, msgspec.Meta(max_length=MAX_TAG)]

TIMELINE_SQL = f"""
    select {EVENT_COLUMNS}
    from (select * from events
          where user_id = {CALLERS_ID} and happened_at >= $2 and happened_at <= $3
          order by happened_at desc, id desc limit $4) e
    order by e.happened_at desc, e.id desc"""  # noqa: S608 - constants


class GetEvent(Args):
    """Which event."""

    event_id: IdText


class UpdateEvent(Args):
    """Which event, and what to change; an empty list removes all tags or people."""

    event_id: IdText
    title: Annotated[str, msgspec.Meta(max_length=MAX_TITLE)] | UnsetType = UNSET
    summary: Annotated[str, msgspec.Meta(max_length=MAX_SUMMARY)] | UnsetType = UNSET
    mood: Annotated[int, msgspec.Meta(ge=-2, le=2)] | UnsetType = UNSET
    arousal: Annotated[int, msgspec.Meta(ge=1, le=5)] | UnsetType = UNSET
    tags: Annotated[list[Tag], msgspec.Meta(max_length=10)] | UnsetType = UNSET
    people_names: Annotated[list[Name], msgspec.Meta(max_length=20)] | UnsetType = UNSET


class Range(Args):
    """From `start` to `end`, both included, in ms."""

    start: Moment
    end: Moment


class GetTimelineEvents(Args):
    """Of which time, and how many at most."""

    range: Range | UnsetType = UNSET
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


@query(reads=("users", *EVENT_TABLES))
async def get_event(ctx: QueryContext, args: GetEvent) -> MemoryEvent | None:
    """Return an event of the caller; null for another's, and for one that does not exist."""
    if ctx.caller.subject is None:
        return None
    row = await ctx.db.fetchrow(
        f"select {EVENT_COLUMNS} from events e where e.id = $2 and e.user_id = {CALLERS_ID}",  # noqa: S608
        ctx.caller.subject,
        args.event_id,
    )
    return memory_event(row) if row else None


@query(reads=("users", *EVENT_TABLES))
async def get_timeline_events(ctx: QueryContext, args: GetTimelineEvents) -> list[TimelineEvent]:
    """Return the newest events of the caller, newest first, of `range` if it is given; [] to an anonymous caller."""
    if ctx.caller.subject is None:
        return []
    start, end = FIRST_MOMENT, LAST_MOMENT
    if args.range is not UNSET:
        start, end = from_ms(args.range.start), from_ms(args.range.end)
    rows = await ctx.db.fetch(TIMELINE_SQL, ctx.caller.subject, start, end, args.limit)
    return [timeline_event(row) for row in rows]


@mutation
async def update_event(ctx: MutationContext, args: UpdateEvent) -> None:
    """Edit an event of the caller, which then stays as it is when its entry changes.

    New people and tags are added to the caller's. Errors: EventNotFound, TextIsEmpty, TooManyNames.
    """
    owner = await accounts.of_caller(ctx)
    if await ctx.db.fetchval("select user_id from events where id = $1", args.event_id) != owner:
        raise rules.EventNotFound
    await ctx.db.execute(
        """update events set title = coalesce($2, title), summary = coalesce($3, summary), mood = coalesce($4, mood),
             arousal = coalesce($5, arousal), edited_at = $6, updated_at = $6
           where id = $1""",
        args.event_id, *_texts(args), _or_none(args.mood), _or_none(args.arousal), ctx.now,
    )  # fmt: skip
    if args.tags is not UNSET:
        await store.set_tags(ctx.db, owner, args.event_id, rules.all_distinct(args.tags), ctx.now)
    if args.people_names is not UNSET:
        await store.set_people(ctx.db, owner, args.event_id, rules.all_distinct(args.people_names), ctx.now)


def _texts(args: UpdateEvent) -> tuple[str | None, str | None]:
    title = None if args.title is UNSET else rules.checked(args.title)
    if args.summary is UNSET:
        return title, None
    if not (summary := trimmed(args.summary)):
        raise rules.TextIsEmpty
    return title, summary


def _or_none(value: Any) -> Any:
    return None if value is UNSET else value
