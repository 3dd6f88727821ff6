"""The words of a call are deleted, alone or with the entry: here and at VAPI."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daysong.workflows.calls.test_call_mishaps import deleted
from daysong.workflows.calls.test_call_to_diary import CALL, FIXTURES, dialled, tells
from rehearsal.calls.phones import until_due, wants_calls
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio


async def talk(person: Person) -> dict[str, Any]:
    """The only call session of a person."""
    [session] = await person.query("callJobs:getCallSessions")
    found: dict[str, Any] = session
    return found


async def report_arrives(world: World) -> None:
    """VAPI reports a call with words."""
    body = json.loads((FIXTURES / "eocr-customer-ended.json").read_text())
    assert (await tells(world, body)).status_code == 200


async def answered(world: World) -> None:
    """VAPI says that the call was answered."""
    message = {"type": "status-update", "status": "in-progress", "call": {"id": CALL}}
    assert (await tells(world, {"message": message})).status_code == 200
    await world.settle()


def has_words(session: dict[str, Any]) -> bool:
    """Whether a session has anything of what was said."""
    return "transcript" in session or "endOfCallReport" in session


async def test_g28_words_of_a_call_go_with_its_entry(world: World, alice: Person) -> None:
    """The session stays without words, and VAPI deletes the call."""
    await wants_calls(alice)
    await until_due(world)
    session = await talk(alice)
    assert has_words(session)
    await alice.mutation("diaries:deleteDiary", diaryId=session["diaryId"])
    assert not has_words(await talk(alice))
    await world.settle()
    assert await deleted(world) == [session["vapiCallId"]]


async def test_g28_a_session_is_deleted_and_its_entry_stays(world: World, alice: Person) -> None:
    """Once or twice; VAPI is asked once."""
    await wants_calls(alice)
    await until_due(world)
    session = await talk(alice)
    for _ in range(2):
        assert await alice.mutation("callJobs:deleteCallSession", sessionId=session["_id"]) is None
        await world.settle()
    assert not has_words(await talk(alice))
    assert await deleted(world) == [session["vapiCallId"]]
    assert len(await alice.query("diaries:listDiaries")) == 1
    await alice.mutation("diaries:deleteDiary", diaryId=session["diaryId"])


async def test_g28_another_persons_session_looks_like_none(world: World, alice: Person, bob: Person) -> None:
    """The same error for both, and the words stay."""
    await dialled(world, alice)
    await report_arrives(world)
    await world.settle()
    session = await talk(alice)
    for session_id in (session["_id"], "callsession_nothing"):
        with pytest.raises(FunctionError, match="Call session not found"):
            await bob.mutation("callJobs:deleteCallSession", sessionId=session_id)
    assert has_words(await talk(alice))


async def test_g28_a_report_after_the_deletion_brings_no_words_back(world: World, alice: Person) -> None:
    """The call ends as any other, without an entry; VAPI deletes it once it has reported it."""
    await dialled(world, alice)
    await answered(world)
    session = await talk(alice)
    await alice.mutation("callJobs:deleteCallSession", sessionId=session["_id"])
    await world.settle()
    assert await deleted(world) == []
    await report_arrives(world)
    await world.settle()
    session = await talk(alice)
    assert (session["state"], session["outcome"], has_words(session)) == ("completed", "words deleted", False)
    assert await alice.query("diaries:listDiaries") == []
    assert await deleted(world) == [CALL]
    [job] = await alice.query("callJobs:getCallJobs")
    assert job["status"] == "completed"


async def test_g28_no_entry_is_written_of_deleted_words(world: World, alice: Person, admin: Person) -> None:
    """The words go while the entry is being written from them."""
    await dialled(world, alice)
    await answered(world)
    session = await talk(alice)
    await world.db.pool.execute(
        "update call_sessions set outcome = 'diary to be written', reported_at = $1", world.clock.now()
    )
    await alice.mutation("callJobs:deleteCallSession", sessionId=session["_id"])
    await admin.mutation("callDiaryWorkflow:saveCallDiary", sessionId=session["_id"], content="I walked home")
    assert await alice.query("diaries:listDiaries") == []
