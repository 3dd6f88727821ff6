"""Events of a user: read by time, edited, counted; and all of it for its owner alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from daysong.features.memory import events, people, tags
from daysong.features.memory.shown import EVENT_COLUMNS
from daysong.kernel.time.clock import to_ms
from rehearsal import library, memories
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

EVENT_SQL = f"select {EVENT_COLUMNS} from events e where e.id = $1"  # noqa: S608 - constants
MODULES = ("memory/people:listPeople", "memory/tags:listTags", "memory/events:getTimelineEvents")


async def refusal(person: Person, path: str, **args: Any) -> str | None:
    """Return the code of the error that a mutation ends with."""
    with pytest.raises(FunctionError) as refused:
        await person.mutation(path, **args)
    return refused.value.code


async def test_f66_the_timeline_is_of_its_range(world: World, alice: Person) -> None:
    """Newest first, both ends included, as many as were asked for."""
    filled = await memories.fill(world, "alice", 60)
    assert [event["_id"] for event in await alice.query("memory/events:getTimelineEvents")] == [
        memory.event_id for memory in filled[:50]
    ]
    start, end = (to_ms(world.clock.now() - timedelta(hours=hours)) for hours in (4, 2))
    listed = await alice.query("memory/events:getTimelineEvents", range={"start": start, "end": end})
    assert [event["_id"] for event in listed] == [memory.event_id for memory in filled[1:4]]
    limited = await alice.query("memory/events:getTimelineEvents", range={"start": start, "end": end}, limit=1)
    assert limited == listed[:1]
    [first] = limited
    assert first["tags"] == [tag["name"] for tag in first["tagsDetails"]] == ["Secret subject 0"]
    assert [person["name"] for person in first["people"]] == ["Secret friend 0", "Secret friend 2"]
    assert first["personIds"] == [person["_id"] for person in first["people"]]


async def test_f66_an_event_without_a_mood_has_no_word_for_it(world: World, alice: Person) -> None:
    """What is not known is left out."""
    [memory] = await memories.fill(world, "alice", 1)
    event = await alice.query("events:getEvent", eventId=memory.event_id)
    assert (event["mood"], event["moodWord"], event["arousal"], event["arousalWord"]) == (-1, "negative", 2, "calm")
    await world.db.pool.execute("update events set mood = null, arousal = null")
    event = await alice.query("events:getEvent", eventId=memory.event_id)
    assert {"mood", "moodWord", "arousal", "arousalWord"}.isdisjoint(event)


async def test_an_event_is_edited(world: World, alice: Person, bob: Person) -> None:
    """Tags and people by their names: those in use, whatever their case, or new ones; what is unused then goes."""
    [memory] = await memories.fill(world, "alice", 1)
    await alice.mutation(
        "events:updateEvent", eventId=memory.event_id, title=" Soup ", summary="You ate.", mood=2, arousal=5,
        tags=["SECRET SUBJECT 1", "Food", "food"], peopleNames=["Anna", "secret friend 0"],
    )  # fmt: skip
    event = await alice.query("events:getEvent", eventId=memory.event_id)
    assert (event["title"], event["summary"], event["moodWord"]) == ("Soup", "You ate.", "very positive")
    assert [tag["name"] for tag in event["tags"]] == ["Secret subject 1", "Food"]
    assert [person["name"] for person in event["people"]] == ["Anna", "Secret friend 0"]
    assert event["people"][1]["_id"] == memory.person_id
    assert {person["primaryName"] for person in await alice.query("memory/people:listPeople")} >= {"Anna"}
    await alice.mutation("events:updateEvent", eventId=memory.event_id, tags=[], peopleNames=[])
    event = await alice.query("events:getEvent", eventId=memory.event_id)
    assert (event["tags"], event["people"]) == ([], [])
    assert {"tagIds", "personIds"}.isdisjoint(event)
    assert await refusal(alice, "events:updateEvent", eventId=memory.event_id, title=" \u200b") == "text_is_empty"
    assert await refusal(alice, "events:updateEvent", eventId=memory.event_id, tags=["ok", " "]) == "text_is_empty"
    assert await refusal(bob, "events:updateEvent", eventId=memory.event_id, title="Mine") == "event_not_found"
    assert await bob.query("events:getEvent", eventId=memory.event_id) is None


async def test_tags_are_counted(world: World, alice: Person) -> None:
    """Most used first, with the time of the newest event."""
    await memories.fill(world, "alice", 5)
    second, first = await alice.query("memory/tags:listTags")
    assert (second["name"], second["displayName"], second["eventCount"]) == ("secret subject 1", "Secret subject 1", 3)
    assert (first["eventCount"], second["lastUsedAt"]) == (2, to_ms(world.clock.now() - timedelta(hours=1)))


@pytest.mark.parametrize("path", MODULES)
async def test_modules_with_a_slash_are_called_in_every_way(world: World, alice: Person, path: str) -> None:
    """Also by the route that has the name in its path, and as older clients write it."""
    await memories.fill(world, "alice", 1)
    listed = await alice.query(path)
    assert len(listed) > 0
    assert await alice.query(path.replace(":", ".js:")) == listed
    named = await world.http.post(
        f"/api/run/{path.replace(':', '/')}", json={"args": {}, "format": "json"}, headers=alice.headers
    )
    assert named.json()["value"] == listed


@pytest.mark.parametrize("generic", [True, False])
async def test_ten_thousand_events_are_read_by_index(world: World, alice: Person, *, generic: bool) -> None:
    """The timeline, an event and a person cost the same however many events there are; counts read an index only."""
    memory = (await memories.fill(world, "alice", 10_000, people=300, tags=40))[0]
    await library.crowd(world, 200)
    ends = (f"'{events.FIRST_MOMENT.isoformat()}'", f"'{events.LAST_MOMENT.isoformat()}'")
    statements = {
        events.TIMELINE_SQL: ("'user_alice'", *ends, "50"),
        EVENT_SQL: (f"'{memory.event_id}'",),
        people.DETAIL_SQL: ("'user_alice'", f"'{memory.person_id}'"),
        people.LIST_SQL: ("'user_alice'",),
        tags.LIST_SQL: ("'user_alice'",),
    }
    for sql, args in statements.items():
        plan = await library.plan(world, sql, args, generic=generic)
        scans = [node for node in library.nodes(plan) if node["Node Type"] == "Seq Scan"]
        large = {"events", "event_people", "event_tags"} if sql not in {people.LIST_SQL, tags.LIST_SQL} else {"events"}
        assert large.isdisjoint(node["Relation Name"] for node in scans), sql
    listed = await alice.query("memory/people:listPeople")
    assert len(listed) == 200
    assert listed[0]["interactionCount"] == 10_000
