"""People, tags and events. Counts are counted anew, and names are compared as those of new entries are."""

from __future__ import annotations

from typing import Any

from daysong.features.memory import rules
from daysong.vendors.openai.extraction import MAX_NAME, MAX_SUMMARY, MAX_TAG, MAX_TITLE
from daysong.workflows.moving import documents as read
from daysong.workflows.moving.batches import Batch, Entry

MAX_HIGHLIGHT, MAX_LABEL = 2000, 80
MOODS, AROUSALS = (-2, 2), (1, 5)
# How often a name may be there: the second Anna becomes "Anna (2)".
MOST_NAMESAKES = 50


async def import_people(batch: Batch) -> None:
    """Import people. One whose name another person of the account has is numbered, so that no event is lost."""
    people, names = [], []
    entries = await batch.owned()
    known = await batch.present("people", [entry.id for entry in entries])
    taken = await _names(batch, "select user_id, folded as name from person_names where user_id = any($1)", entries)
    for entry in entries:
        name = rules.written(read.text(entry.document, "primaryName", MAX_NAME) or "")
        if entry.id in known:
            batch.tally.known += 1
        elif not name:
            batch.tally.skip(entry.line, "a person without a name")
        elif primary := _free_name(batch, entry, name, MAX_NAME, taken):
            people.append(_person(batch, entry))
            names.append((entry.user_id, rules.folded(primary), entry.id, primary, 0))
            others = read.texts(entry.document, "altNames", rules.MOST_NAMES - 1, MAX_NAME)
            for place, other in enumerate(map(rules.written, others), 1):
                key = (entry.user_id, rules.folded(other))
                if other and key not in taken:
                    taken.add(key)
                    names.append((*key, entry.id, other, place))
    await batch.insert(
        """insert into people (id, user_id, relationship_label, highlight, highlighted_at, created_at, updated_at)
           select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                                $7::timestamptz[])
           on conflict do nothing returning id""",
        people,
    )
    await batch.execute(
        """insert into person_names (user_id, folded, person_id, name, place)
           select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::smallint[])""",
        names,
    )


def _person(batch: Batch, entry: Entry) -> tuple[Any, ...]:
    """Return the row of a person."""
    highlight = entry.document.get("highlights")
    highlight = highlight if isinstance(highlight, dict) else {}
    summary = read.text(highlight, "summary", MAX_HIGHLIGHT)
    return (
        entry.id, entry.user_id, read.text(entry.document, "relationshipLabel", MAX_LABEL), summary,
        (read.moment(highlight, "lastGeneratedAt") or batch.now) if summary else None,
        read.made(entry.document, batch.now), read.changed(entry.document, batch.now),
    )  # fmt: skip


async def import_tags(batch: Batch) -> None:
    """Import tags. One whose name another tag of the account has is numbered, so that no event loses it."""
    rows: list[tuple[Any, ...]] = []
    entries = await batch.owned()
    known = await batch.present("tags", [entry.id for entry in entries])
    taken = await _names(batch, "select user_id, name from tags where user_id = any($1)", entries)
    for entry in entries:
        shown = rules.written(
            read.text(entry.document, "displayName", MAX_TAG) or read.text(entry.document, "name", MAX_TAG) or ""
        )
        if entry.id in known:
            batch.tally.known += 1
        elif not shown:
            batch.tally.skip(entry.line, "a tag without a name")
        elif name := _free_name(batch, entry, shown, MAX_TAG, taken):
            rows.append((entry.id, entry.user_id, rules.folded(name), name, read.made(entry.document, batch.now)))
    await batch.insert(
        """insert into tags (id, user_id, name, display_name, created_at)
           select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
           on conflict do nothing returning id""",
        rows,
    )


async def _names(batch: Batch, sql: str, entries: list[Entry]) -> set[tuple[str, str]]:
    """Return the folded names that the accounts of these documents have, each with its account."""
    return {(row["user_id"], row["name"]) for row in await batch.db.fetch(sql, [one.user_id for one in entries])}


def _free_name(batch: Batch, entry: Entry, name: str, longest: int, taken: set[tuple[str, str]]) -> str | None:
    """Return the name, numbered when another of the account has it, and take it; None, reported, when all are taken."""
    for place in range(1, MOST_NAMESAKES):
        numbered = name if place == 1 else f"{name[: longest - 5]} ({place})"
        key = (entry.user_id, rules.folded(numbered))
        if key not in taken:
            taken.add(key)
            if place > 1:
                batch.tally.note(entry.line, "another one has this name: numbered")
            return numbered
    batch.tally.skip(entry.line, "too many have this name")
    return None


async def import_events(batch: Batch) -> None:
    """Import events of entries that are there, with the people and tags of their account."""
    entries = await batch.owned()
    diaries = await batch.present("diaries", [entry.document.get("diaryId") for entry in entries])
    rows, kept = [], []
    for entry in entries:
        document = entry.document
        title = rules.written(read.text(document, "title", MAX_TITLE) or "")
        if diaries.get(str(document.get("diaryId"))) != entry.user_id:
            batch.tally.skip(entry.line, "its entry is not there")
        elif not title:
            batch.tally.skip(entry.line, "an event without a title")
        else:
            made = read.made(document, batch.now)
            kept.append(entry)
            rows.append((
                entry.id, entry.user_id, document["diaryId"], read.moment(document, "happenedAt") or made, title,
                read.text(document, "summary", MAX_SUMMARY) or title, _within(document, "mood", MOODS),
                _within(document, "arousal", AROUSALS), read.flag(document, "anniversaryCandidate"), made,
                read.changed(document, batch.now),
            ))  # fmt: skip
    inserted = await batch.insert(
        """insert into events (id, user_id, diary_id, happened_at, title, summary, mood, arousal, anniversary_candidate,
                               created_at, updated_at)
           select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[],
                                $7::smallint[], $8::smallint[], $9::boolean[], $10::timestamptz[], $11::timestamptz[])
           on conflict do nothing returning id""",
        rows,
    )
    new = [entry for entry in kept if entry.id in inserted]
    for link, parent, column, field in (
        ("event_people", "people", "person_id", "personIds"),
        ("event_tags", "tags", "tag_id", "tagIds"),
    ):
        await batch.execute(
            f"""insert into {link} (event_id, {column}, user_id, happened_at, place)
                select e.id, p.id, e.user_id, e.happened_at, l.place
                from unnest($1::text[], $2::text[], $3::smallint[]) as l (event_id, linked_id, place)
                join events e on e.id = l.event_id join {parent} p on p.id = l.linked_id and p.user_id = e.user_id
                on conflict do nothing""",  # noqa: S608 - constants
            [
                (entry.id, linked, place)
                for entry in new
                for place, linked in enumerate(read.texts(entry.document, field, rules.MOST_NAMES, 64))
            ],
        )


def _within(document: read.Document, name: str, bounds: tuple[int, int]) -> int | None:
    """Return a whole number within its bounds; None when it is absent."""
    value = read.number(document, name)
    return None if value is None else max(bounds[0], min(bounds[1], round(value)))
