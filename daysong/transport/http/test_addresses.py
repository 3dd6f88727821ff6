"""HEAD for every GET route, and a SITE_URL with a path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from litestar.routes import HTTPRoute

from conftest import NOW
from daysong.transport.http.addresses import BelowSite
from rehearsal.sync_socket import SyncSocket
from rehearsal.world import Person, World, free_port

pytestmark = pytest.mark.anyio

CHANGES = {"date", "x-request-id", "content-length"}


async def test_g48_every_get_route_answers_head(world: World, alice: Person) -> None:
    """With the same status and headers and no body; new routes are included."""
    song = await alice.song()
    link = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    parameters = {
        "{file_id:str}": song["audioUrl"].rpartition("/")[2],
        "{share_id:str}": link["shareId"],
        "{what:str}": "audio",
    }
    routes = [route for route in world.app.asgi.routes if isinstance(route, HTTPRoute) and "GET" in route.methods]
    paths = ["/api/query?path=billing:getPlans", *(route.path for route in routes)]
    assert len(paths) >= 9
    for path in paths:
        for name, value in parameters.items():
            path = path.replace(name, value)  # noqa: PLW2901
        got, head = await world.http.get(path), await world.http.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        headers = [{name: value for name, value in one.headers.items() if name not in CHANGES} for one in (got, head)]
        assert headers[0] == headers[1], path
        assert path == "/metrics" or head.headers["content-length"] == got.headers["content-length"]
    assert (await world.http.head("/api/mutation")).status_code == 405
    refused = await world.http.put("/healthz")
    assert {"GET", "HEAD"} <= {method.strip() for method in refused.headers["allow"].split(",")}


@pytest.fixture
async def below(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """A world whose public address has a path."""
    port = free_port()
    environ = {"SITE_URL": f"http://127.0.0.1:{port}/music/app/"}
    async with World(database_url, data_dir, NOW, port=port, environ=environ) as whole:
        yield whole


async def test_g48_a_site_below_a_path_links_to_itself(below: World) -> None:
    """Whether a proxy strips the path or not: functions, pages, media and all URLs in results work."""
    site = f"{below.origin}/music/app"
    alice = await below.person("alice")
    song = await alice.song()
    link = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    seen = await alice.query("sharing:getSharedMusic", shareId=link["shareId"])
    for address in (song["audioUrl"], song["imageUrl"], seen["audioUrl"], seen["imageUrl"], link["shareUrl"]):
        assert address.startswith(f"{site}/")
        for fetched in (address, address.replace(site, below.origin)):
            assert (await below.http.get(fetched)).status_code == 200
    for page in (f"{site}/docs", f"{site}/docs/", f"{below.origin}/docs"):
        text = (await below.http.get(page)).text
        document = urljoin(page, text.partition('For programs: <a href="')[2].partition('"')[0])
        assert document == page.rstrip("/").replace("/docs", "/openapi.json")
        assert (await below.http.get(document)).json()["servers"] == [{"url": site}]
    async with SyncSocket(site) as socket:
        await socket.subscribe(0, q0=("billing:getPlans", {}))
        assert (await socket.transition(1))["modifications"][0]["type"] == "QueryUpdated"
    assert (await below.http.get(f"{below.origin}/music/apple/healthz")).status_code == 404


@pytest.mark.parametrize(
    ("site", "requested", "found"),
    [
        ("https://h", "/api/query", "/api/query"),
        ("https://h/p", "/p/api/query", "/api/query"),
        ("https://h/p", "/api/query", "/api/query"),
        ("https://h/p", "/p", "/"),
        ("https://h/p", "/pp/api", "/pp/api"),
        # Ambiguous, so the path is taken as stripped by a proxy.
        ("https://h/api", "/api/query", "/api/query"),
    ],
)
async def test_g48_the_path_of_the_site_is_stripped_once(site: str, requested: str, found: str) -> None:
    paths: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        paths.append((scope["path"], scope["raw_path"]))

    scope: Any = {"type": "http", "path": requested, "raw_path": requested.encode()}
    await BelowSite(app, site, {"api", "docs"})(scope, None, None)  # type: ignore[arg-type]
    assert paths == [(found, found.encode())]
