"""A connection of the sync protocol: versions, Transitions, reading own writes, and authentication."""

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
from daysong.kernel.database import transactions
from rehearsal.sync_rules import Results, check_messages, settled
from rehearsal.sync_socket import Message, SocketClosed, SyncSocket, moment
from rehearsal.world import Person, World, free_port

pytestmark = pytest.mark.anyio

Query = tuple[str, dict[str, Any]]

DIARIES: Query = ("diaries:listDiaries", {})
PROFILE: Query = ("users:getUserProfile", {})
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


async def test_each_change_of_queries_and_identity_is_followed_by_a_transition(world: World, alice: Person) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.connect()
        await socket.subscribe(0)
        assert (await socket.transition(1))["modifications"] == []
        await socket.authenticate(0, token(alice))
        assert (await socket.receive())["endVersion"]["identity"] == 1
        await socket.subscribe(1, q0=DIARIES, q1=("no:such", {}), q2=("diaries:getDiary", {"diaryId": 7.0}))
        message = await socket.transition(2)
        assert [change["type"] for change in message["modifications"]] == ["QueryUpdated", "QueryFailed", "QueryFailed"]
        await socket.send({"type": "ModifyQuerySet", "baseVersion": 2, "newVersion": 5, "modifications": REMOVAL})
        assert (await socket.transition(5))["modifications"] == [{"type": "QueryRemoved", "queryId": 1}]
        check_messages(socket.received)


async def test_a_failed_query_stays_subscribed_and_recovers(world: World, alice: Person) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.subscribe(0, q0=("sharing:listSharedMusic", {}), q1=("sharing:getSharedMusic", {"shareId": ""}))
        await socket.transition(1)
        await socket.authenticate(0, token(alice))
        await socket.receive()
        song = await alice.song()
        await alice.mutation("sharing:createShareLink", musicId=song["_id"])
        await socket.receive(lambda m: bool(m["type"] == "Transition" and changes(m).get(0)))
        check_messages(socket.received)


async def test_an_anonymous_subscriber_sees_a_share_open_and_close(world: World, alice: Person) -> None:
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


async def test_changes_by_other_clients_of_the_user_are_pushed(world: World, alice: Person, bob: Person) -> None:
    async with SyncSocket(world.origin) as socket, SyncSocket(world.origin) as other:
        for one, person in ((socket, alice), (other, bob)):
            await one.authenticate(0, token(person))
            await one.subscribe(0, q0=DIARIES)
            await one.transition(1)
        received = len(other.received)
        await alice.mutation("diaries:createDiary", content="Rain")
        message = await socket.receive()
        assert [entry["content"] for entry in changes(message)[0]] == ["Rain"]
        await bob.mutation("diaries:createDiary", content="Sun")
        assert [entry["content"] for entry in changes(await other.receive())[0]] == ["Sun"]
        assert len(other.received) == received + 1


async def test_a_user_without_an_account_sees_its_creation(world: World) -> None:
    claims = {"sub": "user_dora", "email": "dora@example.test", "name": "Dora", "ttl": 3600}
    jwt = (await world.http.post("/sandbox/clerk/sign-in", json=claims)).json()["jwt"]
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


async def test_a_response_comes_before_the_transition_that_shows_the_mutation(world: World, alice: Person) -> None:
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


async def save_in_one_statement(world: World) -> None:
    """Have entries not read, so that saving one is one statement."""
    await world.db.pool.execute("insert into feature_flags values ('event-extraction', 0, now(), now())")


async def test_a_statement_that_is_committed_is_not_shown_before_its_response(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others see its row, and its transaction is not known yet: it waits for the disk."""
    await save_in_one_statement(world)
    async with (
        SyncSocket(world.origin) as socket,
        SyncSocket(world.origin) as other,
        world.db.pool.acquire() as connection,
    ):
        for one in (socket, other):
            await one.connect()
            await one.authenticate(0, token(alice))
            await one.subscribe(0, q0=DIARIES)
            await one.transition(1)
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock(7)")
            monkeypatch.setattr(transactions, "FLUSH", "select pg_advisory_xact_lock(7)")
            await socket.mutate(0, "diaries:createDiary", {"content": "Rain"})
            await other.receive(lambda message: "Rain" in str(message))
            await socket.subscribe(1)
            with pytest.raises(TimeoutError):
                await socket.receive(within=0.05)
        await settled(socket, 1)
        check_messages(socket.received, shows=shows_entry)


async def test_a_failed_mutation_is_rolled_back_and_followed_by_a_transition(world: World, alice: Person) -> None:
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
async def test_each_transition_shows_exactly_the_mutations_answered_before_it(
    world: World, alice: Person, seed: int
) -> None:
    """Two sockets and HTTP calls change one user's rows concurrently, in transactions or in single statements."""
    if seed % 2:
        await save_in_one_statement(world)
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


async def test_results_never_belong_to_another_identity_than_their_version(
    world: World, alice: Person, bob: Person
) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.connect()
        await socket.authenticate(0, token(alice))
        await socket.subscribe(0, q0=PROFILE)
        message = await socket.transition(1)
        assert message["endVersion"]["identity"] == 1
        assert changes(message)[0]["user"]["name"] == "Alice"
        for base, person in ((1, bob), (2, None), (3, alice)):
            await socket.authenticate(base, token(person) if person else None)
            message = await socket.receive()
            assert message["endVersion"]["identity"] == base + 1
            (shown,) = changes(message).values()
            assert (shown and shown["user"]["name"]) == (person and {alice: "Alice", bob: "Bob"}[person])
        check_messages(socket.received)


async def test_after_a_change_of_user_only_rows_of_the_new_user_wake_the_socket(
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


async def test_a_refused_token_closes_the_socket_and_later_messages_are_ignored(world: World, alice: Person) -> None:
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
async def test_a_token_that_expires_on_an_open_socket_closes_it(world: World, alice: Person, noticed_by: str) -> None:
    claims = {"sub": "user_alice", "email": "alice@example.test", "name": "Alice", "ttl": 60}
    jwt = (await world.http.post("/sandbox/clerk/sign-in", json=claims)).json()["jwt"]
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
    ("sent", "code", "words"),
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
async def test_a_protocol_error_closes_the_socket_with_the_reason(
    world: World, sent: Any, code: int, words: str | None
) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.send(sent)
        with pytest.raises(SocketClosed) as closed:
            await socket.receive(lambda _: False)
        assert closed.value.code == code
        errors = [m["error"] for m in socket.received if m["type"] == "FatalError"]
        assert [words in text for text in errors if words] == ([True] if words else [])


async def test_the_last_message_arrives_while_the_client_keeps_sending(world: World) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.send({"type": "Nonsense"})
        for _ in range(500):
            await socket.send({"type": "Event", "eventType": "x", "event": "y" * 1000})
        with pytest.raises(SocketClosed) as closed:
            await socket.receive(lambda _: False)
        assert [m["type"] for m in socket.received] == ["FatalError"]
        assert closed.value.code == 1000


async def test_a_client_with_a_future_timestamp_is_closed(world: World) -> None:
    async with SyncSocket(world.origin) as socket:
        await socket.connect(maxObservedTimestamp="/////////38=")
        with pytest.raises(SocketClosed) as closed:
            await socket.receive()
        assert closed.value.code == 1011


async def test_timestamps_are_later_than_those_a_client_saw_on_another_server(world: World) -> None:
    ahead = world.app.runtime.timestamps.wall() + 30 * 10**9
    async with SyncSocket(world.origin) as socket:
        await socket.connect(maxObservedTimestamp=base64.b64encode(ahead.to_bytes(8, "little")).decode())
        await socket.subscribe(0)
        assert moment((await socket.transition(1))["endVersion"]["ts"]) > ahead
    ts = (await world.http.post("/api/query_ts")).json()["ts"]
    assert moment(ts) > ahead
