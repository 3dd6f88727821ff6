"""The sockets of a process: notifications, throttling, timeouts and limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from conftest import NOW
from daysong.kernel.database.transactions import Database
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import NoArgs, query
from daysong.kernel.functions.registry import module
from daysong.kernel.time.clock import to_ms
from daysong.transport.sync.hub import Limits
from rehearsal import library
from rehearsal.processes.frozen_proxy import proxy_to
from rehearsal.sync_rules import check_messages
from rehearsal.sync_socket import Message, SocketClosed, SyncSocket
from rehearsal.world import Person, World, free_port

pytestmark = pytest.mark.anyio

DIARIES: tuple[str, dict[str, Any]] = ("diaries:listDiaries", {})


@query
async def time(ctx: QueryContext, args: NoArgs) -> float:
    """Return the time, without saying until when it holds."""
    return to_ms(ctx.now)


# This file is the package of functions that the app adds.
MODULES = (module("clock", public=(time,)),)


async def create_tables(database: Database) -> None:
    """Create none: the functions have no tables."""


@asynccontextmanager
async def served(database_url: str, data_dir: Path, **limits: Any) -> AsyncIterator[World]:
    """The whole app with the functions above, served on a port, with other limits than usual."""
    added = {"DAYSONG_TEST_FUNCTIONS": __name__}
    world = World(database_url, data_dir, NOW, added, port=free_port(), limits=replace(Limits(), **limits))
    async with world:
        yield world


@pytest.fixture
async def world(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """The whole app, served on a port."""
    async with served(database_url, data_dir) as whole:
        yield whole


def token(person: Person) -> str:
    return person.headers["Authorization"].removeprefix("Bearer ")


def counted(name: str) -> float:
    """The value of a counter."""
    return REGISTRY.get_sample_value(name) or 0.0


async def subscribed(socket: SyncSocket, person: Person) -> SyncSocket:
    """Connect as a person, subscribed to their entries."""
    await socket.connect()
    await socket.authenticate(0, token(person))
    await socket.subscribe(0, q0=DIARIES)
    await socket.transition(1)
    return socket


def lists(*contents: str) -> Callable[[Message], bool]:
    """Return a test whether a message lists these entries first."""

    def matches(message: Message) -> bool:
        results = [change["value"] for change in message.get("modifications", ())]
        return any([entry["content"] for entry in value[: len(contents)]] == [*contents] for value in results)

    return matches


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_change_wakes_only_the_sockets_of_its_owner(world: World, alice: Person, bob: Person) -> None:
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(SyncSocket(world.origin)) for _ in range(12)]
        for number, socket in enumerate(sockets):
            await subscribed(socket, alice if number < 2 else bob)
        runs = counted("daysong_sync_query_runs_total")
        await alice.mutation("diaries:createDiary", content="Rain")
        await asyncio.gather(*(socket.receive(lists("Rain")) for socket in sockets[:2]))
        assert counted("daysong_sync_query_runs_total") - runs == 2
        assert all(len(socket.received) == len(sockets[2].received) for socket in sockets[3:])


async def test_a_burst_of_a_thousand_commits_costs_a_few_runs(world: World, alice: Person) -> None:
    async with SyncSocket(world.origin) as socket:
        await subscribed(socket, alice)
        runs = counted("daysong_sync_query_runs_total")
        owner = await world.db.pool.fetchval("select id from users where clerk_id = 'user_alice'")
        # As fast as the database can: with a statement for each, a busy machine takes seconds, with many runs.
        await world.db.pool.execute(
            f"""do $$ begin
                for number in 0..999 loop
                    insert into diaries (id, user_id, content, date, created_at, updated_at)
                    select 'diary_' || number, '{owner}', 'Entry ' || number, now() + number * interval '1 ms',
                           now(), now();
                    commit;
                end loop;
            end $$"""
        )
        await socket.receive(lists("Entry 999"))
        assert counted("daysong_sync_query_runs_total") - runs < 50
        check_messages(socket.received)


async def test_g41_the_steps_of_a_song_are_sent_together(world: World, alice: Person) -> None:
    """A playlist of 1.4 MB is not sent for each of nine quick steps, and the last step is always sent."""
    songs = await library.fill(world, "alice", 120)
    newest = songs[0].music_id
    async with SyncSocket(world.origin) as socket:
        await socket.authenticate(0, token(alice))
        await socket.subscribe(0, q0=("music:listPlaylistMusic", {}))
        await socket.transition(1)
        received = len(socket.received)
        for step in range(9):
            await world.db.pool.execute("update music set title = $2 where id = $1", newest, f"Step {step}")
            # The duration of a step: without throttling each would be sent before the next.
            await asyncio.sleep(0.12)
        await socket.receive(lambda message: "Step 8" in str(message))
        assert len(socket.received) - received <= 5
        check_messages(socket.received)


async def test_g41_a_clients_own_mutations_are_not_throttled(database_url: str, data_dir: Path) -> None:
    """They are shown at once, with results of any size."""
    async with served(database_url, data_dir, rate=1, longest_pause=1_000.0) as world:
        alice = await world.person("alice")
        async with SyncSocket(world.origin) as socket:
            await subscribed(socket, alice)
            await alice.mutation("diaries:createDiary", content="From elsewhere")
            for number in range(3):
                await socket.mutate(number, "diaries:createDiary", {"content": f"Here {number}"})
                await socket.receive(lists(f"Here {number}"))


async def cut_off(world: World) -> None:
    """Terminate the listening connection as soon as there is one."""
    async with asyncio.timeout(20):
        while not await world.db.pool.fetchval(
            """select count(pg_terminate_backend(pid)) from pg_stat_activity
               where application_name = 'daysong live' and datname = current_database()"""
        ):
            await asyncio.sleep(0.02)


async def test_notifications_resume_after_the_listening_connection_is_lost(world: World, alice: Person) -> None:
    async with SyncSocket(world.origin) as socket:
        await subscribed(socket, alice)
        for number in range(3):
            await cut_off(world)
            await alice.mutation("diaries:createDiary", content=f"Entry {number}")
            await socket.receive(lists(f"Entry {number}"))


async def test_sockets_survive_the_loss_of_all_database_connections(world: World, alice: Person) -> None:
    async with SyncSocket(world.origin) as socket:
        await subscribed(socket, alice)
        await world.db.pool.fetch(
            """select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid() and application_name like 'daysong%'"""
        )
        await until(lambda: counted("daysong_live_connections_lost_total") > 0)
        await alice.mutation("diaries:createDiary", content="Rain")
        await socket.receive(lists("Rain"))
        await socket.mutate(0, "diaries:createDiary", {"content": "Sun"})
        assert (await socket.response(0))["success"]


async def test_a_socket_stays_open_while_the_database_is_away(database_url: str, data_dir: Path) -> None:
    """What was asked meanwhile, on an open socket and on one that was opened meanwhile, is done once it is back."""
    async with proxy_to(database_url) as proxy, served(proxy.url(database_url), data_dir) as world:
        alice = await world.person("alice")
        async with SyncSocket(world.origin) as socket, SyncSocket(world.origin) as later:
            await subscribed(socket, alice)
            proxy.cut()
            await socket.mutate(0, "diaries:createDiary", {"content": "Rain"})
            await later.connect()
            await later.authenticate(0, token(alice))
            await later.subscribe(0, q0=DIARIES)
            refused = proxy.accepted
            await until(lambda: proxy.accepted > refused + 8)
            proxy.restore()
            assert (await socket.response(0))["success"]
            await socket.receive(lists("Rain"))
            await later.receive(lists("Rain"))


async def test_a_reset_of_the_database_is_shown_at_once(database_url: str, data_dir: Path) -> None:
    world = World(database_url, data_dir, NOW, environ={"DAYSONG_TEST": "1"}, port=free_port())
    async with world, SyncSocket(world.origin) as socket:
        alice = await world.person("alice")
        await alice.mutation("diaries:createDiary", content="Rain")
        await subscribed(socket, alice)
        await world.http.post("/test/reset", headers={"Authorization": f"Convex {world.settings.admin_key}"})
        message = await socket.receive()
        assert message["modifications"][0]["value"] == []


async def test_a_client_that_does_not_read_has_a_bounded_backlog_and_is_closed(
    database_url: str, data_dir: Path
) -> None:
    async with served(database_url, data_dir, send_timeout=0.5) as world:
        alice, bob = await world.person("alice"), await world.person("bob")
        long = "x" * 40_000
        for _ in range(40):
            await alice.mutation("diaries:createDiary", content=long)
        async with SyncSocket(world.origin) as slow, SyncSocket(world.origin) as other:
            await subscribed(slow, alice)
            slow.connection.transport.pause_reading()
            await subscribed(other, bob)
            (session,) = [one for one in world.app.hub.sessions if one.sign_in and one.sign_in.caller.name == "Alice"]
            unsent = 0
            while not session.wire.ended:
                await alice.mutation("diaries:createDiary", content=long)
                await bob.mutation("diaries:createDiary", content="Quick")
                await other.receive(lists("Quick"))
                unsent = max(unsent, session.wire.unsent)
            assert unsent < 8_000_000
            await until(lambda: len(world.app.hub.sessions) == 1)
            slow.connection.transport.resume_reading()
            with pytest.raises(SocketClosed) as closed:
                await slow.receive(lambda _: False)
            assert closed.value.code in {1013, 1006}


async def test_an_idle_client_gets_pings_and_one_that_sent_nothing_is_closed(database_url: str, data_dir: Path) -> None:
    short = served(database_url, data_dir, ping_interval=0.1, idle_timeout=0.4)
    async with short as world, SyncSocket(world.origin) as socket, SyncSocket(world.origin) as silent:
        await socket.subscribe(0)
        await socket.transition(1)
        assert [(await socket.receive())["type"] for _ in range(3)] == ["Ping"] * 3
        with pytest.raises(SocketClosed) as closed:
            await silent.receive()
        assert (closed.value.code, silent.received) == (1000, [])


async def test_sockets_over_the_limit_of_a_process_are_closed_with_1013(database_url: str, data_dir: Path) -> None:
    small = served(database_url, data_dir, sockets=2)
    async with small as world, SyncSocket(world.origin) as one, SyncSocket(world.origin) as two:
        for socket in (one, two):
            await socket.subscribe(0)
            await socket.transition(1)
        async with SyncSocket(world.origin) as three:
            with pytest.raises(SocketClosed) as closed:
                await three.receive()
        assert closed.value.code == 1013


async def test_limits_of_one_socket_are_enforced(database_url: str, data_dir: Path) -> None:
    async with served(database_url, data_dir, queries=3, message=5_000, pending=2) as world:
        alice = await world.person("alice")
        for adds in (
            [{"type": "Add", "queryId": n, "udfPath": "a:b", "args": [{}]} for n in range(4)],
            [{"type": "Add", "queryId": n, "udfPath": "a" * 1000, "args": [{"x": "y" * 1000}]} for n in range(3)],
        ):
            async with SyncSocket(world.origin) as socket:
                await socket.send({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": adds})
                with pytest.raises(SocketClosed):
                    await socket.receive(lambda _: False)
                assert socket.received[0]["type"] == "FatalError"
        # Requests over the limit of pending ones are not lost: they are read later.
        async with SyncSocket(world.origin) as socket:
            await subscribed(socket, alice)
            for number in range(20):
                await socket.mutate(number, "diaries:createDiary", {"content": f"Entry {number}"})
            for number in range(20):
                assert (await socket.response(number))["success"]


async def test_a_result_that_is_too_large_fails_alone(database_url: str, data_dir: Path) -> None:
    async with served(database_url, data_dir, result=50_000) as world:
        alice = await world.person("alice")
        async with SyncSocket(world.origin) as socket:
            await socket.authenticate(0, token(alice))
            await socket.subscribe(0, q0=DIARIES, q1=("users:getUserProfile", {}))
            await socket.transition(1)
            for _ in range(2):
                await alice.mutation("diaries:createDiary", content="x" * 30_000)
            message = await socket.receive(
                lambda m: bool(m["modifications"] and m["modifications"][0]["type"] == "QueryFailed")
            )
            assert "too large" in message["modifications"][0]["errorMessage"]
            check_messages(socket.received)


async def test_a_server_that_stops_closes_every_socket_with_1012(world: World, alice: Person) -> None:
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(SyncSocket(world.origin)) for _ in range(5)]
        for socket in sockets[:3]:
            await subscribed(socket, alice)
        await until(lambda: len(world.app.hub.sessions) == 5)
        await world.app.hub.close_sockets()
        for socket in sockets:
            with pytest.raises(SocketClosed) as closed:
                await socket.receive()
            assert (closed.value.code, closed.value.reason) == (1012, "ServerRestart")
        assert world.app.hub.sessions == set()


async def test_closed_sockets_leave_no_state(world: World, alice: Person) -> None:
    for _ in range(3):
        async with SyncSocket(world.origin) as socket:
            await subscribed(socket, alice)
    await until(lambda: not world.app.hub.sessions)
    assert world.app.hub.live._watchers == {}
    assert REGISTRY.get_sample_value("daysong_sync_subscriptions") == 0


async def test_a_renewed_token_runs_no_query_that_does_not_depend_on_the_time(
    database_url: str, data_dir: Path
) -> None:
    """Not even when its result is old; a query that reads the time without saying until when it holds is run."""
    async with served(database_url, data_dir, fresh=0.0) as world, SyncSocket(world.origin) as socket:
        alice = await world.person("alice")
        await subscribed(socket, alice)
        await socket.subscribe(1, q1=("users:getUserProfile", {}), q2=("billing:getCurrentUserStatus", {}))
        await socket.transition(2)
        runs = counted("daysong_sync_query_runs_total")
        await socket.authenticate(1, token(alice))
        renewed = await socket.receive(lambda message: bool(message["endVersion"]["identity"] == 2))
        assert renewed["modifications"] == []
        assert counted("daysong_sync_query_runs_total") == runs
        await socket.subscribe(2, q3=("clock:time", {}))
        await socket.transition(3)
        runs = counted("daysong_sync_query_runs_total")
        await socket.authenticate(2, token(alice))
        await socket.receive(lambda message: bool(message["endVersion"]["identity"] == 3))
        assert counted("daysong_sync_query_runs_total") == runs + 4


async def test_a_result_is_sent_anew_at_the_moment_until_which_it_holds(world: World, alice: Person) -> None:
    """The plan's period ends: the new one is shown without a change, and without a message of the client."""
    async with SyncSocket(world.origin) as socket:
        await subscribed(socket, alice)
        await socket.subscribe(1, q1=("billing:getCurrentUserStatus", {}))
        before = (await socket.transition(2))["modifications"][0]["value"]
        moment = datetime.fromtimestamp(before["periodEnd"] / 1000, UTC)
        world.clock.move_to(moment)
        message = await socket.receive(lambda message: bool(message.get("modifications")))
        assert message["modifications"][0]["value"]["periodStart"] == before["periodEnd"]
