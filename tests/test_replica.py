"""Reads on a real streaming standby (DATABASE_REPLICA_URL): when they go there, and that callers never notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
from prometheus_client import REGISTRY

from conftest import NOW
from daysong.commands import doctor
from daysong.kernel.database.migrations import migrate
from daysong.kernel.database.replica import Replica
from daysong.kernel.functions.context import SYSTEM
from rehearsal.blog import write_post
from rehearsal.processes.installed_postgres import InstalledPostgres, installed, running, standby_of
from rehearsal.world import Person, World

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

PATIENCE = 30.0  # seconds, on a busy machine
SHARED = "sharing:getSharedMusic"
# Sleeps on a standby alone, while it reads a table.
SLOW_SQL = "select case when pg_is_in_recovery() then pg_sleep(20)::text end is null from (select count(*) from tags) t"


class Pair(NamedTuple):
    """A primary with a streaming standby."""

    primary: InstalledPostgres
    standby: InstalledPostgres


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    """A primary and its standby, with the schema."""
    if not installed():
        pytest.skip("no PostgreSQL that makes a standby here: apt-get install postgresql-15 to try it")
    settings = {"synchronous_commit": "on", "max_standby_streaming_delay": "0"}
    with running(installed()[0], **settings) as primary, standby_of(primary) as standby:
        asyncio.run(migrate(primary.url()))
        yield Pair(primary, standby)


@pytest.fixture
async def stage(servers: Pair, tmp_path: Path) -> AsyncIterator[World]:
    """A world that reads on the standby. Its rows stay, since emptying takes a second: each test has its people."""
    environ = {"DATABASE_REPLICA_URL": servers.standby.url(), "DATABASE_REPLICA_MAX_LAG": "1"}
    async with World(servers.primary.url(), tmp_path, NOW, environ) as world:
        await until_used(world)
        yield world


@pytest.fixture
async def standby(servers: Pair) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the standby."""
    connection = await asyncpg.connect(servers.standby.url())
    yield connection
    await connection.close()


def replica_of(world: World) -> Replica:
    """Return the replica that a world reads on."""
    assert world.app.replica is not None
    return world.app.replica


async def until_used(world: World, *, used: bool = True) -> None:
    """Wait until a world reads on the standby, or does not any more."""
    async with asyncio.timeout(PATIENCE):
        while replica_of(world)._is_used is not used:
            await asyncio.sleep(0.01)


def reads(name: str) -> dict[str, float]:
    """Return how many reads of a name went where."""
    return {
        place: REGISTRY.get_sample_value("daysong_replica_reads_total", {"name": name, "place": place}) or 0
        for place in ("replica", "primary")
    }


@asynccontextmanager
async def all_read_on(place: str, *names: str) -> AsyncIterator[None]:
    """Fail unless each name is read there meanwhile, and nowhere else."""
    before = {name: reads(name) for name in names}
    yield
    for name in names:
        went = {where for where, count in reads(name).items() if count > before[name][where]}
        assert went == {place}, name


@asynccontextmanager
async def replay_paused(standby: asyncpg.Connection) -> AsyncIterator[None]:
    """Have the standby receive changes and show none of them."""
    await standby.execute("select pg_wal_replay_pause()")
    async with asyncio.timeout(PATIENCE):
        while await standby.fetchval("select pg_get_wal_replay_pause_state()") != "paused":
            await asyncio.sleep(0.01)
    try:
        yield
    finally:
        await standby.execute("select pg_wal_replay_resume()")


async def shared_by(person: Person) -> str:
    """Return the id of a share link of a new song."""
    song = await person.song()
    return str((await person.mutation("sharing:createShareLink", musicId=song["_id"]))["shareId"])


async def until_read(world: World, standby: asyncpg.Connection, function: str, sql: str) -> None:
    """Call a function until the standby says itself that it ran the statement last.

    The background's measurement may have used the same connection since.
    """
    async with asyncio.timeout(PATIENCE):
        while True:
            await world.app.call(function, caller=SYSTEM)
            last = await standby.fetch("select query from pg_stat_activity where application_name = 'replica'")
            if any(sql in row["query"] for row in last):
                return


async def doctors_finding(world: World) -> Any:
    """Return what `daysong doctor` finds about the replica."""
    findings: Any = doctor.findings(world.settings, [], {})
    async with aclosing(findings):
        return await anext(one async for one in findings if one.name == "Replica")


async def test_public_reads_and_statistics_are_served_by_the_standby(stage: World, standby: asyncpg.Connection) -> None:
    """A share's page, song and media, the blog, counts of days; what a user reads, and what follows actions, is not."""
    alice, anonymous = await stage.person("alice"), Person(stage, {})
    share, post = await shared_by(alice), await write_post(stage, "Rain")
    await until_used(stage)
    names = (
        SHARED,
        "media",
        "blog:getBySlug",
        "blog:listPublished",
        "support/overview:countDays",
        "support/overview:listCosts",
    )
    async with all_read_on("replica", *names):
        assert (await anonymous.query(SHARED, shareId=share))["found"] is True
        assert (await stage.http.get(f"/share/{share}")).is_success
        assert (await stage.http.get(f"/media/shared/{share}/audio")).is_success
        assert (await anonymous.query("blog:getBySlug", slug=post["slug"]))["title"] == "Rain"
        assert len(await anonymous.query("blog:listPublished")) == 1
        await stage.app.call("support/overview:countDays", caller=SYSTEM)
        await until_read(stage, standby, "support/overview:listCosts", "from vendor_costs")
    # The view that the page counted is on the primary.
    assert await stage.db.pool.fetchval("select count(*) from share_viewers") == 1
    assert len(await alice.query("diaries:listDiaries")) == 1
    await stage.app.call("support/songs:listSongs", caller=SYSTEM)
    before = reads("support/overview:countDays")
    await stage.app.call("support/overview:countDays", caller=stage.acting_as("user_alice"))
    assert reads("support/overview:countDays") == before
    assert reads("diaries:listDiaries") == reads("support/songs:listSongs") == {"replica": 0, "primary": 0}
    connection = await replica_of(stage).pool.acquire()
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await connection.execute("delete from users")
    await replica_of(stage).pool.release(connection)
    assert (await doctors_finding(stage)).state == "ok"


async def test_a_revoked_share_is_closed_at_once_to_everyone(stage: World, standby: asyncpg.Connection) -> None:
    """Also while the standby shows nothing new: then reads go to the primary, and later to the standby again."""
    bob, anonymous = await stage.person("bob"), Person(stage, {})
    share = await shared_by(bob)
    [row] = await bob.query("sharing:listSharedMusic")
    for n in range(10):
        is_private = n % 2 == 0
        await bob.mutation("sharing:setSharePrivacy", sharedMusicId=row["_id"], isPrivate=is_private)
        assert (await anonymous.query(SHARED, shareId=share))["found"] is not is_private
    async with replay_paused(standby), all_read_on("primary", SHARED):
        await bob.mutation("sharing:setSharePrivacy", sharedMusicId=row["_id"], isPrivate=True)
        assert (await anonymous.query(SHARED, shareId=share))["found"] is False
        await bob.mutation("sharing:setSharePrivacy", sharedMusicId=row["_id"], isPrivate=False)
        assert (await anonymous.query(SHARED, shareId=share))["found"] is True
        # Beyond the limit statistics are read on the primary, too.
        await until_used(stage, used=False)
        async with all_read_on("primary", "support/overview:countDays"):
            await stage.app.call("support/overview:countDays", caller=SYSTEM)
        finding = await doctors_finding(stage)
        assert (finding.state, "1 seconds behind" in finding.detail) == ("warning", True)
    await until_used(stage)
    async with all_read_on("replica", SHARED):
        await asyncio.gather(*(anonymous.query(SHARED, shareId=share) for _ in range(20)))
    # A standby of another history is as far as this one, and has not the primary's token.
    async with replay_paused(standby):
        await stage.db.pool.execute("update primary_timeline set token = gen_random_uuid()")
        await until_used(stage, used=False)
    await until_used(stage)


async def test_a_query_that_the_standby_cancels_is_read_on_the_primary(stage: World) -> None:
    """What is replayed takes precedence over what reads; the caller gets the answer all the same."""
    replica, begun, runs = replica_of(stage), asyncio.Event(), []

    async def work(db: Any) -> Any:
        runs.append(db)
        begun.set()
        return await db.fetchval(SLOW_SQL)

    async with all_read_on("primary", "slow"):
        reading = asyncio.create_task(replica.read("slow", work, may_lag=True))
        await begun.wait()
        async with asyncio.timeout(PATIENCE):
            while not reading.done():
                await stage.db.pool.execute("truncate tags cascade")
                await asyncio.wait({reading}, timeout=0.05)
        assert await reading is True
    assert (len(runs), replica._is_used) == (2, True)


async def test_a_killed_standby_fails_no_call_and_is_used_again(servers: Pair, stage: World) -> None:
    """Nor does one that was promoted, which is read no more."""
    charlie, anonymous = await stage.person("charlie"), Person(stage, {})
    share, going = await shared_by(charlie), True

    async def listen() -> int:
        count = 0
        while going:
            assert (await anonymous.query(SHARED, shareId=share))["found"] is True
            await stage.app.call("support/overview:countDays", caller=SYSTEM)
            count += 1
            await asyncio.sleep(0.01)
        return count

    listening = asyncio.create_task(listen())
    await asyncio.to_thread(servers.standby.kill)
    await until_used(stage, used=False)
    assert (await stage.http.get("/readyz")).is_success
    assert (await doctors_finding(stage)).state == "warning"
    await asyncio.to_thread(servers.standby.start)
    await until_used(stage)
    async with all_read_on("replica", SHARED):
        await anonymous.query(SHARED, shareId=share)
    connection = await asyncpg.connect(servers.standby.url())
    await connection.execute("select pg_promote()")
    await connection.close()
    async with all_read_on("primary", SHARED):
        await charlie.mutation("diaries:createDiary", content="Rain.")
        await anonymous.query(SHARED, shareId=share)
    await until_used(stage, used=False)
    going = False
    assert await listening > 0
    assert "is no standby" in (await doctors_finding(stage)).detail
