"""Connections that die in silence, servers that are read-only for a while, pools that are empty."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from daysong.kernel import live
from daysong.kernel.database import connections
from daysong.kernel.database.connections import BROKEN, StatementMisused, connect
from daysong.kernel.database.transactions import Database, Transaction
from daysong.kernel.errors import DatabaseMisconfigured, DatabaseUnavailable, TooBusy
from daysong.kernel.live import Live
from rehearsal.processes.frozen_proxy import HOST, FrozenProxy, proxy_to

pytestmark = pytest.mark.anyio

BUSY_MACHINE = 10.0  # seconds; far below what a silent server would cost without a check


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[FrozenProxy]:
    """A line to the database's server that can fall silent."""
    async with proxy_to(database_url) as running:
        yield running


@pytest.fixture
async def database(proxy: FrozenProxy, database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database behind the line, whose patience is short."""
    for name, seconds in {"FRESH_FOR": 0, "PING_TIMEOUT": 0.3, "SILENCE": 0.2, "CONNECT_WITHIN": 0.5}.items():
        monkeypatch.setattr(connections, name, seconds)
    opened = Database(proxy.url(database_url), max_connections=3)
    await opened.open()
    yield opened
    opened.pool.terminate()
    await opened.close()


async def one(tx: Transaction) -> Any:
    """A short transaction."""
    return await tx.fetchval("select 1")


async def test_g51_a_silent_connection_is_not_lent(database: Database, proxy: FrozenProxy) -> None:
    """Idle connections to a vanished server are replaced; the mutation succeeds."""
    await database.mutate(one)
    proxy.freeze()
    began = time.monotonic()
    assert await asyncio.gather(*(database.mutate(one) for _ in range(5))) == [1] * 5
    assert time.monotonic() - began < BUSY_MACHINE


async def test_g51_what_runs_when_the_server_falls_silent_is_cut(database: Database, proxy: FrozenProxy) -> None:
    """A transaction under way ends with an error when no fresh connection can be had; later ones work again."""
    begun = asyncio.Event()

    async def long(tx: Transaction) -> None:
        begun.set()
        await tx.fetchval("select pg_sleep(0.1)")
        proxy.freeze(also_new=True)
        await tx.fetchval("select 1")

    began = time.monotonic()
    with pytest.raises((*BROKEN, OSError)):
        await database.mutate(long)
    assert time.monotonic() - began < BUSY_MACHINE
    with pytest.raises(DatabaseUnavailable):
        await database.mutate(one)
    proxy.thaw()
    assert await database.mutate(one) == 1


async def test_a_mistaken_statement_is_no_lost_connection(database: Database) -> None:
    """It is neither retried nor answered like a database that is away, and connections are kept."""
    before, tries = await database.pool.fetchval("select pg_backend_pid()"), 0

    async def mistaken(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.fetchval("select $1::text")

    with pytest.raises(StatementMisused):
        await database.mutate(mistaken)
    with pytest.raises(StatementMisused):
        await database.one_statement().fetchval("select 1", "one too many")
    assert tries == 1
    assert await database.pool.fetchval("select pg_backend_pid()") == before


async def test_g51_the_listeners_loss_replaces_the_pools_connections(
    database: Database, proxy: FrozenProxy, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listening connection is pinged; when it does not answer, all others are replaced too."""
    monkeypatch.setattr(live, "PING_TIMEOUT", 0.1)
    monkeypatch.setattr(connections, "FRESH_FOR", 60)
    before = await database.pool.fetchval("select pg_backend_pid()")
    renewed = asyncio.Event()

    async def lost() -> None:
        await database.renew()
        renewed.set()

    listening = Live(proxy.url(database_url), lost=lost)
    listening.open()
    try:
        async with asyncio.timeout(BUSY_MACHINE):
            while not await database.pool.fetchval("select true from pg_stat_activity where query like 'LISTEN%'"):
                await asyncio.sleep(0.01)
        proxy.freeze()
        async with asyncio.timeout(BUSY_MACHINE):
            await renewed.wait()
            assert await database.pool.fetchval("select pg_backend_pid()") != before
    finally:
        await listening.close()


async def test_g51_a_server_that_falls_silent_before_it_listens_is_lost(
    proxy: FrozenProxy, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listening connection does not wait for the answer for ever."""
    monkeypatch.setattr(live, "PING_TIMEOUT", 0.1)
    noticed = asyncio.Event()
    connected = connections.connect

    async def connected_to_silence(url: str, *, name: str) -> asyncpg.Connection:
        connection = await connected(url, name=name)
        proxy.freeze()
        return connection

    async def lost() -> None:
        noticed.set()

    monkeypatch.setattr(connections, "connect", connected_to_silence)
    listening = Live(proxy.url(database_url), lost=lost)
    listening.open()
    try:
        async with asyncio.timeout(BUSY_MACHINE):
            await noticed.wait()
    finally:
        await listening.close()


async def test_g51_the_kernel_watches_every_connection(proxy: FrozenProxy, database_url: str) -> None:
    """A peer that acknowledges nothing is given up after about ten seconds, by whichever loop runs."""
    connection = await connect(proxy.url(database_url), name="test")
    there = connection._transport.get_extra_info("socket")
    with socket.socket(fileno=os.dup(there.fileno())) as real:
        assert real.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"):
            assert real.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == connections.TCP_OPTIONS[name]
    await connection.close()


async def test_g51_nobody_waits_long_for_a_connection(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all are out, TooBusy; afterwards everything goes on."""
    monkeypatch.setattr(connections, "ACQUIRE_WITHIN", 0.1)
    held = [await database.pool.acquire() for _ in range(3)]
    with pytest.raises(TooBusy):
        await database.mutate(one)
    with pytest.raises(TooBusy):
        await database.one_statement().fetchval("select 1")
    for connection in held:
        await database.pool.release(connection)
    assert await database.mutate(one) == 1


async def test_g50_a_spell_of_read_only_leaves_nothing_behind(database: Database, database_url: str) -> None:
    """Connections opened meanwhile are replaced; during the spell a mutation fails as one that may be tried again."""

    async def write(tx: Transaction) -> None:
        await tx.execute("create temporary table spell (n int) on commit drop")
        await tx.execute("create table spelt (n int)")
        await tx.execute("drop table spelt")

    name = urlsplit(database_url).path.strip("/")
    admin = await asyncpg.connect(database_url)
    try:
        await admin.execute(f'alter database "{name}" set default_transaction_read_only = on')
        await database.renew()
        with pytest.raises(DatabaseUnavailable):
            await database.mutate(write)
        held = [await database.pool.acquire() for _ in range(3)]
        for connection in held:
            await database.pool.release(connection)
    finally:
        await admin.execute(f'alter database "{name}" reset default_transaction_read_only')
        await admin.close()
    for _ in range(3):
        await database.mutate(write)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://alice:hunter2@127.0.0.1:9/daysong", r"127\.0\.0\.1:9 \(ConnectionRefusedError\)"),
        ("postgresql://alice:hunter2@nowhere.invalid/daysong", "nowhere.invalid:5432 is not known"),
        ("mysql://alice:hunter2@127.0.0.1/daysong", "is no address"),
        ("postgresql://alice:hunter2@127.0.0.1:99999/daysong", "is no address"),
    ],
)
async def test_g55_a_database_that_cannot_be_reached_is_told_of_in_a_line(url: str, says: str) -> None:
    """The line says what to mend, and never the password."""
    with pytest.raises(DatabaseUnavailable, match=says) as caught:
        await Database(url).open()
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_g55_a_database_of_another_name_is_told_of_in_a_line(proxy: FrozenProxy) -> None:
    """The database does not exist, or has another name."""
    with pytest.raises(DatabaseMisconfigured, match="has no such database"):
        await connect(f"postgresql://postgres@{HOST}:{proxy.port}/nowhere", name="test")
