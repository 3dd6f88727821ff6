"""Encoding large results does not hold the loop: other requests are served meanwhile."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator

import asyncpg
import httpx2
import msgspec
import pytest

from daysong.kernel.limits.declarations import INBOUND
from rehearsal.library import FILL, TIMED
from rehearsal.processes.server import NO_TEST_MODE, Keys
from rehearsal.processes.watched_server import Watched, least_held
from rehearsal.sync_socket import SyncSocket

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

HELD = 0.020  # seconds of CPU


@pytest.fixture(scope="module")
def watched(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server as in production."""
    rates = {f"LIMIT_{name.upper()}": "off" for name in INBOUND}
    with Watched(environ | rates | NO_TEST_MODE, tmp_path_factory.mktemp("results")) as server:
        yield server


@pytest.fixture(scope="module")
def token(watched: Watched, keys: Keys, outside_database: str) -> str:
    """Return the token of a user with 500 songs, all words timed, and entries of 8,000 three-byte letters."""
    subject = f"user_{uuid.uuid4()}"
    token = keys.token(subject, email=f"{subject}@example.test")

    async def fill() -> None:
        async with httpx2.AsyncClient(base_url=watched.origin, trust_env=False) as client:
            call = {"path": "users:ensureCurrentUser", "args": {}}
            await client.post("/api/mutation", json=call, headers={"Authorization": f"Bearer {token}"})
        connection = await asyncpg.connect(outside_database)
        now = await connection.fetchval("select now()")
        await connection.execute(FILL, subject, 500, now, msgspec.json.encode(TIMED).decode())
        await connection.execute(
            """update diaries set content = repeat('雨', 2600) from users u
               where u.id = user_id and clerk_id = $1""",
            subject,
        )
        await connection.close()

    asyncio.run(fill())
    return token


@pytest.mark.parametrize("path", ["music:listPlaylistMusic", "diaries:listDiaries"])
async def test_g41_a_large_list_holds_no_loop(watched: Watched, token: str, path: str) -> None:
    """Over HTTP, and on a socket."""
    sizes = []

    async def ask() -> None:
        async with httpx2.AsyncClient(base_url=watched.origin, trust_env=False) as client:
            call = {"path": path, "args": {}, "format": "convex_encoded_json"}
            answer = await client.post("/api/query", json=call, headers={"Authorization": f"Bearer {token}"})
            sizes.append(len(answer.content))

    async def subscribe() -> None:
        async with SyncSocket(watched.origin) as socket:
            await socket.connect()
            await socket.authenticate(0, token)
            await socket.subscribe(0, q0=(path, {}))
            await socket.receive(lambda m: m["type"] == "Transition" and bool(m["modifications"]))

    held = [await least_held(watched, ask, HELD), await least_held(watched, subscribe, HELD)]
    print(f"{path}: {max(sizes) / 2**20:.1f} MiB, held for {held[0] * 1000:.1f} ms and {held[1] * 1000:.1f} ms of CPU")
    assert max(sizes) > 2**20
    assert max(held) < HELD
