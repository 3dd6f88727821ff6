"""Responses to clients, vendors and health checks while the database is unavailable or read-only."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from conftest import NOW
from daysong.kernel.database import connections
from rehearsal.processes.frozen_proxy import FrozenProxy, proxy_to
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

READY_WITHIN = 1.5  # seconds; a second, and a half for a busy machine


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[FrozenProxy]:
    """A proxy in front of the database's server that can stop forwarding."""
    async with proxy_to(database_url) as running:
        yield running


@pytest.fixture
async def world(proxy: FrozenProxy, database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """The whole app, with its database behind the proxy."""
    async with World(proxy.url(database_url), data_dir, NOW) as whole:
        yield whole
        whole.db.pool.terminate()


async def calls(alice: Person, world: World) -> list[httpx2.Response]:
    """The responses to a query, a mutation and a batch of Alice's, and to a vendor's webhook."""
    entry = {"path": "diaries:createDiary", "args": {"content": "Rain."}}
    listing = {"path": "diaries:listDiaries", "args": {}}
    return [
        await world.http.post("/api/query", json=listing, headers=alice.headers),
        await world.http.post("/api/mutation", json=entry, headers=alice.headers),
        await world.http.post("/api/query_batch", json={"queries": [listing]}, headers=alice.headers),
        await world.http.post(
            "/http/vapi-webhook",
            json={"message": {"type": "status-update", "status": "in-progress", "call": {"id": "call-1"}}},
            headers={"Authorization": f"Bearer {world.settings.vapi.webhook_secret}"},
        ),
    ]


async def test_g78_while_the_database_is_unavailable_requests_may_be_retried(
    world: World, proxy: FrozenProxy, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with Retry-After for functions and webhooks; then everything works again without a restart."""
    for name, seconds in {"FRESH_FOR": 0, "PING_TIMEOUT": 0.1, "CONNECT_WITHIN": 0.1}.items():
        monkeypatch.setattr(connections, name, seconds)
    proxy.freeze(also_new=True)
    for answer in await calls(alice, world):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.text
        assert answer.json()["code"] == "DatabaseUnavailable"
    assert (await world.http.get("/healthz")).is_success
    proxy.thaw()
    monkeypatch.setattr(connections, "CONNECT_WITHIN", 5)
    assert len(await alice.query("diaries:listDiaries")) == 0
    await alice.mutation("diaries:createDiary", content="Rain.")


async def test_g51_readyz_answers_within_a_second(world: World, proxy: FrozenProxy) -> None:
    """Also when the database stops responding to open and new connections."""
    assert (await world.http.get("/readyz")).is_success
    proxy.freeze(also_new=True)
    for _ in range(2):
        began = time.monotonic()
        assert (await world.http.get("/readyz")).status_code == 503
        assert time.monotonic() - began < READY_WITHIN


async def test_g52_readyz_opens_no_connection_of_its_own(world: World, proxy: FrozenProxy) -> None:
    """It uses the pool, so it works where no new connection is possible."""
    assert (await world.http.get("/readyz")).is_success
    accepted = proxy.accepted
    assert (await world.http.get("/readyz")).is_success
    assert proxy.accepted == accepted


async def test_g50_a_read_only_database_is_not_ready_and_its_connections_are_replaced(
    world: World, alice: Person, database_url: str
) -> None:
    """A standby or a database in maintenance is not ready; connections opened meanwhile are replaced."""
    name = urlsplit(database_url).path.strip("/")
    admin = await asyncpg.connect(database_url)
    try:
        await admin.execute(f'alter database "{name}" set default_transaction_read_only = on')
        await world.db.renew()
        query, mutation, batch, webhook = await calls(alice, world)
        assert [query.status_code, batch.status_code] == [200, 200]
        assert [mutation.status_code, webhook.status_code] == [503, 503]
        assert (await world.http.get("/readyz")).status_code == 503
    finally:
        await admin.execute(f'alter database "{name}" reset default_transaction_read_only')
        await admin.close()
    assert (await world.http.get("/readyz")).is_success
    await alice.mutation("diaries:createDiary", content="Rain.")


async def test_a_server_that_drains_is_not_ready_and_answers_all_the_same(world: World, alice: Person) -> None:
    """So that a proxy which asks /readyz sends new requests elsewhere, and none fails meanwhile."""
    world.app.runtime.is_draining = True
    refused = await world.http.get("/readyz")
    assert (refused.status_code, refused.json()["code"]) == (503, "ServiceUnavailable")
    assert (await world.http.get("/healthz")).is_success
    assert await alice.query("diaries:listDiaries") == []
