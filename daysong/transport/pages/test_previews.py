"""Previews of shared songs on other sites, and what belongs to the whole site."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from PIL import Image

from daysong.kernel.errors import VendorError
from daysong.transport.conftest import App, MakeApp
from daysong.transport.pages import pictures, previews
from daysong.transport.pages.shared import Shared
from daysong.transport.pages.test_share import Tags, policy_of, sharing
from daysong.transport.refusals import Refused
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    return await make_app(sharing)


def opened(content: bytes) -> Image.Image:
    """Return a picture, decoded."""
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


async def test_the_preview_picture_ends_with_the_share(world: World, alice: Person) -> None:
    """A PNG of 1200 × 630 from the cover, drawn once; 404 as soon as the share is private."""
    song = await alice.song()
    link = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    address = f"{link['shareUrl']}/preview.png"
    answer = await world.http.get(address)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert opened(answer.content).size == (1200, 630)
    assert len(answer.content) < 300_000
    assert (answer.headers["cache-control"], answer.headers["x-robots-tag"]) == ("private, no-cache", "noindex")
    again = await world.http.get(address, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await world.http.head(address)).status_code == 200

    [row] = await alice.query("sharing:listSharedMusic")
    await alice.mutation("sharing:setSharePrivacy", sharedMusicId=row["_id"], isPrivate=True)
    for path in ("/preview.png", "/embed"):
        assert (await world.http.get(link["shareUrl"] + path)).status_code == 404
    assert (await world.http.get("/oembed", params={"url": link["shareUrl"]})).status_code == 404


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("The Rain", "Alice"), ("", None), ("x" * 500, "y" * 40), ("雨の帰り道" * 20, "李"),
        ("مطر على شباك أختي", "ليلى"),
        ("☔\ufe0f", "🌈"), ("a\u0301\ud800\u202e\uffff", "\u200b"), ("word " * 100, "Zoë"),
    ],
)  # fmt: skip
def test_a_picture_is_drawn_for_any_title(title: str, name: str | None) -> None:
    """Whatever fonts there are."""
    assert opened(pictures.preview(title, name, None)).size == (1200, 630)


async def test_a_picture_is_drawn_once_and_by_few_threads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests for one picture share it, also when they leave; too many pictures at once are refused."""
    drawn: list[str] = []
    goes_on = threading.Event()

    def preview(title: str, _name: str | None, _cover: bytes | None) -> bytes:
        drawn.append(title)
        assert goes_on.wait(20)
        return title.encode()

    monkeypatch.setattr(pictures, "preview", preview)
    kept = previews.Previews(world.app.runtime, world.app.files)
    songs = [Shared(title=str(number)) for number in range(previews.MOST_WAITING + 1)]

    async def ask(song: Shared) -> bytes:
        return await kept.picture(previews.key_of(song, None), song, None)

    try:
        waiting = [asyncio.create_task(ask(song)) for song in [*songs[:-1], *songs[:-1]]]
        await asyncio.sleep(0)
        with pytest.raises(Refused):
            await ask(songs[-1])
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        assert len(drawn) <= previews.AT_ONCE
    finally:
        goes_on.set()
    assert await asyncio.gather(*waiting[1:]) == [song.title.encode() for song in [*songs[1:-1], *songs[:-1]]]
    assert sorted(drawn) == sorted(song.title for song in songs[:-1])
    assert await ask(songs[-1]) == songs[-1].title.encode()


async def test_a_picture_waits_for_its_cover(world: World, alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """While storage fails there is none, so none without the cover is kept; who has the picture needs no drawing."""
    song = await alice.song()
    address = f"{(await alice.mutation('sharing:createShareLink', musicId=song['_id']))['shareUrl']}/preview.png"

    def fail(*_: object) -> AsyncIterator[bytes]:
        raise VendorError("storage", "down", permanent=False)

    with monkeypatch.context() as broken:
        broken.setattr(world.app.files, "read", fail)
        answer = await world.http.get(address)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    etag = (await world.http.get(address)).headers["etag"]
    with monkeypatch.context() as broken:
        broken.setattr(previews.Previews, "picture", fail)
        assert (await world.http.get(address, headers={"If-None-Match": etag})).status_code == 304


def test_an_unusable_cover_is_replaced() -> None:
    """One that is broken, of another kind, or that would be huge once it is decoded."""
    huge = io.BytesIO()
    Image.new("1", (6000, 6000)).save(huge, "PNG")
    gif = io.BytesIO()
    Image.new("RGB", (10, 10)).save(gif, "GIF")
    kept = io.BytesIO()
    Image.effect_noise((600, 600), 90).convert("RGB").save(kept, "PNG")
    cover = kept.getvalue()
    without = pictures.preview("Rain", None, None)
    for content in (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, cover[:-9000], huge.getvalue(), gif.getvalue()):
        assert pictures.preview("Rain", None, content) == without
    assert pictures.preview("Rain", None, cover) != without


async def test_oembed_has_the_player_and_the_picture(app: App) -> None:
    """As the page's discovery link says; within the limits that the site asks for."""
    tags = Tags((await app.client.get("/share/whole")).text)
    [found] = [link["href"] or "" for link in tags.all("link") if link.get("type") == "application/json+oembed"]
    answer = await app.client.get(found)
    assert answer.headers["content-type"].startswith("application/json")
    said = answer.json()
    assert (said["version"], said["type"], said["title"]) == ("1.0", "rich", "Rain & <b>Sun</b>")
    [frame] = Tags(said["html"]).all("iframe")
    assert frame["src"] == "https://daysong.test/share/whole/embed"
    assert (said["thumbnail_url"], said["author_name"]) == ("https://daysong.test/share/whole/preview.png", "Alice")
    small = (await app.client.get(f"{found}&maxwidth=300&maxheight=120")).json()
    assert (small["width"], small["height"]) == (300, 120)
    assert (await app.client.get(f"{found}&format=xml")).status_code == 501


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "https://elsewhere.test/share/whole", "https://daysong.test/share/", "https://daysong.test/docs",
        "https://daysong.test/share/nothing", "ftp://daysong.test/share/whole", "https://[daysong.test/share/whole",
        "https://daysong.test/share/whole/embed", "https://daysong.test/share/%00",
    ],
)  # fmt: skip
async def test_oembed_knows_no_other_addresses(app: App, url: str) -> None:
    assert (await app.client.get("/oembed", params={"url": url})).status_code == 404


def test_oembed_survives_a_title_that_is_html() -> None:
    """Its frame has no other element and no other attribute."""
    song = Shared(title='"><script>alert(1)</script>')
    settings: Any = type("Settings", (), {"share_base_url": "https://daysong.test"})
    tags = Tags(previews.embedding(settings, "evil", song, None, None)["html"])
    assert [tag for tag, _ in tags.found] == ["iframe"]


async def test_link_previews_have_the_picture_and_the_player(app: App) -> None:
    """For Open Graph and for X."""
    tags = Tags((await app.client.get("/share/whole")).text)
    found = {meta.get("property") or meta.get("name"): meta.get("content") for meta in tags.all("meta")}
    assert found["og:image"] == found["twitter:image"] == "https://daysong.test/share/whole/preview.png"
    assert (found["og:image:width"], found["og:image:height"]) == ("1200", "630")
    assert (found["twitter:card"], found["twitter:player"]) == ("player", "https://daysong.test/share/whole/embed")
    bare = Tags((await app.client.get("/share/bare")).text)
    assert {"name": "twitter:card", "content": "summary_large_image"} in bare.all("meta")


async def test_errors_are_pages_for_people_and_json_for_programs(app: App) -> None:
    """By what the request accepts; addresses of programs always answer in JSON."""
    person = await app.client.get("/nothing", headers=BROWSER)
    assert (person.status_code, person.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is nothing here" in person.text
    assert policy_of(person)["frame-ancestors"] == "'none'"
    for headers in ({}, {"Accept": "application/json"}, {"Accept": "*/*"}, {"Accept": "text/html;q=0, */*"}):
        program = await app.client.get("/nothing", headers=headers)
        assert (program.status_code, program.json()["code"]) == (404, "NotFound")
        assert "Accept" in program.headers["vary"]
    for path in ("/api/nothing", "/api/run/x", "/http/nothing"):
        assert (await app.client.get(path, headers=BROWSER)).headers["content-type"] == "application/json"
    assert (await app.client.post("/share/whole", headers=BROWSER)).json()["code"] == "MethodNotAllowed"


async def test_the_site_has_icons_and_a_manifest(app: App) -> None:
    """All of it served here."""
    icon = await app.client.get("/favicon.ico")
    assert icon.headers["content-type"] == "image/x-icon"
    assert opened(icon.content).size == (48, 48)
    manifest = await app.client.get("/manifest.webmanifest")
    assert manifest.headers["content-type"] == "application/manifest+json"
    for one in manifest.json()["icons"]:
        shown = await app.client.get(one["src"])
        assert (shown.status_code, shown.headers["content-type"]) == (httpx2.codes.OK, one["type"])
    assert (await app.client.get("/icons/99.png")).status_code == 404
    robots = await app.client.get("/robots.txt")
    assert robots.headers["content-type"].startswith("text/plain")
    assert "Disallow: /api/" in robots.text
    assert "share" not in robots.text
