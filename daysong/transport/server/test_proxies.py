"""The client's address behind proxies and with forged headers; also with a real nginx."""

from __future__ import annotations

import asyncio
import ipaddress
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from conftest import NOW
from daysong.transport.server.proxies import Proxies, hops
from rehearsal.processes import proxies
from rehearsal.world import World, free_port

TRUSTED = ("10.0.0.0/8", "2001:db8:1::/48", "127.0.0.9")


async def seen(peer: str | None, *headers: tuple[str, str], trusted: tuple[str, ...] = TRUSTED) -> str | None:
    """The client's address in the scope that the app gets."""
    clients: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        clients.append(scope["client"])

    scope = {
        "type": "http",
        "client": (peer, 5555) if peer else None,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }
    await Proxies(cast("Any", app), trusted)(cast("Any", scope), cast("Any", None), cast("Any", None))
    return clients[0][0] if clients[0] else None


XFF, FORWARDED = "X-Forwarded-For", "Forwarded"


@pytest.mark.anyio
@pytest.mark.parametrize("headers", [["x" * 50_000], ["x" * 50_000, "203.0.113.5"], [""] * 300])
async def test_long_forged_headers_are_not_kept(headers: list[str]) -> None:
    """Also when a short one of the same name follows, as proxies add it: else each address could hold 64 KB."""
    kept: list[int] = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        kept.append(layer._known.cache_info().currsize)

    layer = Proxies(cast("Any", app), TRUSTED)
    for recorded in (headers, ["203.0.113.5"]):
        scope = {
            "type": "http",
            "client": ("10.0.0.1", 5555),
            "headers": [(b"x-forwarded-for", value.encode()) for value in recorded],
        }
        await layer(cast("Any", scope), cast("Any", None), cast("Any", None))
    assert kept == [0, 1]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        # Headers of other peers are ignored.
        ("203.0.113.5", [(XFF, "198.51.100.1")], "203.0.113.5"),
        ("203.0.113.5", [(FORWARDED, "for=198.51.100.1")], "203.0.113.5"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [(XFF, "203.0.113.5")], "203.0.113.5"),
        # Forged entries come first.
        ("10.0.0.1", [(XFF, "198.51.100.1, 203.0.113.5")], "203.0.113.5"),
        ("10.0.0.1", [(XFF, "10.9.9.9, 203.0.113.5")], "203.0.113.5"),
        ("10.0.0.1", [(XFF, "198.51.100.1"), (XFF, "203.0.113.5")], "203.0.113.5"),
        # A chain of trusted proxies.
        ("10.0.0.1", [(XFF, "203.0.113.5, 10.0.0.3, 10.0.0.2")], "203.0.113.5"),
        ("10.0.0.1", [(XFF, "203.0.113.5, 10.0.0.3"), (XFF, "10.0.0.2")], "203.0.113.5"),
        ("10.0.0.1", [(XFF, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
        # Ports, IPv6, and invalid addresses.
        ("10.0.0.1", [(XFF, "203.0.113.5:4711")], "203.0.113.5"),
        ("10.0.0.1", [(XFF, "2001:db8::5")], "2001:db8::5"),
        ("10.0.0.1", [(XFF, "[2001:db8::5]:4711")], "2001:db8::5"),
        ("2001:db8:1::1", [(XFF, "2001:db8::5, 2001:db8:1::2")], "2001:db8::5"),
        ("::ffff:10.0.0.1", [(XFF, "::ffff:203.0.113.5")], "203.0.113.5"),
        ("10.0.0.1", [(XFF, "unknown")], "10.0.0.1"),
        ("10.0.0.1", [(XFF, "198.51.100.1, nonsense, 10.0.0.2")], "10.0.0.2"),
        ("10.0.0.1", [(XFF, "")], "10.0.0.1"),
        ("10.0.0.1", [(XFF, ",")], "10.0.0.1"),
        # Forwarded, when there is no X-Forwarded-For.
        ("10.0.0.1", [(FORWARDED, "for=203.0.113.5;proto=https;by=10.0.0.1")], "203.0.113.5"),
        ("10.0.0.1", [(FORWARDED, 'For="[2001:db8::5]:4711"')], "2001:db8::5"),
        ("10.0.0.1", [(FORWARDED, "for=198.51.100.1, for=203.0.113.5, for=10.0.0.2")], "203.0.113.5"),
        ("10.0.0.1", [(FORWARDED, "for=_hidden")], "10.0.0.1"),
        ("10.0.0.1", [(FORWARDED, "proto=https")], "10.0.0.1"),
        ("10.0.0.1", [(FORWARDED, "for=198.51.100.1"), (XFF, "203.0.113.5")], "203.0.113.5"),
        (None, [(XFF, "203.0.113.5")], None),
    ],
)
async def test_g54_only_headers_of_trusted_proxies_are_read(
    peer: str | None, headers: list[tuple[str, str]], expected: str | None
) -> None:
    assert await seen(peer, *headers) == expected


@pytest.mark.anyio
async def test_g54_without_trusted_proxies_no_header_is_read() -> None:
    assert await seen("10.0.0.1", (XFF, "203.0.113.5"), trusted=()) == "10.0.0.1"


@given(st.text(max_size=200), st.sampled_from([XFF, FORWARDED]), st.ip_addresses())
def test_g54_a_forged_header_has_no_effect(forged: str, name: str, client: Any) -> None:
    """The address that the proxy appends is found."""
    text = forged.encode("latin-1", "replace").decode("latin-1")
    own = f"[{client}]" if client.version == 6 else str(client)
    last = own if name == XFF else f'for="{own}"'
    found = asyncio.run(seen("10.0.0.1", (name, text), (name, last)))
    if any(client in ipaddress.ip_network(network) for network in TRUSTED):
        return
    assert found == str(getattr(client, "ipv4_mapped", None) or client)


def test_only_the_last_entries_of_a_long_chain_are_read() -> None:
    read = hops([(b"x-forwarded-for", b",".join(b"10.0.0.%d" % (number % 250) for number in range(10_000)))])
    assert (read[0], len(read)) == ("10.0.0.249", 32)


SITE = """
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{behind}; proxy_bind 127.0.0.9; proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection;
        }}
    }}"""


@pytest.fixture
async def world(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """A world behind a proxy, with a limit of three requests a minute per address."""
    environ = {"TRUSTED_PROXIES": "127.0.0.9", "DAYSONG_TEST_LIMITS": "1", "LIMIT_REQUESTS_VIEWER": "3/60s"}
    async with World(database_url, data_dir, NOW, environ, port=free_port()) as world:
        yield world


@pytest.fixture
def nginx(world: World, tmp_path: Path) -> Iterator[int]:
    """The port of an nginx in front of the world."""
    program = proxies.program("nginx")
    if program is None:
        pytest.skip("there is no nginx here")
    port = free_port()
    (tmp_path / "daysong.conf").write_text(SITE.format(port=port, behind=world.origin.rpartition(":")[2]))
    process = subprocess.Popen(proxies.nginx(program, tmp_path), stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        yield port
    finally:
        process.terminate()
        process.wait(20)


async def ask(port: int, source: str, **headers: str) -> int:
    """Send a request from that local address; return the status."""
    transport = httpx2.AsyncHTTPTransport(local_address=source)
    async with httpx2.AsyncClient(transport=transport, trust_env=False) as client:
        for _ in range(100):
            try:
                sent = {name.replace("_", "-"): value for name, value in headers.items()}
                return (await client.get(f"http://127.0.0.1:{port}/docs", headers=sent)).status_code
            except httpx2.ConnectError:
                await asyncio.sleep(0.05)
    raise AssertionError("nginx does not answer")


@pytest.mark.anyio
async def test_g54_behind_nginx_each_client_has_its_own_address(world: World, nginx: int) -> None:
    """Over HTTP and on sockets; forged headers have no effect, through nginx and around it."""
    assert [await ask(nginx, "127.0.0.2", X_Forwarded_For=f"198.51.100.{number}") for number in range(4)] == [
        200, 200, 200, 429,
    ]  # fmt: skip
    assert await ask(nginx, "127.0.0.3", Forwarded="for=127.0.0.2") == 200
    behind = int(world.origin.rpartition(":")[2])
    statuses = [await ask(behind, "127.0.0.4", X_Forwarded_For=f"198.51.100.{number}") for number in range(4)]
    assert statuses == [200, 200, 200, 429]
    address = f"ws://127.0.0.1:{nginx}/api/sync"
    async with websockets.connect(address, local_addr=("127.0.0.5", 0), proxy=None):
        async with asyncio.timeout(10):
            while not world.app.hub.sessions:
                await asyncio.sleep(0.01)
        assert {session.address for session in world.app.hub.sessions} == {"127.0.0.5"}
