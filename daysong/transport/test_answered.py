"""Retries of a mutation get the recorded answer, on any socket, process or day."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from daysong.kernel.database.connections import Connection, Pool
from daysong.kernel.database.transactions import FLUSH
from daysong.kernel.errors import DatabaseUnavailable
from rehearsal.statements import sent_statements
from rehearsal.sync_rules import check_messages
from rehearsal.sync_socket import Message, SyncSocket, moment
from rehearsal.world import Person, World, free_port

pytestmark = pytest.mark.anyio

WRITE = ("diaries:createDiary", {"content": "Rain"})
LIST: tuple[str, dict[str, Any]] = ("diaries:listDiaries", {})


@pytest.fixture
async def world(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """The whole app, served on a port. Entries are not read, so that saving one is one statement."""
    async with World(database_url, data_dir, NOW, port=free_port()) as whole:
        await whole.db.pool.execute("insert into feature_flags values ('event-extraction', 0, now(), now())")
        yield whole


@pytest.fixture
async def twin(world: World, database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """Another server of the same database and users."""
    async with World(database_url, data_dir, NOW, port=free_port(), environ=signed_in_by(world)) as whole:
        yield whole


def signed_in_by(world: World) -> dict[str, str]:
    """The environment of a server that accepts that world's tokens."""
    return {"CLERK_FRONTEND_API_URL": world.settings.clerk.issuer}


def token(person: Person) -> str:
    return person.headers["Authorization"].removeprefix("Bearer ")


async def ask(socket: SyncSocket, person: Person | None, request: int = 0, what: Any = WRITE) -> Message:
    """Connect as a person or anonymously, send a mutation, and return its response."""
    await socket.connect()
    if person is not None:
        await socket.authenticate(0, token(person))
    await socket.mutate(request, *what)
    return await socket.response(request)


async def test_a_retry_on_another_socket_gets_the_same_answer(world: World, alice: Person) -> None:
    async with SyncSocket(world.origin) as socket:
        first = await ask(socket, alice)
        async with SyncSocket(world.origin, session=socket.session, connections=1) as again:
            await again.connect()
            await again.authenticate(0, token(alice))
            await again.subscribe(0, q0=LIST)
            await again.mutate(0, *WRITE)
            assert await again.response(0) == first
            # A Transition computed before the answer was found may come first.
            await again.receive(
                lambda m: m["type"] == "Transition" and moment(m["endVersion"]["ts"]) >= moment(first["ts"])
            )
    assert len(await alice.query(*LIST[:1])) == 1


async def test_two_servers_that_get_a_request_at_the_same_time_run_it_once(
    world: World, twin: World, alice: Person
) -> None:
    for number in range(10):
        async with SyncSocket(world.origin) as here, SyncSocket(twin.origin) as there:
            there.session = here.session
            one, two = await asyncio.gather(ask(here, alice, number), ask(there, alice, number))
            assert one == two
            assert one["success"]
    assert len(await alice.query(*LIST[:1])) == 10


async def test_a_mutation_and_its_answer_are_one_statement(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one waits for the disk. On a later socket of the client a recorded answer is looked for first."""
    async with SyncSocket(world.origin) as socket:
        await ask(socket, alice)
        sent = sent_statements(monkeypatch)
        await socket.mutate(1, *WRITE)
        await socket.response(1)
        assert ["answered_mutations" in sql for sql in sent[:2]] == [True, False]
        assert sent[1] == FLUSH
    async with SyncSocket(world.origin, session=socket.session, connections=1) as later:
        sent.clear()
        await ask(later, alice, 2)
        assert ["insert into answered_mutations" in sql for sql in sent[:3]] == [False, True, False]
        assert sent[2] == FLUSH
    assert await world.db.pool.fetchval("select count(*) from answered_mutations") == 3


@pytest.mark.parametrize("away", [False, True], ids=["for a moment", "for longer"])
async def test_a_mutation_whose_outcome_is_not_known_is_done_once(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    """It was committed, and the connection broke before it was known to be on disk. The socket stays open."""
    pool, lost = world.db.pool, False

    async with SyncSocket(world.origin) as socket:
        first = await ask(socket, alice)
        real = Pool.acquire

        def acquire(self: Pool, **options: Any) -> Any:
            nonlocal lost
            if lost:
                lost = False
                raise DatabaseUnavailable("No database answers.")
            return real(self, **options)

        async def execute(connection: Any, sql: str, *args: Any, **options: Any) -> Any:
            nonlocal lost
            if sql == FLUSH:
                monkeypatch.setattr(Connection, "execute", execute_really)
                lost = away
                sql = "select pg_terminate_backend(pg_backend_pid())"
            return await execute_really(connection, sql, *args, **options)

        execute_really = Connection.execute
        monkeypatch.setattr(Pool, "acquire", acquire)
        monkeypatch.setattr(Connection, "execute", execute)
        await socket.mutate(1, *WRITE)
        answer = await socket.response(1)
        assert answer["success"]
        assert moment(answer["ts"]) > moment(first["ts"])
        await socket.mutate(2, *WRITE)
        assert (await socket.response(2))["success"]
    assert await pool.fetchval("select count(*) from diaries") == 3
    assert await pool.fetchval("select result from answered_mutations where request_id = 1") == json.dumps(
        answer["result"], separators=(",", ":")
    )


async def test_a_concurrent_run_of_the_same_request_is_no_failure(world: World, twin: World, alice: Person) -> None:
    for number in range(10):
        entry = await alice.mutation("diaries:createDiary", content="Rain")
        what = ("diaries:deleteDiary", {"diaryId": entry["_id"]})
        async with SyncSocket(world.origin) as here, SyncSocket(twin.origin) as there:
            there.session = here.session
            one, two = await asyncio.gather(ask(here, alice, number, what), ask(there, alice, number, what))
            assert one == two
            assert one["success"]


async def test_requests_of_different_users_do_not_roll_each_other_back(world: World) -> None:
    people = [await world.person(f"dora{number}") for number in range(8)]

    async def write(person: Person) -> None:
        async with SyncSocket(world.origin) as socket:
            await socket.connect()
            await socket.authenticate(0, token(person))
            for number in range(10):
                await socket.mutate(number, *WRITE)
            for number in range(10):
                assert (await socket.response(number))["success"]

    await asyncio.gather(*(write(person) for person in people))
    assert await world.db.pool.fetchval("select count(*) from answered_mutations") == 80


@pytest.mark.usefixtures("unread_entries")
@pytest.mark.parametrize("limit", [None, 50])
async def test_an_action_called_as_a_mutation_is_idempotent_too(world: World, alice: Person, limit: int | None) -> None:
    """In a transaction, and in one statement, which a limit of one's own allows."""
    await alice.mutation("users:ensureCurrentUser")
    await world.db.pool.execute("update subscriptions set custom_music_limit = $1", limit)
    what = ("music:startDiaryMusicGeneration", {"content": "Rain"})
    async with SyncSocket(world.origin) as socket:
        first = await ask(socket, alice, 0, what)
        async with (
            SyncSocket(world.origin, session=socket.session) as again,
            SyncSocket(world.origin, session=socket.session) as third,
        ):
            answers = await asyncio.gather(ask(again, alice, 0, what), ask(third, alice, 0, what))
            assert [*answers] == [first, first]
        async with SyncSocket(world.origin) as one, SyncSocket(world.origin, session=one.session) as two:
            answers = await asyncio.gather(ask(one, alice, 5, what), ask(two, alice, 5, what))
            assert answers[0] == answers[1]
    assert len(await alice.query(*LIST[:1])) == 2
    assert (await alice.query("usage:getCurrentUserUsage"))["musicGenerationsUsed"] == 2


async def test_sockets_without_a_session_share_no_requests(world: World, alice: Person) -> None:
    for _ in range(2):
        async with SyncSocket(world.origin) as socket:
            await socket.authenticate(0, token(alice))
            await socket.mutate(0, *WRITE)
            assert (await socket.response(0))["success"]
    assert len(await alice.query(*LIST[:1])) == 2
    assert await world.db.pool.fetchval("select count(*) from answered_mutations") == 0


@pytest.mark.parametrize("who", ["bob", None])
async def test_another_caller_neither_gets_the_answer_nor_runs_the_request(
    world: World, alice: Person, bob: Person, who: str | None
) -> None:
    async with SyncSocket(world.origin) as socket:
        first = await ask(socket, alice)
        async with SyncSocket(world.origin, session=socket.session) as other:
            answer = await ask(other, bob if who else None)
    assert answer["success"] is False
    assert first["result"]["_id"] not in str(answer)
    assert await bob.query(*LIST[:1]) == []
    assert len(await alice.query(*LIST[:1])) == 1


async def test_a_failed_mutation_is_run_again(world: World, alice: Person) -> None:
    async with SyncSocket(world.origin) as socket:
        first = await ask(socket, alice, 0, ("diaries:updateDiary", {"diaryId": "diary_none", "content": "x"}))
        assert first["success"] is False
        async with SyncSocket(world.origin, session=socket.session) as again:
            assert (await ask(again, alice))["success"]
    assert len(await alice.query(*LIST[:1])) == 1


async def test_an_old_answer_is_followed_by_a_transition_that_shows_it(world: World, alice: Person) -> None:
    async with SyncSocket(world.origin) as socket:
        first = await ask(socket, alice)
    world.clock.forward(timedelta(hours=1))
    async with SyncSocket(world.origin, session=socket.session) as again:
        await again.connect()
        await again.authenticate(0, token(alice))
        await again.subscribe(0, q0=LIST)
        await again.transition(1)
        await again.mutate(0, *WRITE)
        assert await again.response(0) == first
        await again.receive()
        received = [m for m in again.received if m["type"] != "MutationResponse"]
        results, _ = check_messages(received)
        assert [entry["_id"] for entry in results[0]] == [first["result"]["_id"]]


async def test_answers_are_kept_for_two_weeks_and_no_longer(world: World, alice: Person, admin: Person) -> None:
    async with SyncSocket(world.origin) as socket:
        await ask(socket, alice)
    world.clock.forward(timedelta(days=13))
    await admin.action("crons:retention")
    assert await world.db.pool.fetchval("select count(*) from answered_mutations") == 1
    world.clock.forward(timedelta(days=2))
    await admin.action("crons:retention")
    assert await world.db.pool.fetchval("select count(*) from answered_mutations") == 0


async def test_answers_are_erased_with_the_account_and_do_not_contain_its_id(world: World, alice: Person) -> None:
    async with SyncSocket(world.origin) as socket:
        await ask(socket, alice)
    kept = await world.db.pool.fetchrow("select * from answered_mutations")
    assert "user_alice" not in str(dict(kept))
    await alice.mutation("users:deleteAccount")
    await world.settle()
    assert await world.db.pool.fetchval("select count(*) from answered_mutations") == 0
