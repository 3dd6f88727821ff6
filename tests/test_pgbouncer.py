"""A real PgBouncer between daysong and PostgreSQL, in both of its usual modes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from daysong.kernel.database.migrations import migrate, pending
from daysong.kernel.live import ANY_OWNER, Live
from rehearsal.processes import pgbouncer
from rehearsal.processes.installed_postgres import InstalledPostgres, installed, running
from rehearsal.world import World

pytestmark = pytest.mark.anyio

PATIENCE = 30.0  # seconds, on a busy machine


@pytest.fixture(scope="module")
def server() -> Iterator[InstalledPostgres]:
    """A server that accepts PgBouncer's connections."""
    if not installed() or pgbouncer.program() is None:
        pytest.skip("no PgBouncer with a PostgreSQL here: apt-get install pgbouncer postgresql-15 to try it")
    with running(installed()[0]) as started:
        yield started


class Listener:
    """A watcher that records that it was woken."""

    tables = frozenset({"diaries"})

    def __init__(self) -> None:
        self.woken = asyncio.Event()

    def touched(self) -> None:
        """Note that something has changed, or may have."""
        self.woken.set()


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_g53_everything_works_behind_pgbouncer(server: InstalledPostgres, mode: str, tmp_path: Path) -> None:
    """Migrations, concurrent mutations, snapshots, a song by a real worker, and notifications of changed rows."""
    database = f"daysong_{mode}"
    await asyncio.to_thread(server.create_database, database)
    with pgbouncer.running(server, mode, server_connections=8 if mode == "session" else 3) as port:
        behind = server.url(database, port=port)
        direct = behind if mode == "session" else server.url(database)
        await migrate(direct)
        assert await pending(behind) == []
        environ = {"DATABASE_POOL": "3"} if mode == "session" else {"DATABASE_DIRECT_URL": direct}
        async with World(behind, tmp_path, NOW, environ) as world:
            assert world.settings.listen_url == direct
            await _use(world)


async def _use(world: World) -> None:
    alice = await world.person("alice")
    assert (await world.http.get("/readyz")).is_success
    assert await world.db.mutate(_timeouts) == {"20s"}
    await asyncio.gather(*(alice.mutation("diaries:createDiary", content=f"Rain {n}.") for n in range(30)))
    lists: list[Any] = await asyncio.gather(*(alice.query("diaries:listDiaries") for _ in range(20)))
    assert [len(one) for one in lists] == [30] * 20

    live, listener = Live(world.settings.listen_url), Listener()
    live.watch(listener, ANY_OWNER)
    live.open()
    working = asyncio.create_task(world.app.worker.run_forever(world.settings.listen_url))
    try:
        async with asyncio.timeout(PATIENCE):
            await listener.woken.wait()  # it listens
            listener.woken.clear()
            await alice.action("music:startDiaryMusicGeneration", content="I walked home in the rain")
            await listener.woken.wait()
            while not await alice.query("music:listPlaylistMusic"):
                await asyncio.sleep(0.05)
                await world.sandbox.settle()
    finally:
        await world.app.worker.stop()
        await working
        await live.close()


async def _timeouts(tx: Any) -> set[str]:
    names = ("statement_timeout", "idle_in_transaction_session_timeout")
    return {str(await tx.fetchval("select current_setting($1)", name)) for name in names}
