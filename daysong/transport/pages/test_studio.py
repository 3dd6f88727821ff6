"""The documents of the studio, its service worker, and the policy that they are shown under."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import subprocess
from importlib.resources import files
from typing import Any

import pytest

from daysong.kernel.settings import load
from daysong.transport.conftest import App, MakeApp
from daysong.transport.pages import assets, share, studio
from daysong.transport.pages.shared import Shared
from daysong.transport.pages.test_share import Tags, policy_of, sharing
from rehearsal.world import World

pytestmark = pytest.mark.anyio

# What modules use of a browser as they are loaded, for Node.
BROWSER = """
globalThis.document = new EventTarget();
globalThis.addEventListener = () => {};
Object.defineProperty(globalThis, "localStorage", { value: { __proto__: { removeItem() {}, setItem() {} } } });
"""

LARGEST = 150_000  # bytes of all scripts and styles, compressed


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    return await make_app(sharing)


async def test_all_addresses_of_the_studio_have_the_same_document(app: App) -> None:
    """Scripts show the page; nothing of a person is in it."""
    shell = (await app.client.get("/today")).content
    for path in ("/diary", "/diary/diary_1", "/songs", "/songs/music_1", "/calls", "/people", "/people/a%20b", "/you"):
        assert (await app.client.get(path)).content == shell
    for path in ("/diary/a/b", "/today/x", "/elsewhere"):
        assert (await app.client.get(path)).status_code == 404


async def test_the_front_page_says_one_sentence_and_leads_to_the_sign_in(app: App) -> None:
    """Those who were signed in here get the shell, so that it does not flash by."""
    front = await app.client.get("/")
    tags = Tags(front.text)
    assert f"<h1>{studio.SENTENCE}</h1>" in front.text
    assert "/sign-in" in [link["href"] for link in tags.all("a")]
    assert "Cookie" in front.headers["vary"]
    shell = await app.client.get("/", headers={"Cookie": f"{share.HINT}=1"})
    assert shell.content == (await app.client.get("/today")).content


def test_the_front_page_plays_the_featured_song(app: App) -> None:
    """Its title is text, whatever is in it."""
    pages = studio.Studio(app.runtime.settings, assets.Assets(app.runtime.settings))
    song = Shared(title='<i>Rain</i> & "sun"', audio_url="https://daysong.test/media/shared/a/audio", user_name="<b>")
    front, headers = pages.front(song)
    tags = Tags(front)
    assert [one["src"] for one in tags.all("audio")] == [song.audio_url]
    assert not tags.all("i")
    assert not tags.all("b")
    assert "'unsafe" not in headers["Content-Security-Policy"]


async def test_only_clerk_is_allowed_beside_this_server(app: App) -> None:
    """Its script and requests everywhere; its styles, and its check against bots, on the page to sign in alone."""
    shell, sign_in = [policy_of(await app.client.get(path)) for path in ("/today", "/sign-in")]
    for policy in (shell, sign_in):
        assert policy["connect-src"] == "'self' wss://daysong.test https://clerk.daysong.test"
        assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
    assert (shell["script-src"], shell["style-src"]) == ("'self' https://clerk.daysong.test", "'self'")
    assert "frame-src" not in shell
    assert sign_in["style-src"] == "'self' 'unsafe-inline'"


async def test_in_development_there_is_no_other_host(world: World) -> None:
    """The sandbox's Clerk is on this server."""
    answer = await world.http.get("/sign-in")
    policy = policy_of(answer)
    assert policy["connect-src"] == "'self' ws://daysong.test"
    assert (policy["script-src"], policy["style-src"]) == ("'self'", "'self'")
    assert 'data-auth="sandbox"' in answer.text


def test_the_publishable_key_is_that_of_the_issuer_unless_it_is_set(app: App) -> None:
    key = studio.publishable_key(app.runtime.settings)
    assert key.startswith("pk_live_")
    assert base64.b64decode(key.removeprefix("pk_live_")) == b"clerk.daysong.test$"


@pytest.mark.parametrize(
    "given", ["monthly", "monthly=javascript:alert(1)", "daily=https://a.test", "free=http://a.test"]
)
def test_links_to_plans_are_https(given: str) -> None:
    with pytest.raises(Exception, match="UPGRADE_LINKS: must be"):
        load({"SITE_URL": "https://daysong.test", "UPGRADE_LINKS": given})


async def test_the_service_worker_keeps_what_pages_need_and_nothing_else(app: App) -> None:
    """Every file it names is there; pages of shares, media and the API are never its business."""
    answer = await app.client.get("/sw.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "no-cache"
    constants: dict[str, Any] = {
        name: json.loads(value)
        for name, value in re.findall(r"^const (RELEASE|SHELL|FILES) = (.*);$", answer.text, re.MULTILINE)
    }
    assert constants["RELEASE"] == assets.version()
    for address in (constants["SHELL"], *constants["FILES"]):
        assert (await app.client.get(address)).status_code == 200
    linked = Tags((await app.client.get("/today")).text)
    needed = [one["href"] for one in linked.all("link") if "/static/" in (one["href"] or "")]
    assert {*needed} <= {*constants["FILES"]}
    match = re.search(r'^const PAGES = new RegExp\("(.*)"\);$', answer.text, re.MULTILINE)
    assert match is not None
    pages = re.compile(json.loads(f'"{match[1]}"'))
    assert pages.match("/today")
    assert pages.match("/diary/diary_1")
    assert not any(pages.match(path) for path in ("/", "/share/abc", "/sign-in", "/api/sync", "/docs", "/console"))


async def test_static_files_are_compressed_for_those_who_take_it(app: App) -> None:
    """The same content; caches keep the two apart."""
    address = f"/static/{assets.version()}/studio/live.js"
    plain = await app.client.get(address, headers={"Accept-Encoding": "identity"})
    packed = await app.client.get(address, headers={"Accept-Encoding": "br;q=1, gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    assert {"Accept-Encoding"} <= {*re.split(", ?", packed.headers["vary"])}
    refused = await app.client.get(address, headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers


def test_the_studio_is_light() -> None:
    """All of its scripts and styles, with those it shares with other pages."""
    shared = {"tokens.css", "base.css", "player.js", "lyrics.js", "player.css", "lyrics.css", "share.css"}
    names = [name for name in assets.static_files() if name in shared or name.startswith(assets.STUDIO)]
    joined = [name for name in names if not (name.startswith(assets.STUDIO) and name.endswith(".css"))]
    weight = sum(len(gzip.compress(assets.static_files()[name])) for name in [*joined, assets.STUDIO_STYLES])
    assert 10_000 < weight < LARGEST


def run_module(name: str, more: str) -> Any:
    """Run a script of the studio in Node, with `more` at its end; return what it logs, which is JSON."""
    if (node := shutil.which("node")) is None:
        pytest.skip("Node is not installed")
    text = files("daysong.transport.pages").joinpath(f"static/studio/{name}").read_text("utf-8")
    script = BROWSER + text + more
    done = subprocess.run([node, "--input-type=module"], input=script, capture_output=True, text=True, check=True)  # noqa: S603
    return json.loads(done.stdout)


def test_after_signing_in_no_address_leads_to_another_site() -> None:
    """Browsers leave out tabs and take a backslash for a slash; such addresses lead to /today, or stay here."""
    nexts = [
        "/songs/x?a=1", "//evil.test", "/\\evil.test", "/\t/evil.test", "/\n\\evil.test", "/.//evil.test", "//[",
        "https://evil.test", "javascript:alert(1)", "/../..//evil.test",
    ]  # fmt: skip
    asked = f"""
    globalThis.location = {{ origin: "https://daysong.test" }};
    const to = (base, next) => new URL(nextOf(base, `?${{new URLSearchParams({{ next }})}}`), location.origin).href;
    console.log(JSON.stringify(["", "/app"].map((base) => {json.dumps(nexts)}.map((next) => to(base, next)))));
    """
    plain, below = run_module("session.js", asked)
    assert plain[0] == "https://daysong.test/songs/x?a=1"
    assert plain[1] == plain[3] == plain[6] == plain[8] == "https://daysong.test/today"
    assert all(target.startswith("https://daysong.test/") for target in plain)
    assert all(target.startswith("https://daysong.test/app/") for target in below)


def test_drafts_are_not_kept_again_after_they_were_cleared_in_another_tab() -> None:
    """A tab that is told of the sign-out keeps its draft as it stops; by then the device has none any more."""
    before = """
    const kept = new Map();
    const request = (act) => {
      const one = {};
      queueMicrotask(() => { one.result = act(); one.onsuccess?.(); });
      return one;
    };
    globalThis.indexedDB = { open: () => request(() => ({
      transaction() {
        const transaction = { commit() { queueMicrotask(() => transaction.oncomplete()); } };
        const store = {
          transaction,
          put: (draft, key) => (kept.set(key, draft), {}),
          clear: () => (kept.clear(), {}),
        };
        return { objectStore: () => store };
      },
    })) };
    const drafts = createDrafts("user_alice");
    await drafts.set("today", { text: "Mine" });
    const before = [...kept.keys()];
    const other = new BroadcastChannel(NAME);
    other.postMessage({ cleared: true });
    await new Promise((done) => setTimeout(done, 50));
    kept.clear();
    await drafts.set("today", { text: "Mine" });
    console.log(JSON.stringify([before, [...kept.keys()]]));
    other.close();
    channel.close();
    """
    assert run_module("drafts.js", before) == [["user_alice today"], []]
