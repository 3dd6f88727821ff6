"""The examples for nginx and Caddy, run as they are in front of a daysong: TLS, sockets, addresses, what is private."""

from __future__ import annotations

import asyncio
import datetime
import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from conftest import NOW
from daysong.kernel.ids import FileId
from rehearsal.world import World, free_port

pytestmark = pytest.mark.anyio

DEPLOY = Path(__file__).parents[2] / "deploy"
# Around the file of sites that a distribution's nginx.conf includes.
AROUND = """
    daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1;
    events {{ worker_connections 64; }}
    http {{
        access_log off;
        client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
        uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
        include {folder}/daysong.conf;
    }}"""


class Proxy(NamedTuple):
    """A running proxy: its address, and what a client trusts."""

    origin: str
    trusted: ssl.SSLContext | bool


@pytest.fixture
async def world(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """A world behind a proxy on this machine."""
    async with World(database_url, data_dir, NOW, {"TRUSTED_PROXIES": "127.0.0.1"}, port=free_port()) as world:
        yield world


def certificate(folder: Path) -> None:
    """Write a certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "privkey.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def nginx(program: str, folder: Path, behind: int) -> tuple[list[str], dict[str, str], Proxy]:
    """Return how to run deploy/nginx/daysong.conf, with other ports, names and certificates."""
    certificate(folder)
    port, plain = free_port(), free_port()
    text = (DEPLOY / "nginx/daysong.conf").read_text()
    for old, new in (
        ("127.0.0.1:8000", f"127.0.0.1:{behind}"),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/letsencrypt/live/api.example.com", str(folder)),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "daysong.conf").write_text(text)
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder))
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    assert subprocess.run([*command, "-t"], capture_output=True, check=False).returncode == 0  # noqa: S603
    trusted = ssl.create_default_context(cafile=folder / "fullchain.pem")
    return command, {}, Proxy(f"https://127.0.0.1:{port}", trusted)


def caddy(program: str, folder: Path, behind: int) -> tuple[list[str], dict[str, str], Proxy]:
    """Return how to run deploy/caddy/Caddyfile, without TLS: it would ask for a certificate."""
    port = free_port()
    environ = {
        "SITE_ADDRESS": f"http://127.0.0.1:{port}",
        "UPSTREAMS": f"127.0.0.1:{behind}",
        "CADDY_ADMIN": f"unix/{folder}/admin",
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    command = [program, "run", "--adapter", "caddyfile", "--config", str(DEPLOY / "caddy/Caddyfile")]
    return command, environ, Proxy(f"http://127.0.0.1:{port}", trusted=True)


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy in front of the world."""
    name = request.param.__name__
    program = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip(f"there is no {name} here")
    command, environ, running = request.param(program, tmp_path, int(world.origin.rpartition(":")[2]))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | environ, stdout=log, stderr=log)  # noqa: S603
    try:
        yield running
    finally:
        process.terminate()
        process.wait(20)


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
    async with httpx2.AsyncClient(base_url=proxy.origin, verify=proxy.trusted, trust_env=False) as http:
        await until_ready(http)
        assert (await http.get("/metrics")).status_code == 404
        large = await http.post("/api/mutation", content=b" " * (2 * 2**20))
        assert large.json()["code"] in {"PayloadTooLarge", "BadJsonBody"}  # daysong's answer, not the proxy's
        call = {"path": "billing:getPlans", "args": {}}
        assert (await http.post("/api/query", json=call)).json()["status"] == "success"
    address = proxy.origin.replace("http", "ws") + "/api/sync"
    trusted = proxy.trusted if isinstance(proxy.trusted, ssl.SSLContext) else None
    forged = {"X-Forwarded-For": "198.51.100.1"}
    async with websockets.connect(
        address, ssl=trusted, local_addr=("127.0.0.5", 0), additional_headers=forged, proxy=None
    ):  # fmt: skip
        async with asyncio.timeout(10):
            while not world.app.hub.sessions:
                await asyncio.sleep(0.01)
        assert {session.address for session in world.app.hub.sessions} == {"127.0.0.5"}


async def test_nginx_sends_stored_files_itself(database_url: str, data_dir: Path, tmp_path: Path) -> None:
    """With MEDIA_ACCEL: daysong decides who may have a file and with which headers, nginx sends it or a part of it."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
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
        command, _, running = nginx(program, tmp_path, int(world.origin.rpartition(":")[2]))
        conf = (tmp_path / "daysong.conf").read_text()
        (tmp_path / "daysong.conf").write_text(conf.replace("/var/lib/daysong/files/", f"{data_dir}/files/"))
        if os.geteuid() == 0:
            # Its workers would run as another account, which cannot read this folder.
            (tmp_path / "nginx.conf").write_text(f"user root;{AROUND.format(folder=tmp_path)}")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603, ASYNC220
        try:
            async with httpx2.AsyncClient(base_url=running.origin, verify=running.trusted, trust_env=False) as http:
                await until_ready(http)
                whole = await http.get(f"/media/{file_id}", headers={"Origin": "https://app.example.com"})
                part = await http.get(f"/media/{file_id}", headers={"Range": "bytes=10-19"})
                same = await http.get(f"/media/{file_id}", headers={"If-None-Match": whole.headers["etag"]})
                assert (await http.get(f"/media/{FileId.new()}")).status_code == 404
                assert (await http.get(f"/stored/{file_id}")).status_code == 404
        finally:
            process.terminate()
            process.wait(20)
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["etag"] == f'"{file_id}"'
    assert whole.headers["content-security-policy"].startswith("sandbox;")
    assert whole.headers["access-control-allow-origin"] == "https://app.example.com"
    assert whole.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert "x-accel-redirect" not in whole.headers
    assert (part.status_code, part.content) == (206, content[10:20])
    assert (same.status_code, same.content) == (304, b"")
