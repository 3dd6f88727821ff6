"""Server processes are killed while clients send mutations: each mutation happens exactly once."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from rehearsal.processes.server import Keys, Server
from rehearsal.sync_socket import Message, SocketClosed, SyncSocket, moment

pytestmark = pytest.mark.anyio

CLIENTS = 50
RETRYABLE = {1006, 1011, 1012, 1013}
MUTATIONS = 16  # of each client: increments and entries in turn
IN_FLIGHT = 6  # of each client: some are still to be sent when a server is killed, however fast it is


class Client:
    """A client with several mutations in flight, which it sends again after reconnecting.

    Like the official client, it resends requests without a response, and those whose response no Transition has shown
    yet.
    """

    def __init__(self, number: int, keys: Keys) -> None:
        self.key = f"killed-{number}"
        self.subject = f"user_killed_{number}"
        self._token = keys.token(self.subject, email=f"{self.subject}@example.test")
        self.answers: dict[int, Message] = {}
        self._shown: set[int] = set()
        self._session: str | None = None
        self.connections = itertools.count()
        self.reconnects = 0

    def request(self, number: int) -> tuple[str, dict[str, Any]]:
        """Return the path and arguments of its request of that number."""
        if number % 2:
            return "diaries:createDiary", {"content": f"Entry {number}"}
        return "counter:increment", {"key": self.key}

    async def work(self, servers: list[Server], start: int) -> None:
        """Run until every mutation is answered and shown; after each lost connection, try the next server."""
        for server in itertools.cycle(servers[start:] + servers[:start]):
            try:
                await self._session_on(server)
            except SocketClosed as closed:
                if closed.code not in RETRYABLE:
                    raise
                self.reconnects += 1
                await asyncio.sleep(0.05)
            else:
                return

    async def _session_on(self, server: Server) -> None:
        async with SyncSocket(server.origin, session=self._session, connections=next(self.connections)) as socket:
            self._session = socket.session
            await socket.connect()
            await socket.authenticate(0, self._token)
            await socket.subscribe(0, q0=("counter:get", {"key": self.key}), q1=("diaries:listDiaries", {}))
            unsent = [number for number in range(MUTATIONS) if number not in self._shown]
            while len(self._shown) < MUTATIONS:
                while unsent and unsent[0] < len(self.answers) + IN_FLIGHT:
                    number = unsent.pop(0)
                    await socket.mutate(number, *self.request(number))
                self._note(await socket.receive(within=60))

    def _note(self, message: Message) -> None:
        if message["type"] == "MutationResponse":
            assert message["success"], message["result"]
            before = self.answers.setdefault(message["requestId"], message)
            assert (before["ts"], before["result"]) == (message["ts"], message["result"]), (
                "a different response than before"
            )
        elif message["type"] == "Transition":
            now = moment(message["endVersion"]["ts"])
            self._shown |= {number for number, answer in self.answers.items() if moment(answer["ts"]) <= now}
        else:
            assert message["type"] == "Ping", message


async def kill_when(servers: list[Server], clients: list[Client], working: list[asyncio.Task[None]]) -> int:
    """Kill the first server after a third of the responses, the second after two thirds; return how many were still to
    come.
    """
    left = 0
    for part, victim in enumerate(servers[:2], 1):
        while (answered := sum(len(client.answers) for client in clients)) < CLIENTS * MUTATIONS * part / 3:
            await asyncio.sleep(0.005)
            for task in working:
                if task.done():
                    task.result()
        victim.kill()
        left = CLIENTS * MUTATIONS - answered
    return left


@pytest.mark.timeout(180)
async def test_each_mutation_happens_once_whatever_is_killed(
    environ: dict[str, str], keys: Keys, log_folder: Path
) -> None:
    """Two of three servers are killed; counters, entries and every response are as if none had been."""
    with ExitStack() as stack:
        servers = [Server(environ, log_folder, f"server-{number}") for number in range(3)]
        for server in servers:
            stack.callback(server.stop)
        for server in servers:
            await asyncio.to_thread(server.wait)
        clients = [Client(number, keys) for number in range(CLIENTS)]
        working = [asyncio.create_task(client.work(servers, number % 2)) for number, client in enumerate(clients)]
        left = await kill_when(servers, clients, working)
        await asyncio.gather(*working)
    assert left > 0, "all responses came before any server was killed"
    assert sum(client.reconnects for client in clients) >= CLIENTS / 2

    connection = await asyncpg.connect(environ["DATABASE_URL"])
    try:
        for client in clients:
            raised = [client.answers[number]["result"] for number in range(0, MUTATIONS, 2)]
            assert raised == [float(number) for number in range(1, MUTATIONS // 2 + 1)]
            count = await connection.fetchval("select value from testing_counters where key = $1", client.key)
            assert count == MUTATIONS // 2
            entries = await connection.fetch(
                "select content from diaries join users on users.id = diaries.user_id where clerk_id = $1",
                client.subject,
            )
            wanted = sorted(f"Entry {number}" for number in range(1, MUTATIONS, 2))
            assert sorted(row["content"] for row in entries) == wanted
    finally:
        await connection.close()
