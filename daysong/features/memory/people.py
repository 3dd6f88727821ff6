"""People that events name: list and read them, edit one, merge two that are one person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.memory import rules
from daysong.features.memory.events import Moment, Name
from daysong.features.memory.shown import EVENT_COLUMNS, EVENT_TABLES, TimelineEvent, timeline_event
from daysong.features.subscriptions import accounts
from daysong.features.users.callers import CALLERS_ID
from daysong.kernel.database.transactions import Reader, Transaction
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, given, mutation, query
from daysong.kernel.ids import UserId
from daysong.kernel.time.clock import from_ms, to_ms
from daysong.kernel.visible import trimmed

MOST_LISTED = 200
RECENT_EVENTS = 3


class Highlights(Result):
    """A summary of what the caller has experienced with a person, and when it was written (ms)."""

    summary: str
    last_generated_at: float


class Person(Result, kw_only=True):
    """A person; count and time (ms) are those of the events that name the person."""

    id: str = msgspec.field(name="_id")
    creation_time: float = msgspec.field(name="_creationTime")
    user_id: str
    primary_name: str
    alt_names: list[str] | UnsetType = UNSET
    relationship_label: str | UnsetType = UNSET
    last_mentioned_at: float | UnsetType = UNSET
    interaction_count: int
    highlights: Highlights | UnsetType = UNSET


class PersonDetail(Result):
    """A person, and the newest three events that name the person."""

    person: Person
    recent_events: list[TimelineEvent]


class OnePerson(Args):
    """Which person."""

    person_id: IdText


class NewHighlights(Args):
    """A summary; an empty one clears it. `last_generated_at` is now if it is not given."""

    summary: Annotated[str, msgspec.Meta(max_length=2_000)]
    last_generated_at: Moment | UnsetType = UNSET


class UpdatePerson(OnePerson):
    """Which person, and what to change; an empty label or list clears it."""

    primary_name: Name | UnsetType = UNSET
    alt_names: Annotated[list[Name], msgspec.Meta(max_length=rules.MOST_NAMES - 1)] | UnsetType = UNSET
    relationship_label: Annotated[str, msgspec.Meta(max_length=80)] | UnsetType = UNSET
    highlights: NewHighlights | UnsetType = UNSET


class MergePeople(OnePerson):
    """Which person goes, and into which."""

    into_person_id: IdText


COLUMNS = """p.id, p.created_at, p.user_id, p.relationship_label, p.highlight, p.highlighted_at,
           (select array_agg(n.name order by n.place) from person_names n where n.person_id = p.id) as names"""

LIST_SQL = f"""
    select {COLUMNS}, p.events, p.last_at
    from (select p.*, coalesce(counted.events, 0) as events, counted.last_at
          from people p left join (
              select person_id, count(*) as events, max(happened_at) as last_at
              from event_people where user_id = {CALLERS_ID} group by person_id) counted on counted.person_id = p.id
          where p.user_id = {CALLERS_ID}
          order by coalesce(counted.events, 0) desc, counted.last_at desc nulls last, p.id limit {MOST_LISTED}) p
    order by p.events desc, p.last_at desc nulls last, p.id"""  # noqa: S608 - constants

DETAIL_SQL = f"""
    select {COLUMNS}, counted.events, counted.last_at, recent.events as recent_events
    from people p
    cross join lateral (select count(*) as events, max(l.happened_at) as last_at from event_people l
                        where l.user_id = p.user_id and l.person_id = p.id) counted
    cross join lateral (
        select jsonb_agg(to_jsonb(found) order by found.happened_at desc, found.id desc) as events
        from (select {EVENT_COLUMNS}
              from (select l.event_id from event_people l where l.user_id = p.user_id and l.person_id = p.id
                    order by l.happened_at desc, l.event_id desc limit {RECENT_EVENTS}) newest
              join events e on e.id = newest.event_id) found) recent
    where p.user_id = {CALLERS_ID} and p.id = $2"""  # noqa: S608 - constants


@query(reads=("users", "people", "person_names", "event_people"))
async def list_people(ctx: QueryContext, args: NoArgs) -> list[Person]:  # noqa: ARG001
    """Return the caller's people, those with most events first, at most 200; [] to an anonymous caller."""
    if ctx.caller.subject is None:
        return []
    return [_person(row) for row in await ctx.db.fetch(LIST_SQL, ctx.caller.subject)]


@query(reads=("users", "people", *EVENT_TABLES))
async def get_person_detail(ctx: QueryContext, args: OnePerson) -> PersonDetail | None:
    """Return a person of the caller with the newest events; null for another's, and for one that does not exist."""
    if ctx.caller.subject is None:
        return None
    row = await ctx.db.fetchrow(DETAIL_SQL, ctx.caller.subject, args.person_id)
    if row is None:
        return None
    return PersonDetail(
        person=_person(row), recent_events=[timeline_event(event) for event in row["recent_events"] or ()]
    )


def _person(row: Mapping[str, Any]) -> Person:
    primary, *others = row["names"]
    return Person(
        id=row["id"],
        creation_time=to_ms(row["created_at"]),
        user_id=row["user_id"],
        primary_name=primary,
        alt_names=others or UNSET,
        relationship_label=given(row["relationship_label"]),
        last_mentioned_at=UNSET if row["last_at"] is None else to_ms(row["last_at"]),
        interaction_count=row["events"],
        highlights=UNSET if row["highlight"] is None else Highlights(row["highlight"], to_ms(row["highlighted_at"])),
    )


@mutation
async def update_person(ctx: MutationContext, args: UpdatePerson) -> None:
    """Edit a person of the caller. Errors: PersonNotFound, NameTaken, TextIsEmpty."""
    owner = await accounts.of_caller(ctx)
    await _check_owned(ctx.db, owner, args.person_id)
    if args.primary_name is not UNSET or args.alt_names is not UNSET:
        await _rename(ctx.db, owner, args)
    if args.relationship_label is not UNSET:
        label = rules.written(args.relationship_label) or None
        await ctx.db.execute("update people set relationship_label = $2 where id = $1", args.person_id, label)
    if args.highlights is not UNSET:
        summary, at = trimmed(args.highlights.summary) or None, args.highlights.last_generated_at
        await ctx.db.execute(
            "update people set highlight = $2, highlighted_at = $3, highlight_is_own = $4 where id = $1",
            args.person_id, summary, summary and (ctx.now if at is UNSET else from_ms(at)), summary is not None,
        )  # fmt: skip
    await ctx.db.execute("update people set edited_at = $2, updated_at = $2 where id = $1", args.person_id, ctx.now)


async def _rename(db: Transaction, owner: UserId, args: UpdatePerson) -> None:
    primary, *others = await names_of(db, args.person_id)
    if args.primary_name is not UNSET:
        primary = rules.checked(args.primary_name)
    if args.alt_names is not UNSET:
        others = rules.all_distinct(args.alt_names)
    names = rules.distinct([primary, *others])
    if await db.fetchval(
        "select true from person_names where user_id = $1 and folded = any($2) and person_id <> $3 limit 1",
        owner, list(names), args.person_id,
    ):  # fmt: skip
        raise rules.NameTaken
    await db.execute("delete from person_names where user_id = $1 and person_id = $2", owner, args.person_id)
    await db.execute(
        """insert into person_names (user_id, folded, person_id, name, place)
           select $1, n.folded, $2, n.name, n.place - 1
           from unnest($3::text[], $4::text[]) with ordinality n (folded, name, place)""",
        owner, args.person_id, list(names), list(names.values()),
    )  # fmt: skip


@mutation
async def merge_people(ctx: MutationContext, args: MergePeople) -> None:
    """Make two people of the caller one: events, names, label and summary of the first go to the second.

    The second keeps its primary name, and its label and summary if it has them. Errors: PersonNotFound, TooManyNames.
    """
    owner = await accounts.of_caller(ctx)
    await _check_owned(ctx.db, owner, args.person_id)
    await _check_owned(ctx.db, owner, args.into_person_id)
    if args.person_id == args.into_person_id:
        return
    kept = await names_of(ctx.db, args.into_person_id)
    if len(kept) + len(await names_of(ctx.db, args.person_id)) > rules.MOST_NAMES:
        raise rules.TooManyNames
    await ctx.db.execute(
        """insert into event_people (event_id, person_id, user_id, happened_at, place)
           select event_id, $3, user_id, happened_at, place from event_people where user_id = $1 and person_id = $2
           on conflict (event_id, person_id) do nothing""",
        owner, args.person_id, args.into_person_id,
    )  # fmt: skip
    await ctx.db.execute(
        """update person_names set person_id = $3,
             place = place + 1 + (select max(place) from person_names where person_id = $3)
           where user_id = $1 and person_id = $2""",
        owner, args.person_id, args.into_person_id,
    )  # fmt: skip
    await ctx.db.execute(
        """update people p set edited_at = $3, updated_at = $3,
             relationship_label = coalesce(p.relationship_label, gone.relationship_label),
             highlight = coalesce(p.highlight, gone.highlight),
             highlighted_at = case when p.highlight is null then gone.highlighted_at else p.highlighted_at end,
             highlight_is_own = case when p.highlight is null then gone.highlight_is_own else p.highlight_is_own end
           from people gone where p.id = $2 and gone.id = $1""",
        args.person_id, args.into_person_id, ctx.now,
    )  # fmt: skip
    await ctx.db.execute("delete from people where id = $1", args.person_id)


async def names_of(db: Reader, person_id: str) -> list[str]:
    """Return the names of a person, the primary one first."""
    rows: list[asyncpg.Record] = await db.fetch(
        "select name from person_names where person_id = $1 order by place", person_id
    )
    return [row["name"] for row in rows]


async def _check_owned(db: Reader, owner: UserId, person_id: str) -> None:
    if not await db.fetchval("select true from people where id = $1 and user_id = $2", person_id, owner):
        raise rules.PersonNotFound
