"""A connection of the sync protocol: versions, Transitions, reading one's own writes, and who is speaking."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from rehearsal.sync_rules import Results, check_messages, settled
from rehearsal.sync_socket import Message, SocketClosed, SyncSocket, moment
from rehearsal.world import Person, World, free_port

pytestmark = pytest.mark.anyio

Asked = tuple[str, dict[str, Any]]

DIARIES: Asked = ("diaries:listDiaries", {})
PROFILE: Asked = ("users:getUserProfile", {})
REMOVAL = [{"type": "Remove", "queryId": 1}]


@pytest.fixture
async def world(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """The whole app, served on a port."""
    async with World(database_url, data_dir, NOW, port=free_port()) as whole:
        yield whole


def token(person: Person) -> str:
    return person.headers["Authorization"].removeprefix("Bearer ")


def changes(message: Message) -> Results:
    """The results in a Transition, by their query."""
    return {change["queryId"]: change.get("value") for change in message["modifications"]}


def shows_entry(results: Results, response: Message) -> bool:
    """Whether the entry a mutation made is listed by query 0."""
    return response["result"]["_id"] in {entry["_id"] for entry in results.get(0, ())}


async def test_each_change_of_queries_and_sign_in_is_answered_by_a_transition(world: World, alice: Person) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.connect()
        await socket.subscribe(0)
        assert (await socket.transition(1))["modifications"] == []
        await socket.authenticate(0, token(alice))
        assert (await socket.receive())["endVersion"]["identity"] == 1
        await socket.subscribe(1, q0=DIARIES, q1=("no:such", {}), q2=("diaries:getDiary", {"diaryId": 7.0}))
        told = await socket.transition(2)
        assert [change["type"] for change in told["modifications"]] == ["QueryUpdated", "QueryFailed", "QueryFailed"]
        await socket.send({"type": "ModifyQuerySet", "baseVersion": 2, "newVersion": 5, "modifications": REMOVAL})
        assert (await socket.transition(5))["modifications"] == [{"type": "QueryRemoved", "queryId": 1}]
        check_messages(socket.received)


async def test_a_failed_query_stays_and_shows_its_result_once_it_has_one(world: World, alice: Person) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.subscribe(0, q0=("sharing:listSharedMusic", {}), q1=("sharing:getSharedMusic", {"shareId": ""}))
        await socket.transition(1)
        await socket.authenticate(0, token(alice))
        await socket.receive()
        song = await alice.song()
        await alice.mutation("sharing:createShareLink", musicId=song["_id"])
        await socket.receive(lambda m: bool(m["type"] == "Transition" and changes(m).get(0)))
        check_messages(socket.received)


async def test_a_stranger_waits_for_a_share_and_sees_it_come_and_go(world: World, alice: Person) -> None:
    song = await alice.song()
    share = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    (own,) = await alice.query("sharing:listSharedMusic")
    async with SyncSocket(world.origin) as socket:
        await socket.subscribe(0, q0=("sharing:getSharedMusic", {"shareId": share["shareId"]}))
        assert changes(await socket.transition(1))[0]["found"]
        for private in (True, False):
            await alice.mutation("sharing:setSharePrivacy", sharedMusicId=own["_id"], isPrivate=private)
            assert changes(await socket.receive())[0]["found"] is not private
        await alice.mutation("music:softDeleteMusic", musicId=song["_id"])
        assert not changes(await socket.receive())[0]["found"]


async def test_what_others_do_for_the_same_person_is_pushed(world: World, alice: Person, bob: Person) -> None:
    async with SyncSocket(world.origin) as socket, SyncSocket(world.origin) as other:
        for one, person in ((socket, alice), (other, bob)):
            await one.authenticate(0, token(person))
            await one.subscribe(0, q0=DIARIES)
            await one.transition(1)
        received = len(other.received)
        await alice.mutation("diaries:createDiary", content="Rain")
        told = await socket.receive()
        assert [entry["content"] for entry in changes(told)[0]] == ["Rain"]
        await bob.mutation("diaries:createDiary", content="Sun")
        assert [entry["content"] for entry in changes(await other.receive())[0]] == ["Sun"]
        assert len(other.received) == received + 1


async def test_who_has_no_account_yet_sees_it_come(world: World) -> None:
    who = {"sub": "user_dora", "email": "dora@example.test", "name": "Dora", "ttl": 3600}
    jwt = (await world.http.post("/sandbox/clerk/sign-in", json=who)).json()["jwt"]
    async with SyncSocket(world.origin) as socket:
        await socket.authenticate(0, jwt)
        await socket.subscribe(0, q0=PROFILE)
        assert changes(await socket.transition(1)) == {0: None}
        dora = Person(world, {"Authorization": f"Bearer {jwt}"})
        await dora.mutation("users:ensureCurrentUser")
        assert changes(await socket.receive())[0]["user"]["name"] == "Dora"
        await dora.mutation("diaries:createDiary", content="First")
        await socket.subscribe(1, q1=DIARIES)
        assert len(changes(await socket.transition(2))[1]) == 1
        await dora.mutation("diaries:createDiary", content="Second")
        assert len(changes(await socket.receive())[1]) == 2


async def test_a_mutation_is_answered_before_it_is_shown_and_shown_with_its_moment(world: World, alice: Person) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.connect()
        await socket.authenticate(0, token(alice))
        await socket.subscribe(0, q0=DIARIES)
        for number in range(10):
            await socket.mutate(number, "diaries:createDiary", {"content": f"Entry {number}"})
        await settled(socket, 10)
        results, _ = check_messages(socket.received, shows=shows_entry)
        assert len(results[0]) == 10
        answers = [m for m in socket.received if m["type"] == "MutationResponse"]
        assert [m["requestId"] for m in answers] == list(range(10))


async def test_a_mutation_that_fails_leaves_no_trace_and_is_followed_by_a_transition(
    world: World, alice: Person
) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.authenticate(0, token(alice))
        await socket.subscribe(0, q0=DIARIES)
        await socket.transition(1)
        await socket.mutate(0, "diaries:createDiary", {"content": " "})
        answer = await socket.response(0)
        assert (answer["success"], answer["ts"], answer["errorData"]["code"]) == (False, None, "diary_is_empty")
        assert (await socket.receive())["modifications"] == []
        check_messages(socket.received)


@pytest.mark.parametrize("seed", range(6))
async def test_however_things_interleave_a_moment_shows_exactly_what_was_answered_by_then(
    world: World, alice: Person, seed: int
) -> None:
    """Two sockets and plain calls change the same person's rows at once, so that transactions are undone and redone."""
    dice = random.Random(seed)  # noqa: S311 - dice, not secrets
    each = 12

    async def use(socket: SyncSocket, name: str) -> None:
        await socket.connect()
        await socket.authenticate(0, token(alice))
        await socket.subscribe(0, q0=DIARIES, q1=PROFILE)
        for number in range(each):
            if dice.random() < 0.3:
                await socket.subscribe(number + 1, **{f"q{number + 2}": ("diaries:pageDiaries", {"limit": 5.0})})
            else:
                await socket.subscribe(number + 1)
            await socket.mutate(number, "diaries:createDiary", {"content": f"{name} {number}"})
            await asyncio.sleep(dice.choice((0, 0, 0.001, 0.004, 0.02)))
        await settled(socket, each)

    async def interfere() -> None:
        for number in range(each):
            await alice.mutation("usage:recordCurrentUserMusicGeneration")
            await alice.mutation("diaries:createDiary", content=f"plain {number}")
            await asyncio.sleep(dice.choice((0, 0.002, 0.01)))

    async with SyncSocket(world.origin) as one, SyncSocket(world.origin) as two:
        await asyncio.gather(use(one, "one"), use(two, "two"), interfere())
        final = {entry["_id"] for entry in await alice.query("diaries:listDiaries")}
        for socket in (one, two):
            results: Results = {}
            while {entry["_id"] for entry in results.get(0, ())} != final:
                results, _ = check_messages(socket.received, shows=shows_entry)
                if {entry["_id"] for entry in results[0]} != final:
                    await socket.receive()


async def test_a_sign_in_and_queries_in_one_burst_never_show_what_nobody_would_see(
    world: World, alice: Person, bob: Person
) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.connect()
        await socket.authenticate(0, token(alice))
        await socket.subscribe(0, q0=PROFILE)
        told = await socket.transition(1)
        assert told["endVersion"]["identity"] == 1
        assert changes(told)[0]["user"]["name"] == "Alice"
        for base, person in ((1, bob), (2, None), (3, alice)):
            await socket.authenticate(base, token(person) if person else None)
            told = await socket.receive()
            assert told["endVersion"]["identity"] == base + 1
            (shown,) = changes(told).values()
            assert (shown and shown["user"]["name"]) == (person and {alice: "Alice", bob: "Bob"}[person])
        check_messages(socket.received)


async def test_after_a_change_of_person_only_the_new_ones_rows_wake_the_socket(
    world: World, alice: Person, bob: Person
) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.authenticate(0, token(alice))
        await socket.subscribe(0, q0=DIARIES)
        await socket.transition(1)
        await socket.authenticate(1, token(bob))
        await socket.receive(lambda m: bool(m["endVersion"]["identity"] == 2))
        await alice.mutation("diaries:createDiary", content="Hers")
        await bob.mutation("diaries:createDiary", content="His")
        assert [entry["content"] for entry in changes(await socket.receive())[0]] == ["His"]


async def test_a_refused_token_ends_the_socket_and_nothing_behind_it_is_done(world: World, alice: Person) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.connect()
        await socket.authenticate(0, token(alice) + "x")
        await socket.mutate(0, "diaries:createDiary", {"content": "Never"})
        with pytest.raises(SocketClosed) as closed:
            await socket.receive(lambda m: bool(m["type"] == "MutationResponse"))
        assert closed.value.code == 1000
        assert [m["type"] for m in socket.received] == ["AuthError"]
        assert (socket.received[0]["baseVersion"], socket.received[0]["authUpdateAttempted"]) == (0, True)
    assert await alice.query("diaries:listDiaries") == []


@pytest.mark.parametrize("noticed_by", ["a request", "a change"])
async def test_a_token_that_runs_out_on_a_live_socket_is_noticed(world: World, alice: Person, noticed_by: str) -> None:
    who = {"sub": "user_alice", "email": "alice@example.test", "name": "Alice", "ttl": 60}
    jwt = (await world.http.post("/sandbox/clerk/sign-in", json=who)).json()["jwt"]
    async with SyncSocket(world.origin) as socket:
        await socket.connect()
        await socket.authenticate(0, jwt)
        await socket.subscribe(0, q0=DIARIES)
        await socket.transition(1)
        world.clock.forward(timedelta(seconds=61))
        if noticed_by == "a request":
            await socket.mutate(0, "diaries:createDiary", {"content": "Too late"})
        else:
            await alice.mutation("diaries:createDiary", content="By another app")
        with pytest.raises(SocketClosed):
            await socket.receive(lambda m: bool(m["type"] in {"MutationResponse", "Transition"}))
        assert socket.received[-1]["type"] == "AuthError"
        assert (socket.received[-1]["baseVersion"], socket.received[-1]["authUpdateAttempted"]) == (1, False)
    assert len(await alice.query("diaries:listDiaries")) == (noticed_by == "a change")


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("{nope", 1000, "JSON"),
        ('{"type": "Nonsense"}', 1000, "does not fit"),
        (b"\x00binary", 1000, "JSON"),
        ({"type": "ModifyQuerySet", "baseVersion": 7, "newVersion": 8, "modifications": []}, 1000, "Base version"),
        ({"type": "Connect", "sessionId": "guess", "connectionCount": 0}, 1000, "UUID"),
        ({"type": "Authenticate", "baseVersion": 3, "tokenType": "None"}, 1011, None),
        ({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": REMOVAL}, 1011, None),
    ],
)
async def test_who_breaks_the_protocol_is_told_and_hung_up_on(
    world: World, said: Any, code: int, words: str | None
) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.send(said)
        with pytest.raises(SocketClosed) as closed:
            await socket.receive(lambda _: False)
        assert closed.value.code == code
        told = [m["error"] for m in socket.received if m["type"] == "FatalError"]
        assert [words in text for text in told if words] == ([True] if words else [])


async def test_the_last_words_arrive_although_the_client_goes_on_talking(world: World) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.send({"type": "Nonsense"})
        for _ in range(500):
            await socket.send({"type": "Event", "eventType": "x", "event": "y" * 1000})
        with pytest.raises(SocketClosed) as closed:
            await socket.receive(lambda _: False)
        assert [m["type"] for m in socket.received] == ["FatalError"]
        assert closed.value.code == 1000


async def test_a_client_from_the_future_is_not_taken_back_in_time(world: World) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.connect(maxObservedTimestamp="/////////38=")
        with pytest.raises(SocketClosed) as closed:
            await socket.receive()
        assert closed.value.code == 1011


async def test_what_a_client_has_seen_elsewhere_is_never_later_than_what_it_sees_here(world: World) -> None:
    ahead = world.app.runtime.timestamps.wall() + 30 * 10**9
    async with SyncSocket(world.origin) as socket:
        await socket.connect(maxObservedTimestamp=base64.b64encode(ahead.to_bytes(8, "little")).decode())
        await socket.subscribe(0)
        assert moment((await socket.transition(1))["endVersion"]["ts"]) > ahead
    asked = (await world.http.post("/api/query_ts")).json()["ts"]
    assert moment(asked) > ahead
