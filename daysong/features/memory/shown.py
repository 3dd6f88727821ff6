"""Events as apps see them, and the SQL that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.memory import rules
from daysong.kernel.functions.declarations import Result, given


class Named(Result):
    """A person by the primary name, or a tag as it was first written."""

    id: str = msgspec.field(name="_id")
    name: str


class _Event(Result, kw_only=True):
    id: str = msgspec.field(name="_id")
    creation_time: float = msgspec.field(name="_creationTime")
    happened_at: float
    title: str
    summary: str
    mood: int | UnsetType = UNSET
    mood_word: str | UnsetType = UNSET
    arousal: int | UnsetType = UNSET
    arousal_word: str | UnsetType = UNSET
    people: list[Named]


class EntryEvent(_Event, kw_only=True):
    """An event of an entry; `mood` is -2 to 2 and `arousal` 1 to 5, each with its word."""

    tags: list[Named]


class _Whole(_Event, kw_only=True):
    user_id: str
    diary_id: str
    anniversary_candidate: bool | UnsetType = UNSET
    person_ids: list[str] | UnsetType = UNSET
    tag_ids: list[str] | UnsetType = UNSET


class MemoryEvent(_Whole, kw_only=True):
    """An event; times in ms, `mood` is -2 to 2 and `arousal` 1 to 5, each with its word."""

    tags: list[Named]


class TimelineEvent(_Whole, kw_only=True):
    """An event whose `tags` are texts; `tags_details` has their ids."""

    tags: list[str]
    tags_details: list[Named]


# The columns of an event `e`, with its people and tags as JSON.
EVENT_COLUMNS = """e.id, ms(e.created_at) as created_at, e.user_id, e.diary_id, ms(e.happened_at) as happened_at,
           e.title, e.summary, e.mood, e.arousal, e.anniversary_candidate,
           (select jsonb_agg(jsonb_build_object('_id', n.person_id, 'name', n.name) order by l.place)
            from event_people l join person_names n on n.person_id = l.person_id and n.place = 0
            where l.event_id = e.id) as people,
           (select jsonb_agg(jsonb_build_object('_id', t.id, 'name', t.display_name) order by l.place)
            from event_tags l join tags t on t.id = l.tag_id
            where l.event_id = e.id) as tags"""

# The tables of these columns.
EVENT_TABLES = ("events", "event_people", "person_names", "event_tags", "tags")


def events_of(diary_id: str) -> str:
    """Return SQL for the events of the entry with that SQL expression as its id, as one JSON array, or null."""
    return f"""(select jsonb_agg(to_jsonb(found) order by found.id)
                from (select {EVENT_COLUMNS} from events e where e.diary_id = {diary_id}) found)"""  # noqa: S608


def entry_event(row: Mapping[str, Any]) -> EntryEvent:
    """Return an event, of a row or of the JSON of `events_of`."""
    return EntryEvent(**_fields(row), tags=_named(row["tags"]))


def memory_event(row: Mapping[str, Any]) -> MemoryEvent:
    """Return an event of a row."""
    return MemoryEvent(**_fields(row), **_more_fields(row), tags=_named(row["tags"]))


def timeline_event(row: Mapping[str, Any]) -> TimelineEvent:
    """Return an event of a row."""
    tags = _named(row["tags"])
    return TimelineEvent(**_fields(row), **_more_fields(row), tags=[tag.name for tag in tags], tags_details=tags)


def _named(values: list[dict[str, str]] | None) -> list[Named]:
    return [Named(id=value["_id"], name=value["name"]) for value in values or ()]


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    mood, arousal = row["mood"], row["arousal"]
    return {
        "id": row["id"],
        "creation_time": float(row["created_at"]),
        "happened_at": float(row["happened_at"]),
        "title": row["title"],
        "summary": row["summary"],
        "mood": given(mood),
        "mood_word": given(rules.MOOD_WORDS.get(mood)),
        "arousal": given(arousal),
        "arousal_word": given(rules.AROUSAL_WORDS.get(arousal)),
        "people": _named(row["people"]),
    }


def _more_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "user_id": row["user_id"],
        "diary_id": row["diary_id"],
        "anniversary_candidate": given(row["anniversary_candidate"]),
        "person_ids": [person["_id"] for person in row["people"] or ()] or UNSET,
        "tag_ids": [tag["_id"] for tag in row["tags"] or ()] or UNSET,
    }
