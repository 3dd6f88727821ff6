"""A release beside the one before it, behind nginx and Caddy: deployed, rolled back, while people write and listen."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import httpx2
import pytest

from daysong.commands import environment
from daysong.embedded.server import EmbeddedPostgres
from daysong.kernel.database.migrations import FOLDER, migrate
from daysong.sandbox.app import Pace, Sandbox
from daysong.sandbox.music.hum import hum
from daysong.transport.server.server import Server as SandboxServer
from daysong.transport.server.server import listen
from rehearsal import databases as testing
from rehearsal.cluster.cluster import answers
from rehearsal.cluster.journeys import Observations, Person
from rehearsal.cluster.programs import Program, until
from rehearsal.processes import proxies, releases
from rehearsal.processes.server import ADMIN_KEY, DAYSONG, ROOT, Server
from rehearsal.world import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow(21)]

HOST = "127.0.0.1"
PEOPLE = 4
PAUSE = 0.4  # seconds, about, between two entries of a person over HTTP, and over the socket
BESIDE = 0.5  # seconds for which both releases serve
# As the units have it, but shorter: nginx leaves out a server for a second, and Caddy asks every second.
DRAIN = ("--drain", "2")
PATIENCE = 60.0
PROXIES = [name for name in ("nginx", "caddy") if proxies.program(name)]


class Stage(NamedTuple):
    """What the processes share: settings, the vendors, two ports that proxies lead to, and people with their calls."""

    environ: dict[str, str]
    sandbox: Sandbox
    ports: tuple[int, int]
    people: list[Person]
    observed: Observations
    folder: Path


async def _nothing() -> None:
    return


@pytest.fixture
async def stage(
    database_server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """Proxies, vendors and people; no release runs yet, and the database is empty."""
    if not PROXIES:
        pytest.skip("neither nginx nor Caddy is here: apt-get install nginx-light caddy to try it")
    database = await testing.create_database(
        database_server, f"daysong_release_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}", migrated=False
    )
    ports, port, observed = (free_port(), free_port()), free_port(), Observations()
    async with AsyncExitStack() as stack:
        fronts = [stack.enter_context(proxies.running(name, tmp_path / name, ports)) for name in PROXIES]
        for front in fronts:
            if front.certificate is not None:
                monkeypatch.setenv("SSL_CERT_FILE", str(front.certificate))  # for sockets
        clients = [
            await stack.enter_async_context(
                httpx2.AsyncClient(base_url=front.origin, verify=front.trusted, trust_env=False, timeout=20)
            )
            for front in fronts
        ]
        given = {
            **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}},
            "DATABASE_URL": database,
            "DAYSONG_DATA_DIR": str(tmp_path / "data"),
            "DAYSONG_ADMIN_KEY": ADMIN_KEY,
            "DAYSONG_HASH_KEY": "a-hash-key-for-releases",
            "SITE_URL": fronts[-1].origin,
            "TRUSTED_PROXIES": HOST,
            "LIMIT_SIGN_UPS_VIEWER": "off",
        }
        sandbox = Sandbox(
            f"http://{HOST}:{port}",
            data_dir=tmp_path,
            pace=Pace(text=0.1, first=0.3, complete=0.6),
            http=clients[-1],
            compose=hum,
        )
        vendors = SandboxServer(sandbox.asgi, lifespan=False, close_sockets=_nothing)
        serving = asyncio.create_task(vendors.serve(sockets=[listen(HOST, port)]))
        people = []
        async with httpx2.AsyncClient(base_url=sandbox.origin, trust_env=False) as http:
            for number in range(PEOPLE):
                who = {"sub": f"user_release_{number}", "email": f"release{number}@example.test"}
                answer = (await http.post("/sandbox/clerk/sign-in", json=who)).raise_for_status()
                at = number % len(fronts)
                people.append(Person(number, fronts[at].origin, clients[at], answer.json()["jwt"], observed))
        environ = given | environment.with_sandbox(sandbox, given)
        try:
            yield Stage(environ, sandbox, ports, people, observed, tmp_path)
        finally:
            vendors.stop()
            await serving


class Running:
    """The processes of a release: one `serve` at a port, and one `work`."""

    def __init__(self, stage: Stage, name: str, code: Path, port: int) -> None:
        self._name, self._folder, self._environ = name, stage.folder, stage.environ | releases.code_in(code)
        self._is_ours = code == ROOT
        self.serve = Server(self._environ, stage.folder, f"{name}-serve", port=port, arguments=DRAIN)
        self.work: Program | None = None

    async def ready(self) -> None:
        """Wait until `serve` may get requests, start `work`, and wait until that works."""
        await asyncio.to_thread(self.serve.wait)
        # Only now: both would compile the code of a release that has just been unpacked.
        port = free_port()
        command = [*DAYSONG, "work", "--metrics-port", str(port)]
        self.work = Program(f"{self._name}-work", command, self._folder, environ=self._environ)
        for each in (self.serve.port, port):
            address = f"http://{HOST}:{each}/readyz"
            await asyncio.to_thread(until, address, lambda address=address: answers(address))  # type: ignore[misc]

    async def stop(self) -> None:
        """Ask both to stop, as systemd does."""
        assert self.work is not None
        self.work.process.terminate()
        await asyncio.to_thread(self.serve.stop)
        await asyncio.to_thread(self.work.stop)
        assert (self.serve.process.returncode, self.work.process.returncode) == (0, 0)
        # What an earlier release complains of may have been mended since.
        assert not self._is_ours or self.serve.complaints() == []

    def kill(self) -> None:
        """End both, however they are."""
        self.serve.kill()
        if self.work is not None:
            self.work.kill()


async def test_a_release_is_deployed_and_rolled_back_without_a_failed_call(stage: Stage) -> None:
    """The earlier release serves on the schema of this one and beside it, and alone after a rollback; no call fails, no
    socket stays away, no entry, song or job is lost, none is done twice.
    """
    commit = releases.earlier_commit()
    database = stage.environ["DATABASE_URL"]
    old = ROOT if commit is None else stage.folder / "earlier"
    await migrate(database, FOLDER if commit is None else releases.unpack(commit, old))
    singers = iter(stage.people)
    one, other = stage.ports
    using: list[asyncio.Task[Any]] = []
    running: list[Running] = []

    async def sing() -> None:
        person = next(singers)
        assert await person.call("action", "music:startDiaryMusicGeneration", f"Rain on the roof of {person.number}")

    async def replace(name: str, code: Path, port: int) -> None:
        """Start a release beside the one that runs, then stop that one."""
        running.append(Running(stage, name, code, port))
        await running[-1].ready()
        await sing()
        await asyncio.sleep(BESIDE)
        await running[-2].stop()

    try:
        running.append(Running(stage, "before", old, one))
        await running[0].ready()
        await _through_each_proxy(stage)
        using = [asyncio.create_task(work) for each in stage.people for work in (each.write(PAUSE), each.live(PAUSE))]
        await sing()
        assert bool(await migrate(database)) is (commit is not None)
        await replace("new", ROOT, other)
        await replace("after", old, one)
        last = asyncio.get_running_loop().time()
        await sing()
        async with asyncio.timeout(PATIENCE):
            while not all(any(at > last for at, _ in pushes) for pushes in stage.observed.pushes.values()):
                await asyncio.sleep(0.1)
            for person in stage.people:
                person.stop()
                # Its socket notices that with the next message.
                await person.call("mutation", "diaries:createDiary", f"Last light {person.number}")
            for task in using:
                await task
            await _until_sung(stage)
        await running[-1].stop()
    finally:
        for task in using:
            task.cancel()
        for each in running:
            each.kill()
    await _verify(stage)
    if commit is None:
        pytest.skip("tried with this commit alone: the history ends before the one that added the newest migration")


async def _through_each_proxy(stage: Stage) -> None:
    """Wait until each proxy leads somewhere, and make the accounts."""
    for person in stage.people:
        async with asyncio.timeout(PATIENCE):
            while not await person.call("mutation", "diaries:createDiary", f"First light {person.number}"):
                await asyncio.sleep(0.1)
    stage.observed.failed.clear()
    stage.observed.refused.clear()


async def _until_sung(stage: Stage) -> None:
    connection = await asyncpg.connect(stage.environ["DATABASE_URL"])
    try:
        while await connection.fetchval(
            """select (select count(*) from generations where status in ('queued', 'writing', 'composing'))
                    + (select count(*) from jobs where status = 'running' or status = 'queued' and due_at <= now())"""
        ):
            await asyncio.sleep(0.1)
    finally:
        await connection.close()


async def _verify(stage: Stage) -> None:
    """Compare what people were answered with what the database and Suno have."""
    observed = stage.observed
    assert observed.failed == []
    assert observed.refused == set()
    assert {code for _, code in observed.closed} <= {1012}
    connection = await asyncpg.connect(stage.environ["DATABASE_URL"])
    try:
        entries = await connection.fetch("select content, count(*) as times from diaries group by content")
        assert {each["content"]: each["times"] for each in entries} == dict.fromkeys(observed.acked, 1)
        songs = await connection.fetch("select id, status from generations")
        assert [song["status"] for song in songs] == ["ready"] * PEOPLE
        assert await connection.fetchval("select count(*) from usage_charges") == len(songs)
        assert await connection.fetchval("select count(*) from jobs where status = 'dead'") == 0
    finally:
        await connection.close()
    orders = Counter(task.order.callback_url for task in stage.sandbox.suno.tasks.values())
    assert sorted(orders.values()) == [1] * len(songs)
