from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from daysong.features.sharing.functions import GetSharedMusic, NothingShared, SharedMusic
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import query
from daysong.kernel.functions.registry import module
from daysong.kernel.time.clock import to_ms
from daysong.transport.conftest import NOW, App, MakeApp
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

LYRIC = """[Verse 1]
Rain on the window
& you <humming>

[Chorus]
Oh, the rain


[Outro]"""

SONGS: dict[str, SharedMusic] = {
    "whole": SharedMusic(
        found=True,
        title="Rain & <b>Sun</b>",
        created_at=to_ms(NOW),
        is_owner=False,
        image_url="https://daysong.test/media/file_cover",
        audio_url="https://daysong.test/media/file_sound?a=1&b=2",
        lyric=LYRIC,
        duration=125.7,
    ),
    "bare": SharedMusic(found=True, title="Untitled Track", created_at=to_ms(NOW), is_owner=False),
    "evil": SharedMusic(
        found=True,
        title='"><script>alert(1)</script>',
        created_at=to_ms(NOW),
        is_owner=False,
        image_url="javascript:alert(1)",
        audio_url='https://x/"onerror="alert(1)',
        lyric="<img src=x onerror=alert(1)>\n[<script>]",
    ),
}


@query
async def get_shared_music(ctx: QueryContext, args: GetSharedMusic) -> SharedMusic | NothingShared:
    """A song behind a link."""
    if args.share_id == "broken":
        raise RuntimeError("oysters")
    assert ctx.caller.subject is None
    return SONGS.get(args.share_id, NothingShared())


sharing = module("sharing", public=(get_shared_music,))


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    return await make_app(sharing)


class Tags(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


async def page(app: App, share_id: str) -> str:
    answer = await app.client.get(f"/share/{share_id}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


async def test_a_shared_song_has_a_player_and_its_details(app: App) -> None:
    text = await page(app, "whole")
    tags = Tags(text)
    assert "<h1 dir=\"auto\" lang=\"\">Rain &amp; &lt;b&gt;Sun&lt;/b&gt;</h1>" in text  # fmt: skip
    assert tags.all("img")[0]["src"] == "https://daysong.test/media/file_cover"
    audio = tags.all("audio")[0]
    assert audio["src"] == "https://daysong.test/media/file_sound?a=1&b=2"
    assert "controls" in audio
    assert "2:05" in text
    assert "14 March 2026" in text


async def test_lyrics_keep_their_lines_and_sections(app: App) -> None:
    text = await page(app, "whole")
    assert 'dir="auto">Verse 1</span>Rain on the window<br>&amp; you &lt;humming&gt;</p>' in text
    assert '<p dir="auto"><span class="section" dir="auto">Chorus</span>Oh, the rain</p>' in text


async def test_link_previews_have_title_cover_and_audio(app: App) -> None:
    properties = {
        meta["property"]: meta["content"] for meta in Tags(await page(app, "whole")).all("meta") if "property" in meta
    }
    assert properties["og:title"] == "Rain & <b>Sun</b>"
    assert properties["og:url"] == "https://daysong.test/share/whole"
    assert properties["og:image"] == "https://daysong.test/media/file_cover"
    assert properties["og:audio"] == "https://daysong.test/media/file_sound?a=1&b=2"
    assert properties["music:duration"] == "125"


async def test_g68_link_previews_have_the_size_of_the_cover(world: World, alice: Person) -> None:
    """A large card with the cover's width and height; the duration is rounded down as players do."""
    song = await alice.song()
    shared = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    text = (await world.http.get(shared["shareUrl"])).text
    properties = {meta.get("property") or meta.get("name"): meta.get("content") for meta in Tags(text).all("meta")}
    assert (properties["og:image:width"], properties["og:image:height"]) == ("600", "600")
    assert properties["twitter:card"] == "summary_large_image"
    assert (await world.http.get(properties["og:image"] or "")).headers["content-type"] == "image/png"
    assert properties["music:duration"] == str(int(song["duration"]))


async def test_a_song_without_cover_lyrics_or_audio_has_a_page(app: App) -> None:
    text = await page(app, "bare")
    tags = Tags(text)
    assert "Untitled Track" in text
    assert not tags.all("audio")
    assert not tags.all("img")
    assert "Lyrics" not in text


async def test_users_texts_are_escaped(app: App) -> None:
    text = await page(app, "evil")
    tags = Tags(text)
    assert not tags.all("script")
    assert not tags.all("img")
    assert tags.all("audio")[0].keys() == {"controls", "preload", "src", "aria-label"}
    assert "javascript:" not in text


@pytest.mark.parametrize("share_id", ["nothing", "x" * 200, "%00", "a%2Fb"])
async def test_an_unknown_link_is_a_404_page(app: App, share_id: str) -> None:
    answer = await app.client.get(f"/share/{share_id}")
    assert answer.status_code == 404
    if share_id != "a%2Fb":
        assert "There is no song here" in answer.text


async def test_a_failure_is_a_503_and_not_a_404(app: App) -> None:
    answer = await app.client.get("/share/broken")
    assert answer.status_code == 503
    assert "cannot be shown right now" in answer.text
    assert "oysters" not in answer.text


async def test_the_page_has_no_scripts_and_a_strict_policy(app: App) -> None:
    answer = await app.client.get("/share/whole")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert "script-src" not in policy
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", policy["style-src"])
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "private, no-store"
    tags = Tags(answer.text)
    assert not tags.all("script")
    assert not tags.all("link")
    assert not any("style" in attributes for _, attributes in tags.found)
    assert tags.all("html")[0]["lang"] == "en"
    assert any(meta.get("name") == "viewport" for meta in tags.all("meta"))


async def test_an_app_without_sharing_has_no_shared_songs(make_app: MakeApp) -> None:
    app = await make_app()
    assert (await app.client.get("/share/whole")).status_code == 404


async def test_the_function_returns_what_the_page_shows(app: App) -> None:
    answer: Any = await app.call("query", "sharing:getSharedMusic", {"shareId": "bare"})
    assert answer["value"] == {"found": True, "title": "Untitled Track", "createdAt": to_ms(NOW), "isOwner": False}
