"""Hostile clients take no memory: neither by what they half send, nor by what they leave unread."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import httpx2
import pytest

from daysong.kernel.functions.arguments import LARGEST
from daysong.kernel.limits.declarations import INBOUND
from rehearsal.hostile_clients import HostileClients, hostile_clients
from rehearsal.processes.server import NO_TEST_MODE, Keys
from rehearsal.processes.watched_server import Watched

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]

GROWTH = 64 * 2**20  # bytes
ENTRIES, LETTERS = 80, 40_000


@pytest.fixture(scope="module")
def watched(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server as in production, but for the rates: patient clients stay below them."""
    rates = {f"LIMIT_{name.upper()}": "off" for name in INBOUND}
    with Watched(environ | rates | NO_TEST_MODE, tmp_path_factory.mktemp("hostile")) as server:
        yield server


@pytest.fixture
async def client(watched: Watched) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=watched.origin, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture
async def writer(client: httpx2.AsyncClient, keys: Keys, outside_database: str) -> str:
    """Return the token of a user whose list of entries has 3 MB."""
    subject = f"user_{uuid.uuid4()}"
    token = keys.token(subject, email=f"{subject}@example.test")
    call = {"path": "users:ensureCurrentUser", "args": {}}
    (await client.post("/api/mutation", json=call, headers={"Authorization": f"Bearer {token}"})).raise_for_status()
    connection = await asyncpg.connect(outside_database)
    await connection.execute(
        """insert into diaries (id, user_id, content, date, created_at, updated_at)
           select 'diary_' || gen_random_uuid(), id, repeat('x', $2), now(), now(), now()
           from users, generate_series(1, $3) where clerk_id = $1""",
        subject, LETTERS, ENTRIES,
    )  # fmt: skip
    await connection.close()
    return token


ATTACKS: dict[str, Callable[[HostileClients, str], Awaitable[None]]] = {
    "40 stalled uploads of 8 MB": lambda them, _: them.stall_uploads(40, 8_000_000, said=True),
    "40 stalled uploads of 8 MB in chunks": lambda them, _: them.stall_uploads(40, 8_000_000, said=False),
    "300 stalled uploads of the largest size": lambda them, _: them.stall_uploads(300, LARGEST, said=True),
    "60 half-sent messages of 8 MB": lambda them, _: them.send_half(60, 8_000_000),
    "90 half-sent messages of the largest size": lambda them, _: them.send_half(90, LARGEST),
    "1,000 sockets": lambda them, _: them.open_sockets(1_000),
    "60 sockets that never read 3 MB": lambda them, token: them.never_read(60, token, "diaries:listDiaries"),
}


async def highest(watched: Watched, seconds: float) -> int:
    """Return the server's highest memory in that time."""
    most = 0
    for _ in range(int(seconds / 0.1)):
        await asyncio.sleep(0.1)
        most = max(most, (await asyncio.to_thread(watched.figures)).resident)
    return most


@pytest.mark.parametrize("attack", ATTACKS)
async def test_g73_hostile_clients_take_no_memory(
    watched: Watched, client: httpx2.AsyncClient, writer: str, attack: str
) -> None:
    """Resident memory grows by less than 64 MiB, and another user is served meanwhile."""
    for _ in range(3):
        (await client.get("/api/query", params={"path": "billing:getPlans"})).raise_for_status()
    before = watched.figures().resident
    async with hostile_clients(watched.port) as them:
        acting: Any = asyncio.ensure_future(ATTACKS[attack](them, writer))
        peak = 0
        while not acting.done():
            peak = max(peak, await highest(watched, 0.2))
        await acting
        peak = max(peak, await highest(watched, 1))
        answer = await client.get("/api/query", params={"path": "billing:getPlans"})
        assert answer.json()["status"] == "success"
    grown = peak - before
    print(f"{attack}: +{grown / 2**20:.1f} MiB, {them.refused} refused")
    assert grown < GROWTH
