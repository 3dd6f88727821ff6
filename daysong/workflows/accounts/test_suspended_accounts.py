"""Who is banned or locked at Clerk is signed out here, is not called, and has no songs made, until Clerk lifts it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from daysong.kernel.functions.context import SYSTEM
from rehearsal.calls.phones import ALICES, has_agreed, rings, until_due, wants_calls
from rehearsal.sync_socket import SyncSocket
from rehearsal.world import FunctionError, Person, World, free_port

pytestmark = pytest.mark.anyio

RAIN = "I walked home in the rain and called my sister"
SUSPENSIONS = pytest.mark.parametrize("how", ["banned", "locked"])


async def clerk_says(world: World, what: dict[str, Any]) -> None:
    """Change Alice at Clerk, and deliver the event."""
    world.clock.forward(timedelta(seconds=1))
    await world.steer("clerk", "update", sub="user_alice", **what)
    await world.settle()


async def is_signed_in(person: Person) -> bool:
    """Whether a person's mutations and queries are theirs; both agree."""
    if await person.query("users:getUserProfile") is None:
        with pytest.raises(FunctionError, match="Unauthorized"):
            await person.mutation("diaries:createDiary", content=RAIN)
        return False
    await person.mutation("diaries:createDiary", content=RAIN)
    return True


@SUSPENSIONS
async def test_g05_who_is_suspended_is_signed_out_until_it_is_lifted(world: World, alice: Person, how: str) -> None:
    """With a token that is still good; nothing of theirs is lost."""
    assert await is_signed_in(alice)
    await clerk_says(world, {how: True})
    assert not await is_signed_in(alice)
    with pytest.raises(FunctionError, match="Unauthorized"):
        await alice.action("usage:checkUsageWithReconciliation")
    await clerk_says(world, {"phone": None})
    assert not await is_signed_in(alice)
    await clerk_says(world, {how: False})
    assert await is_signed_in(alice)
    assert len(await alice.query("diaries:listDiaries")) == 2


@SUSPENSIONS
async def test_g05_who_is_suspended_is_not_called_and_calls_are_resumed(world: World, alice: Person, how: str) -> None:
    """The call of the day is canceled with the reason; when they ring, they are refused."""
    await wants_calls(alice)
    await has_agreed(world)
    await clerk_says(world, {how: True})
    await until_due(world)
    assert await rings(world) == []
    job = await world.db.pool.fetchrow("select status, error_code from call_jobs")
    assert tuple(job) == ("canceled", "suspended")
    ringing = {"number": ALICES, "vapiCallId": "call_of_alice"}
    name = "integrations/vapi/integration:answerCall"
    assert "error" in await world.app.call(name, ringing, caller=SYSTEM)
    await clerk_says(world, {how: False})
    assert "assistant" in await world.app.call(name, ringing, caller=SYSTEM)
    await until_due(world)
    assert len(await rings(world)) == 1


async def test_g05_no_song_is_ordered_for_who_is_banned(world: World, alice: Person) -> None:
    """One that was not requested from Suno yet fails and is refunded; no vendor gets a request."""
    started = await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    assert started["success"]
    # The song's job is due; the ban is heard before it runs.
    await world.steer("clerk", "update", sub="user_alice", banned=True)
    event = await world.db.pool.fetchval("select id from webhook_events where vendor = 'clerk'")
    await world.app.call("webhooks:handleClerkEvent", {"eventId": event}, caller=SYSTEM)
    with pytest.raises(FunctionError, match="Unauthorized"):
        await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    await world.settle()
    assert await world.asked("suno", "/generate") == []
    await clerk_says(world, {"banned": False})
    assert (await alice.query("usage:getCurrentUserUsage"))["musicGenerationsUsed"] == 0
    row = await world.db.pool.fetchrow("select status, failure_code from generations")
    assert tuple(row) == ("failed", "suspended")


async def test_g05_a_talk_of_somebody_banned_meanwhile_becomes_no_song(world: World, alice: Person) -> None:
    """The entry is theirs and stays."""
    diary = await alice.mutation("diaries:createDiary", content=RAIN)
    await clerk_says(world, {"banned": True})
    for name in ("generateMusicForCallDiary", "beginCallSong"):
        await world.app.call(f"callDiaryWorkflow:{name}", {"diaryId": diary["_id"]}, caller=SYSTEM)
    assert await world.db.pool.fetchval("select count(*) from generations") == 0


async def test_g05_a_ban_is_heard_whatever_comes_before_and_after(world: World) -> None:
    """Before user.created, twice, and in an event that names the user alone; older news lift nothing."""
    created = {
        "id": "user_dora", "created_at": 1_795_000_000_000, "updated_at": 1_795_000_000_000, "banned": False,
        "email_addresses": [{"id": "e", "email_address": "dora@example.test"}], "primary_email_address_id": "e",
    }  # fmt: skip
    for _ in range(2):
        await world.steer("clerk", "send", type="user.banned", data={"id": "user_dora", "banned": True})
    await world.settle()
    await world.steer("clerk", "send", type="user.created", data=created)
    await world.settle()
    row = await world.db.pool.fetchrow("select suspension, email from users")
    assert tuple(row) == ("banned", "dora@example.test")
    with pytest.raises(FunctionError, match="Unauthorized"):
        await world.person("dora")
    world.clock.forward(timedelta(minutes=1))
    await world.steer("clerk", "send", type="user.unbanned", data={"id": "user_dora"})
    await world.settle()
    assert await is_signed_in(await world.person("dora"))


async def test_g05_a_lock_that_has_an_end_is_lifted_then(world: World, alice: Person) -> None:
    """Without another word from Clerk; one that is prolonged ends later, and a ban does not end."""
    await clerk_says(world, {"locked": True, "lockSeconds": 3600})
    await clerk_says(world, {"locked": True, "lockSeconds": 7200})
    await world.pass_time(timedelta(minutes=61))
    assert not await is_signed_in(alice)
    await world.pass_time(timedelta(minutes=61))
    assert await is_signed_in(alice)
    await clerk_says(world, {"locked": True, "lockSeconds": 3600})
    await clerk_says(world, {"banned": True})
    await world.pass_time(timedelta(hours=3))
    assert not await is_signed_in(alice)


async def test_g05_live_queries_on_open_sockets_are_nobodys_from_the_ban_on(database_url: str, data_dir: Path) -> None:
    """And the person's again when it is lifted; a mutation on the socket is Unauthorized meanwhile."""
    async with World(database_url, data_dir, NOW, port=free_port()) as world:
        alice = await world.person("alice")
        await alice.mutation("diaries:createDiary", content=RAIN)
        async with SyncSocket(world.origin) as socket:
            await socket.connect()
            await socket.authenticate(0, alice.headers["Authorization"].removeprefix("Bearer "))
            await socket.subscribe(0, q0=("diaries:listDiaries", {}), q1=("callJobs:getCallJobs", {}))
            assert len(_values(await socket.transition(1))[0]) == 1
            await clerk_says(world, {"banned": True})
            told = _values(await socket.receive())
            assert told == {0: [], 1: "failed"}
            await clerk_says(world, {"banned": False})
            told = _values(await socket.receive())
            assert len(told[0]) == 1
            assert told[1] == []


def _values(message: dict[str, Any]) -> dict[int, Any]:
    return {change["queryId"]: change.get("value", "failed") for change in message["modifications"]}
