"""PostgreSQL older than the embedded one: each version installed on this machine serves whole journeys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from conftest import NOW
from daysong.commands.documents import schema
from daysong.kernel.database.migrations import migrate
from daysong.kernel.database.server_support import OLDEST_VERSION
from daysong.kernel.database.transactions import Database, Transaction
from daysong.kernel.functions.context import SYSTEM
from daysong.transport import schedule
from rehearsal.processes.installed_postgres import InstalledPostgres, installed, running
from rehearsal.world import World

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


NONE: list[Path | None] = [None]
DOCUMENT = Path(__file__).parents[1] / "docs" / "SCHEMA.md"


@pytest.fixture(scope="module", params=installed() or NONE, ids=lambda folder: folder.parent.name if folder else "none")
def older(request: pytest.FixtureRequest) -> Iterator[InstalledPostgres]:
    """An older server with an empty cluster."""
    if request.param is None:
        pytest.skip("no other PostgreSQL here: apt-get install postgresql-15 to try it")
    with running(request.param) as server:
        yield server


async def test_g40_sign_up_entry_song_share_and_deletion_work(older: InstalledPostgres, tmp_path: Path) -> None:
    """Sign-up, entry, song, share link, call settings, deletion, and each cron once, on an older server."""
    await migrate(older.url())
    async with World(older.url(), tmp_path, NOW) as world:
        version = await world.db.pool.fetchval("select current_setting('server_version_num')::int / 10000")
        assert version >= OLDEST_VERSION
        alice = await world.person("alice")
        await alice.mutation("diaries:createDiary", content="Rain.")
        song = await alice.song()
        shared = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
        page = await world.http.get(f"/share/{shared['shareId']}")
        assert page.is_success
        for cron in schedule.TIMETABLE:
            function = world.app.runtime.registry.of(cron.handler)
            await world.app.call(function.identifier, caller=SYSTEM)
        await world.settle()
        await alice.mutation("users:deleteAccount")
        await world.settle()
        assert await world.db.pool.fetchval("select count(*) from users") == 0
        # The same person's new account keeps that song: the tombstone is read and emptied in one statement.
        world.clock.move_to(world.clock.now() + timedelta(minutes=1))
        again = await world.person("alice")
        assert (await again.query("usage:canCurrentUserGenerateMusic"))["currentUsage"] == 1
        assert await world.db.pool.fetchval("select count(*) from jobs where status = 'dead'") == 0


async def test_the_schema_is_described_alike_on_every_version(older: InstalledPostgres) -> None:
    """docs/SCHEMA.md is not that of one version of the server."""
    await migrate(older.url())
    connection = await asyncpg.connect(older.url())
    try:
        assert await schema.document(connection) == DOCUMENT.read_text(encoding="utf-8")
    finally:
        await connection.close()


async def test_g52_a_server_without_a_connection_to_spare_is_waited_for(older: InstalledPostgres) -> None:
    """`too many connections` fails no call while the pool has other connections that are returned."""
    admin = await asyncpg.connect(older.url())
    await admin.execute("create role limited login connection limit 2")
    await admin.close()
    database = Database(older.url().replace("postgres@", "limited@"), max_connections=8)
    await database.open()
    try:
        done = await asyncio.gather(*(database.mutate(_short) for _ in range(40)))
        assert done == [1] * 40
    finally:
        await database.close()


async def _short(tx: Transaction) -> int:
    return int(await tx.fetchval("select 1 from pg_sleep(0.005)"))
