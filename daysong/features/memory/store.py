"""Rows of events, people and tags. Every function is part of its caller's transaction, which holds the account's lock.

A person or tag without events goes, unless the user has edited it: it was read from words that are gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from daysong.features.memory import rules
from daysong.kernel.database.transactions import Reader, Transaction
from daysong.kernel.ids import MemoryEventId, PersonId, TagId, UserId
from daysong.vendors.openai.extraction import FoundEvent


class Links(NamedTuple):
    """People and tags of events."""

    people: list[str]
    tags: list[str]


async def people_by_name(db: Transaction, owner: UserId, names: Iterable[str], now: datetime) -> dict[str, str]:
    """Return the ids of people by folded name; unknown ones are inserted, as far as there is room."""
    wanted = rules.distinct(names)
    rows = await db.fetch(
        "select folded, person_id from person_names where user_id = $1 and folded = any($2)", owner, list(wanted)
    )
    found = {row["folded"]: row["person_id"] for row in rows}
    missing = [key for key in wanted if key not in found]
    if missing:
        count = await db.fetchval("select count(*) from people where user_id = $1", owner)
        missing = missing[: max(0, rules.MOST_PEOPLE - count)]
        new = {key: PersonId.new(now) for key in missing}
        await db.execute(
            """insert into people (id, user_id, created_at, updated_at)
               select id, $1, $3, $3 from unnest($2::text[]) id""",
            owner, list(new.values()), now,
        )  # fmt: skip
        await db.execute(
            """insert into person_names (user_id, folded, person_id, name)
               select $1, n.folded, n.person_id, n.name
               from unnest($2::text[], $3::text[], $4::text[]) n (folded, person_id, name)""",
            owner, list(new), list(new.values()), [wanted[key] for key in new],
        )  # fmt: skip
        found |= new
    return found


async def tags_by_name(db: Transaction, owner: UserId, names: Iterable[str], now: datetime) -> dict[str, str]:
    """Return the ids of tags by folded name; unknown ones are inserted, as far as there is room."""
    wanted = rules.distinct(names)
    rows = await db.fetch("select name, id from tags where user_id = $1 and name = any($2)", owner, list(wanted))
    found = {row["name"]: row["id"] for row in rows}
    missing = [key for key in wanted if key not in found]
    if missing:
        count = await db.fetchval("select count(*) from tags where user_id = $1", owner)
        new = {key: TagId.new(now) for key in missing[: max(0, rules.MOST_TAGS - count)]}
        await db.execute(
            """insert into tags (id, user_id, name, display_name, created_at)
               select n.id, $1, n.name, n.display_name, $5
               from unnest($2::text[], $3::text[], $4::text[]) n (id, name, display_name)""",
            owner, list(new.values()), list(new), [wanted[key] for key in new], now,
        )  # fmt: skip
        found |= new
    return found


async def kept_events(db: Reader, diary_id: str) -> list[asyncpg.Record]:
    """Return title and summary of the events of an entry that its user has edited."""
    return await db.fetch(
        "select title, summary from events where diary_id = $1 and edited_at is not null order by id", diary_id
    )


async def replace_events(
    db: Transaction, owner: UserId, diary_id: str, date: datetime, found: Sequence[FoundEvent], now: datetime
) -> None:
    """Replace the events that were read from an entry. Those that the user has edited stay, and are not repeated."""
    kept = await kept_events(db, diary_id)
    repeated = {rules.folded(row["title"]) for row in kept}
    found = [event for event in found if rules.folded(event.title) not in repeated][: rules.room_for(len(kept))]
    before = await _links(db, "e.diary_id = $1 and e.edited_at is null", diary_id)
    await db.execute("delete from events where diary_id = $1 and edited_at is null", diary_id)
    events = {MemoryEventId.new(now): event for event in found}
    people = await people_by_name(db, owner, (name for event in found for name in event.people), now)
    tags = await tags_by_name(db, owner, (name for event in found for name in event.tags), now)
    texts = [(event.title, event.summary, event.mood, event.arousal, event.anniversary_candidate) for event in found]
    await db.execute(
        """insert into events (id, user_id, diary_id, happened_at, title, summary, mood, arousal,
                               anniversary_candidate, created_at, updated_at)
           select e.id, $1, $2, $3, e.title, e.summary, e.mood, e.arousal, e.candidate, $4, $4
           from unnest($5::text[], $6::text[], $7::text[], $8::smallint[], $9::smallint[], $10::boolean[])
             e (id, title, summary, mood, arousal, candidate)""",
        owner, diary_id, date, now, list(events), *([row[column] for row in texts] for column in range(5)),
    )  # fmt: skip
    await link_people(db, {event_id: _ids(people, event.people) for event_id, event in events.items()})
    await link_tags(db, {event_id: _ids(tags, event.tags) for event_id, event in events.items()})
    await prune(db, owner, before)


def _ids(known: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Return the ids of names in their order, each once."""
    keys = map(rules.folded, names)
    return list(dict.fromkeys(known[key] for key in keys if key in known))


async def link_people(db: Transaction, people: Mapping[str, Sequence[str]]) -> None:
    """Insert the people of events that have none."""
    await db.execute(
        """insert into event_people (event_id, person_id, user_id, happened_at, place)
           select e.id, l.person_id, e.user_id, e.happened_at, l.place
           from unnest($1::text[], $2::text[], $3::smallint[]) l (event_id, person_id, place)
           join events e on e.id = l.event_id""",
        *_columns(people),
    )


async def link_tags(db: Transaction, tags: Mapping[str, Sequence[str]]) -> None:
    """Insert the tags of events that have none."""
    await db.execute(
        """insert into event_tags (event_id, tag_id, user_id, happened_at, place)
           select e.id, l.tag_id, e.user_id, e.happened_at, l.place
           from unnest($1::text[], $2::text[], $3::smallint[]) l (event_id, tag_id, place)
           join events e on e.id = l.event_id""",
        *_columns(tags),
    )


def _columns(linked: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str], list[int]]:
    rows = [(event_id, one, place) for event_id, several in linked.items() for place, one in enumerate(several)]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


async def set_people(db: Transaction, owner: UserId, event_id: str, names: Sequence[str], now: datetime) -> None:
    """Replace the people of an event. Errors: TooManyNames when the account has no room for new ones."""
    before = await _links(db, "e.id = $1", event_id)
    known = await people_by_name(db, owner, names, now)
    _check_all(known, names)
    await db.execute("delete from event_people where event_id = $1", event_id)
    await link_people(db, {event_id: _ids(known, names)})
    await prune(db, owner, Links(before.people, []))


async def set_tags(db: Transaction, owner: UserId, event_id: str, names: Sequence[str], now: datetime) -> None:
    """Replace the tags of an event. Errors: TooManyNames when the account has no room for new ones."""
    before = await _links(db, "e.id = $1", event_id)
    known = await tags_by_name(db, owner, names, now)
    _check_all(known, names)
    await db.execute("delete from event_tags where event_id = $1", event_id)
    await link_tags(db, {event_id: _ids(known, names)})
    await prune(db, owner, Links([], before.tags))


def _check_all(known: Mapping[str, str], names: Iterable[str]) -> None:
    if any(rules.folded(name) not in known for name in names):
        raise rules.TooManyNames


async def forget_entry(db: Transaction, owner: UserId, diary_id: str) -> None:
    """Delete the events of an entry that is about to be deleted, and summaries that a model wrote of them."""
    gone = await _links(db, "e.diary_id = $1", diary_id)
    await db.execute("delete from events where diary_id = $1", diary_id)
    await db.execute(
        """update people set highlight = null, highlighted_at = null
           where user_id = $1 and id = any($2) and highlight is not null and not highlight_is_own""",
        owner, gone.people,
    )  # fmt: skip
    await prune(db, owner, gone)


async def _links(db: Reader, which: str, subject: str) -> Links:
    """Return the people and tags of the events `e` that satisfy a condition of this file, with `subject` as $1."""
    people = await db.fetch(
        f"select distinct person_id from event_people where event_id in (select e.id from events e where {which})",  # noqa: S608
        subject,
    )
    tags = await db.fetch(
        f"select distinct tag_id from event_tags where event_id in (select e.id from events e where {which})",  # noqa: S608
        subject,
    )
    return Links([row["person_id"] for row in people], [row["tag_id"] for row in tags])


async def prune(db: Transaction, owner: UserId, links: Links) -> None:
    """Delete those of these people and tags that no event names any more, and that the user has not edited."""
    if links.people:
        await db.execute(
            """delete from people p where p.user_id = $1 and p.id = any($2) and p.edited_at is null
               and not exists (select from event_people l where l.user_id = $1 and l.person_id = p.id)""",
            owner, links.people,
        )  # fmt: skip
    if links.tags:
        await db.execute(
            """delete from tags t where t.user_id = $1 and t.id = any($2)
               and not exists (select from event_tags l where l.user_id = $1 and l.tag_id = t.id)""",
            owner, links.tags,
        )  # fmt: skip


async def most_used(db: Reader, owner: str, count: int) -> tuple[list[str], list[str]]:
    """Return the names of the people and tags with most events."""
    people = await db.fetch(
        """select n.name from (select person_id, count(*) as events from event_people where user_id = $1
                               group by person_id order by count(*) desc, person_id limit $2) most
           join person_names n on n.person_id = most.person_id and n.place = 0
           order by most.events desc, most.person_id""",
        owner, count,
    )  # fmt: skip
    tags = await db.fetch(
        """select t.display_name from (select tag_id, count(*) as events from event_tags where user_id = $1
                                       group by tag_id order by count(*) desc, tag_id limit $2) most
           join tags t on t.id = most.tag_id
           order by most.events desc, most.tag_id""",
        owner, count,
    )  # fmt: skip
    return [row["name"] for row in people], [row["display_name"] for row in tags]
