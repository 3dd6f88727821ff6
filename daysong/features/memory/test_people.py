"""People of a user: listed by their events, renamed, merged, and summed up by a model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from daysong.features.memory import rules
from daysong.features.memory.test_events import refusal
from daysong.kernel.time.clock import to_ms
from rehearsal import memories
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio


async def of(person: Person) -> dict[str, dict[str, Any]]:
    """Return the people of a user by primary name."""
    return {one["primaryName"]: one for one in await person.query("memory/people:listPeople")}


async def test_people_are_listed_by_their_events(world: World, alice: Person) -> None:
    """Counted, with the time of the newest; a detail has the newest three."""
    filled = await memories.fill(world, "alice", 7)
    first, second, third = await alice.query("memory/people:listPeople")
    assert [one["interactionCount"] for one in (first, second, third)] == [7, 3, 2]
    assert "altNames" not in first
    detail = await alice.query("memory/people:getPersonDetail", personId=first["_id"])
    assert detail["person"] == first
    assert [event["_id"] for event in detail["recentEvents"]] == [memory.event_id for memory in filled[:3]]
    assert detail["recentEvents"][0]["tags"] == ["Secret subject 1"]


async def test_a_person_is_edited(world: World, alice: Person, bob: Person) -> None:
    """Names on one line, each once; an empty label, list or summary clears it."""
    [memory] = await memories.fill(world, "alice", 1)
    edit = {"personId": memory.person_id}
    await alice.mutation(
        "memory/people:updatePerson", **edit, primaryName=" Anna  Maria ", altNames=["Anni", "ANNI", "anna maria"],
        relationshipLabel="Sister", highlights={"summary": "You grew up together.", "lastGeneratedAt": 1000},
    )  # fmt: skip
    anna = (await of(alice))["Anna Maria"]
    assert (anna["altNames"], anna["relationshipLabel"]) == (["Anni"], "Sister")
    assert anna["highlights"] == {"summary": "You grew up together.", "lastGeneratedAt": 1000}
    await alice.mutation(
        "memory/people:updatePerson", **edit, altNames=[], relationshipLabel=" ", highlights={"summary": ""}
    )
    assert {"altNames", "relationshipLabel", "highlights"}.isdisjoint((await of(alice))["Anna Maria"])
    assert await refusal(alice, "memory/people:updatePerson", **edit, primaryName="\t") == "text_is_empty"
    assert await refusal(bob, "memory/people:updatePerson", **edit, primaryName="Mine") == "person_not_found"
    assert await bob.query("memory/people:getPersonDetail", **edit) is None


@pytest.mark.parametrize("how", [{"primaryName": "SECRET FRIEND 2"}, {"altNames": ["Ann", "secret  friend 2"]}])
async def test_a_name_is_one_person_s(world: World, alice: Person, how: dict[str, Any]) -> None:
    """Compared case-folded, alternative names too. Another account may have the same."""
    [memory, _] = await memories.fill(world, "alice", 2)
    edit = {"personId": memory.person_id}
    assert await refusal(alice, "memory/people:updatePerson", **edit, **how) == "name_taken"
    assert (await of(alice))["Secret friend 0"]["_id"] == memory.person_id


def test_names_are_compared_without_case_and_composition() -> None:
    """Also where a capital letter has two small ones, and where accents are characters of their own."""
    assert rules.folded(" STRASSE ") == rules.folded("Straße")
    assert rules.folded("Zoe\u0308") == rules.folded("ZO\u00cb")
    assert rules.distinct(["Anna", "ANNA", " ", "Ben"]) == {"anna": "Anna", "ben": "Ben"}


async def test_an_account_has_a_bounded_number_of_people_and_tags(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New names beyond it are refused, and change nothing; those in use can still be given."""
    [memory] = await memories.fill(world, "alice", 1)
    before = await alice.query("events:getEvent", eventId=memory.event_id)
    monkeypatch.setattr(rules, "MOST_PEOPLE", 3)
    monkeypatch.setattr(rules, "MOST_TAGS", 2)
    for change in ({"peopleNames": ["Secret friend 1", "Clara"]}, {"title": "Another", "tags": ["Snow"]}):
        assert await refusal(alice, "events:updateEvent", eventId=memory.event_id, **change) == "too_many_names"
    assert await alice.query("events:getEvent", eventId=memory.event_id) == before
    known = {"peopleNames": ["secret FRIEND 2"], "tags": ["secret subject 0"]}
    await alice.mutation("events:updateEvent", eventId=memory.event_id, **known)
    after = await alice.query("events:getEvent", eventId=memory.event_id)
    assert [one["name"] for one in after["people"] + after["tags"]] == ["Secret friend 2", "Secret subject 0"]


async def test_two_people_become_one(world: World, alice: Person, bob: Person) -> None:
    """Events, names, label and summary move; an event that names both names the one once."""
    await memories.fill(world, "alice", 4)
    people = await of(alice)
    into, gone = people["Secret friend 1"]["_id"], people["Secret friend 0"]["_id"]
    await alice.mutation("memory/people:updatePerson", personId=gone, altNames=["Anni"], relationshipLabel="Friend")
    assert await refusal(bob, "memory/people:mergePeople", personId=gone, intoPersonId=into) == "person_not_found"
    merges = [alice.mutation("memory/people:mergePeople", personId=gone, intoPersonId=into) for _ in range(2)]
    ends = await asyncio.gather(*merges, return_exceptions=True)
    assert sum(isinstance(end, FunctionError) for end in ends) == 1
    one = (await of(alice))["Secret friend 1"]
    assert (one["altNames"], one["relationshipLabel"]) == (["Secret friend 0", "Anni"], "Friend")
    assert one["interactionCount"] == 4
    assert gone not in {person["_id"] for person in (await of(alice)).values()}
    await alice.mutation("memory/people:mergePeople", personId=into, intoPersonId=into)
    assert (await of(alice))["Secret friend 1"] == one


async def test_a_summary_is_written_of_the_newest_events(world: World, alice: Person) -> None:
    """It is shown with the person."""
    [memory] = await memories.fill(world, "alice", 1)
    written = await alice.action("memory/people:generatePersonHighlight", personId=memory.person_id)
    assert written == {
        "summary": "You and Secret friend 0: Secret summary 1",
        "lastGeneratedAt": to_ms(world.clock.now()),
    }
    assert (await of(alice))["Secret friend 0"]["highlights"] == written


async def test_ten_summaries_a_day(world: World, alice: Person) -> None:
    """However many are asked for at once. One that the model was not paid for does not count."""
    [memory] = await memories.fill(world, "alice", 1)
    ask = {"personId": memory.person_id}
    await world.fault("openai", status=503)
    with pytest.raises(FunctionError) as failed:
        await alice.action("memory/people:generatePersonHighlight", **ask)
    assert failed.value.code == "highlight_failed"
    assert "Please try again" in str(failed.value)
    await world.fault("openai")
    asked = [alice.action("memory/people:generatePersonHighlight", **ask) for _ in range(12)]
    ends = await asyncio.gather(*asked, return_exceptions=True)
    codes = [end.code for end in ends if isinstance(end, FunctionError)]
    assert len(codes) in {2, 3}  # a 503 may have been paid for
    assert set(codes) == {"too_many_highlights"}


async def test_there_must_be_events_to_sum_up(world: World, alice: Person, bob: Person, anonymous: Person) -> None:
    """And a person, and an account."""
    [memory] = await memories.fill(world, "alice", 1)
    await world.db.pool.execute("delete from event_people")
    for person, code in ((alice, "no_events"), (bob, "person_not_found"), (anonymous, "unauthorized")):
        with pytest.raises(FunctionError) as refused:
            await person.action("memory/people:generatePersonHighlight", personId=memory.person_id)
        assert refused.value.code == code
