from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import httpx2
import msgspec
import pytest

from daysong.features.sharing.functions import GetSharedMusic, NothingShared, SharedMusic
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import query
from daysong.kernel.functions.registry import module
from daysong.kernel.time.clock import to_ms
from daysong.kernel.values import StoredJson
from daysong.transport.conftest import NOW, App, MakeApp
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

LYRIC = """[Verse 1]
Rain on the window
& you <humming>

[Chorus]
Oh, the rain


[Outro]"""

TIMED = {
    "alignedWords": [
        {"word": "[Verse 1]\nRain ", "startS": 1.5, "endS": 1.75, "palign": 0},
        {"word": "on ", "startS": 1.75, "endS": 2, "palign": 0},
        {"word": "window\n", "startS": 2.5, "endS": 3, "palign": 0},
    ],
    "waveformData": [0.1, 0.9, 0.4] * 100,
    "hootCer": 0.1,
}

SONGS: dict[str, SharedMusic] = {
    "whole": SharedMusic(
        found=True,
        title="Rain & <b>Sun</b>",
        created_at=to_ms(NOW),
        is_owner=False,
        image_url="https://daysong.test/media/file_cover",
        audio_url="https://daysong.test/media/file_sound?a=1&b=2",
        lyric=LYRIC,
        lyric_with_time=StoredJson(msgspec.json.encode(TIMED).decode()),
        duration=125.7,
        user_name="Alice",
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
    assert "a song by <bdi>Alice</bdi>, shared in March 2026" in text


async def test_lyrics_keep_their_lines_and_sections(app: App) -> None:
    text = await page(app, "whole")
    assert 'dir="auto">Verse 1</span><span class="line">' in text
    assert '</span></span><span class="line">&amp; you &lt;humming&gt;</span></p>' in text
    assert '<span class="section" dir="auto">Chorus</span><span class="line">Oh, the rain</span></p>' in text


async def test_words_have_the_moment_they_are_sung(app: App) -> None:
    """In hundredths of a second; words without a time are plain."""
    line = (
        '<span data-t="150 175">Rain</span> <span data-t="175 200">on</span> the <span data-t="250 300">window</span>'
    )
    assert f'<span class="line">{line}</span>' in await page(app, "whole")


async def test_the_waveform_is_drawn_where_there_is_one(app: App) -> None:
    """A plain bar without."""
    assert (await page(app, "whole")).count('class="wave') == 2
    assert 'class="bar played"' in await page(app, "evil")


async def test_link_previews_have_title_cover_and_audio(app: App) -> None:
    properties = {
        meta["property"]: meta["content"] for meta in Tags(await page(app, "whole")).all("meta") if "property" in meta
    }
    assert properties["og:title"] == "Rain & <b>Sun</b>"
    assert properties["og:url"] == "https://daysong.test/share/whole"
    assert properties["og:audio"] == "https://daysong.test/media/file_sound?a=1&b=2"
    assert properties["music:duration"] == "125"


async def test_g68_link_previews_have_a_large_picture_with_its_size(world: World, alice: Person) -> None:
    """The duration is rounded down as players do."""
    song = await alice.song()
    shared = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    text = (await world.http.get(shared["shareUrl"])).text
    properties = {meta.get("property") or meta.get("name"): meta.get("content") for meta in Tags(text).all("meta")}
    assert (properties["og:image:width"], properties["og:image:height"]) == ("1200", "630")
    assert (await world.http.get(properties["og:image"] or "")).headers["content-type"] == "image/png"
    assert properties["music:duration"] == str(int(song["duration"]))
    words = song["lyricWithTime"]["alignedWords"]
    # Some of them are parts of the names of sections.
    assert text.count(" data-t=") > 0.9 * len(words) > 0


async def test_a_song_without_cover_lyrics_or_audio_has_a_page(app: App) -> None:
    text = await page(app, "bare")
    tags = Tags(text)
    assert "Untitled Track" in text
    assert not tags.all("audio")
    assert not tags.all("img")
    assert not tags.all("script")
    assert "Lyrics" not in text


async def test_users_texts_are_escaped(app: App) -> None:
    text = await page(app, "evil")
    tags = Tags(text)
    assert [script.keys() for script in tags.all("script")] == [{"type", "src"}]
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


def policy_of(answer: httpx2.Response) -> dict[str, str]:
    """Return the Content-Security-Policy by directive."""
    parts = (part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    return {name: sources for name, sources in parts}  # noqa: C416 - of lists


async def test_the_page_has_a_strict_policy_and_no_inline_scripts_or_styles(app: App) -> None:
    answer = await app.client.get("/share/whole")
    policy = policy_of(answer)
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "private, no-store"
    tags = Tags(answer.text)
    assert all(script.get("src") for script in tags.all("script"))
    assert not tags.all("style")
    assert not any(name == "style" or name.startswith("on") for _, attributes in tags.found for name in attributes)
    assert tags.all("html")[0]["lang"] == "en"
    assert any(meta.get("name") == "viewport" for meta in tags.all("meta"))


async def test_the_embedded_player_alone_may_be_framed(app: App) -> None:
    """It has the player and leads to the page."""
    answer = await app.client.get("/share/whole/embed")
    assert answer.status_code == 200
    assert policy_of(answer)["frame-ancestors"] == "*"
    assert "x-frame-options" not in answer.headers
    tags = Tags(answer.text)
    assert tags.all("audio")
    assert [link["href"] for link in tags.all("a")] == ["https://daysong.test/share/whole"]
    assert (await app.client.get("/share/nothing/embed")).status_code == 404


async def test_static_files_are_kept_for_a_year_by_a_digest_of_their_content(app: App) -> None:
    """With their types. Under another digest, as during a release, the current file is served and not kept."""
    tags = Tags(await page(app, "whole"))
    addresses = [one["href"] for one in tags.all("link") if "/static/" in (one["href"] or "")]
    addresses += [one["src"] for one in tags.all("script")]
    types = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
    assert len(addresses) >= 6
    for address in addresses:
        answer = await app.client.get(address or "")
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"] == types[(address or "").rpartition(".")[2]]
        assert answer.headers["x-content-type-options"] == "nosniff"
    other = await app.client.get("/static/0123456789abcdef/tokens.css")
    assert (other.status_code, other.headers["cache-control"]) == (200, "no-store")
    for path in ("/static/0123456789abcdef/assets.py", "/static/x/..%2fshare.py", "/static/x/tokens.css/y", "/static"):
        assert (await app.client.get(path)).status_code == 404


async def test_search_engines_list_a_page_only_if_its_owner_lets_them(world: World, alice: Person) -> None:
    """And the page offers the song as a file only if its owner allows that."""
    song = await alice.song()
    link = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    [row] = await alice.query("sharing:listSharedMusic")
    for on in (False, True, False):
        options = {"listed": on, "allowDownload": on}
        await alice.mutation("sharing:setShareOptions", sharedMusicId=row["_id"], **options)
        tags = Tags((await world.http.get(link["shareUrl"])).text)
        assert any(meta.get("name") == "robots" for meta in tags.all("meta")) is not on
        downloads = [one["href"] or "" for one in tags.all("a") if "download" in one]
        assert len(downloads) == on
        for address in downloads:
            saved = await world.http.get(address)
            assert saved.headers["content-disposition"].startswith("attachment")


async def test_gone_private_and_unknown_shares_have_the_same_page(world: World, alice: Person) -> None:
    """Byte for byte, with the same headers except for the request's id."""
    song = await alice.song()
    link = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    [row] = await alice.query("sharing:listSharedMusic")
    answers = [await world.http.get("/share/2345678923")]
    await alice.mutation("sharing:setSharePrivacy", sharedMusicId=row["_id"], isPrivate=True)
    answers.append(await world.http.get(link["shareUrl"]))
    await alice.mutation("sharing:revokeShare", sharedMusicId=row["_id"])
    answers.append(await world.http.get(link["shareUrl"]))
    assert [answer.status_code for answer in answers] == [404] * 3
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(sorted({**answer.headers, "x-request-id": ""}.items())) for answer in answers}) == 1


async def test_an_app_without_sharing_has_no_shared_songs(make_app: MakeApp) -> None:
    app = await make_app()
    assert (await app.client.get("/share/whole")).status_code == 404


async def test_the_function_returns_what_the_page_shows(app: App) -> None:
    answer: Any = await app.call("query", "sharing:getSharedMusic", {"shareId": "bare"})
    assert answer["value"] == {"found": True, "title": "Untitled Track", "createdAt": to_ms(NOW), "isOwner": False}
