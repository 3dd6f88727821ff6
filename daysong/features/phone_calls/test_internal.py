"""The internal functions of calls and talks keep to the same rules as everything else."""

from __future__ import annotations

from typing import Any

import pytest

from daysong.kernel.time.clock import to_ms
from rehearsal.calls.phones import until_due, wants_calls
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio


async def test_of_one_occurrence_there_is_one_call(world: World, alice: Person, admin: Person) -> None:
    """Made twice, it is the same."""
    settings_id = await wants_calls(alice)
    due = {"callSettingsId": settings_id, "scheduledForUTC": to_ms(world.clock.now())}
    first = await admin.mutation("callJobs:createCallJob", **due)
    assert await admin.mutation("callJobs:createCallJob", **due) == first
    [job] = await alice.query("callJobs:getCallJobs")
    assert job == await admin.query("callJobs:getCallJobById", **first)
    with pytest.raises(FunctionError, match="Call not found"):
        await admin.mutation("callJobs:createCallJob", **due | {"callSettingsId": "callset_x"})


async def test_f40_a_status_moves_along_its_steps_alone(world: World, alice: Person, admin: Person) -> None:
    """What is over stays so; what was never asked for cannot have begun."""
    settings_id = await wants_calls(alice)
    due = {"callSettingsId": settings_id, "scheduledForUTC": to_ms(world.clock.now())}
    ref = await admin.mutation("callJobs:createCallJob", **due)
    with pytest.raises(FunctionError, match="cannot change to this"):
        await admin.mutation("callJobs:updateCallJobStatus", **ref, status="started")
    assert await admin.mutation("callJobs:incrementCallJobAttempts", **ref) == {"attempts": 1}
    for _ in range(2):
        await admin.mutation("callJobs:updateCallJobStatus", **ref, status="failed", errorMessage="No line.")
    with pytest.raises(FunctionError, match="cannot change to this"):
        await admin.mutation("callJobs:updateCallJobStatus", **ref, status="completed")
    stats = await alice.query("callJobs:getCallJobStats")
    assert (stats["total"], stats["failed"], stats["lastError"]) == (1, 1, "No line.")


async def test_f37_metadata_of_a_talk_is_added_to(world: World, alice: Person, admin: Person) -> None:
    """The id of its entry stays, whatever is merged, and however."""
    await wants_calls(alice)
    await until_due(world)
    [session] = await alice.query("callJobs:getCallSessions")
    by_vapi: dict[str, Any] = {"vapiCallId": session["vapiCallId"]}
    for more in ({"mood": "calm"}, {"diaryId": "diary_other", "mood": "bright"}, {}):
        await admin.mutation("callJobs:updateCallSessionMetadata", sessionId=session["_id"], metadata=more)
    again = await admin.query("callJobs:getCallSessionByVapiId", **by_vapi)
    assert again["metadata"] == {"diaryId": session["diaryId"], "mood": "bright"}
    job = await admin.query("callJobs:getCallJobByVapiId", **by_vapi)
    assert job["_id"] == session["callJobId"]
    assert await admin.mutation("callJobs:updateCallSession", **by_vapi, durationSec=90) == {"sessionId": again["_id"]}
    [changed] = await alice.query("callJobs:getCallSessions")
    assert changed["durationSec"] == 90
    assert {**changed, "durationSec": 0, "updatedAt": 0} == {**again, "durationSec": 0, "updatedAt": 0}
