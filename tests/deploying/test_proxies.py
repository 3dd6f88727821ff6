"""The examples for nginx and Caddy, run as they are in front of a daysong: TLS, sockets, addresses, what is private."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest
import websockets

from conftest import NOW
from daysong.kernel.ids import FileId
from rehearsal.processes import proxies
from rehearsal.processes.proxies import Proxy
from rehearsal.world import World, free_port

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """A world behind a proxy on this machine."""
    async with World(database_url, data_dir, NOW, {"TRUSTED_PROXIES": "127.0.0.1"}, port=free_port()) as world:
        yield world


@pytest.fixture(params=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy in front of the world."""
    if proxies.program(request.param) is None:
        pytest.skip(f"there is no {request.param} here")
    with proxies.running(request.param, tmp_path, [int(world.origin.rpartition(":")[2])]) as running:
        yield running


async def until_ready(http: httpx2.AsyncClient) -> None:
    """Wait until the proxy and daysong behind it answer."""
    async with asyncio.timeout(20):
        while True:
            try:
                if (await http.get("/readyz")).is_success:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.05)


async def test_g69_the_examples_of_proxies_work(world: World, proxy: Proxy) -> None:
    """Calls, bodies, sockets and the client's address come through; /metrics does not; forged headers do nothing."""
    trusted = proxy.trusted
    async with httpx2.AsyncClient(base_url=proxy.origin, verify=trusted, trust_env=False) as http:
        await until_ready(http)
        assert (await http.get("/metrics")).status_code == 404
        large = await http.post("/api/mutation", content=b" " * (2 * 2**20))
        assert large.json()["code"] in {"PayloadTooLarge", "BadJsonBody"}  # daysong's answer, not the proxy's
        call = {"path": "billing:getPlans", "args": {}}
        assert (await http.post("/api/query", json=call)).json()["status"] == "success"
    address = proxy.origin.replace("http", "ws") + "/api/sync"
    forged = {"X-Forwarded-For": "198.51.100.1"}
    async with websockets.connect(
        address, ssl=trusted if isinstance(trusted, ssl.SSLContext) else None,
        local_addr=("127.0.0.5", 0), additional_headers=forged, proxy=None,
    ):  # fmt: skip
        async with asyncio.timeout(10):
            while not world.app.hub.sessions:
                await asyncio.sleep(0.01)
        assert {session.address for session in world.app.hub.sessions} == {"127.0.0.5"}


async def test_nginx_sends_stored_files_itself(database_url: str, data_dir: Path, tmp_path: Path) -> None:
    """With MEDIA_ACCEL: daysong decides who may have a file and with which headers, nginx sends it or a part of it."""
    if proxies.program("nginx") is None:
        pytest.skip("there is no nginx here")
    environ = {"TRUSTED_PROXIES": "127.0.0.1", "MEDIA_ACCEL": "/stored"}
    async with World(database_url, data_dir, NOW, environ, port=free_port()) as world:
        file_id, content = FileId.new(), bytes(range(256)) * 400
        await world.person("alice")
        await world.app.files.put(file_id, content, "image/svg+xml")
        await world.db.pool.execute(
            """insert into files (id, user_id, content_type, size, created_at)
               select $1, id, 'image/svg+xml', $2, now() from users""",
            file_id, len(content),
        )  # fmt: skip
        behind = [int(world.origin.rpartition(":")[2])]
        with proxies.running("nginx", tmp_path, behind, files=data_dir / "files") as running:
            async with httpx2.AsyncClient(base_url=running.origin, verify=running.trusted, trust_env=False) as http:
                await until_ready(http)
                whole = await http.get(f"/media/{file_id}", headers={"Origin": "https://app.example.com"})
                part = await http.get(f"/media/{file_id}", headers={"Range": "bytes=10-19"})
                same = await http.get(f"/media/{file_id}", headers={"If-None-Match": whole.headers["etag"]})
                assert (await http.get(f"/media/{FileId.new()}")).status_code == 404
                assert (await http.get(f"/stored/{file_id}")).status_code == 404
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["etag"] == f'"{file_id}"'
    assert whole.headers["content-security-policy"].startswith("sandbox;")
    assert whole.headers["access-control-allow-origin"] == "https://app.example.com"
    assert whole.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert "x-accel-redirect" not in whole.headers
    assert (part.status_code, part.content) == (206, content[10:20])
    assert (same.status_code, same.content) == (304, b"")
