"""/console over HTTP: who gets in, what a form needs, and that every page is there for an operator alone."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from copy import copy
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import msgspec
import pytest

from conftest import NOW
from daysong.kernel.inbox import STATUSES
from daysong.kernel.limits.breakers import Breaker
from daysong.kernel.settings import read
from daysong.transport.callers import gate
from daysong.transport.callers.auth import Authenticator
from daysong.transport.pages.assets import Assets
from daysong.transport.pages.console import records
from daysong.transport.pages.console.html import Html, el, join
from daysong.transport.pages.console.routes import handlers, routes
from daysong.transport.pages.console.sessions import Sessions
from daysong.vendors import latency
from daysong.vendors.clerk.client import TokenVerifier
from daysong.vendors.latency import Sample
from rehearsal.world import ADMIN_KEY, Person, World

pytestmark = pytest.mark.anyio

OWN = {"Sec-Fetch-Site": "same-origin"}
ENTRY = "I walked home in the rain and called my sister"


class Finding(NamedTuple):
    """What a check found."""

    name: str
    state: str
    detail: str


class Operator:
    """A browser of an operator."""

    def __init__(self, world: World) -> None:
        self.http = world.http
        self.cookie = ""

    async def get(self, path: str, **more: Any) -> httpx2.Response:
        return await self.http.get(f"/console{path}", headers={"Cookie": self.cookie, **OWN}, **more)

    async def post(self, path: str, *, site: str = "same-origin", **form: Any) -> httpx2.Response:
        sent = {"Cookie": self.cookie, "Sec-Fetch-Site": site}
        self.http.cookies.clear()
        return await self.http.post(f"/console{path}", data=form, headers=sent, follow_redirects=False)

    async def csrf(self) -> str:
        return str(re.findall(r'name="csrf" value="(\w+)"', (await self.get("/people")).text)[0])

    async def sign_in(self, key: str = ADMIN_KEY) -> httpx2.Response:
        answer = await self.post("/sign-in", key=key)
        self.cookie = answer.headers.get("set-cookie", "").partition(";")[0] or self.cookie
        return answer

    async def act(self, path: str, **form: str) -> httpx2.Response:
        return await self.post(path, csrf=await self.csrf(), **form)


@pytest.fixture
async def operator(world: World) -> Operator:
    """A signed-in operator."""
    one = Operator(world)
    assert (await one.sign_in()).status_code == 303
    return one


async def test_the_overview_shows_breakers_and_times_of_vendors(world: World, operator: Operator) -> None:
    """Of this process, and it says so: which vendor is down, how long requests took, and how many failed."""
    breaker = world.app.limits.breakers["suno"] = Breaker("suno", world.clock)
    for _ in range(5):
        breaker.begin().failed()
    latency._samples.clear()
    for seconds, failed in ((0.25, False), (1.5, True)):
        latency.note("suno", Sample(time.perf_counter(), seconds, failed))
    page = (await operator.get("")).text
    row = re.sub(r"<[^>]+>", " ", next(row for row in page.split("<tr>") if ">suno<" in row))
    assert " ".join(row.split()).startswith("suno down again in 5 s 250 ms 1.5 s 50% of 2 ")
    assert "of this process alone" in page


async def test_the_admin_key_opens_a_session_of_twelve_hours(world: World, operator: Operator) -> None:
    """Its cookie is the console's alone, out of reach of scripts and other sites; it ends by time, or signing out."""
    answer = await operator.sign_in()
    cookie = answer.headers["set-cookie"]
    for word in ("HttpOnly", "SameSite=Strict", "Path=/console", "Max-Age=43200"):
        assert word in cookie
    page = await operator.get("")
    assert (page.status_code, page.headers["cache-control"]) == (200, "no-store")
    assert ADMIN_KEY not in page.text
    stored = await world.db.pool.fetchval("select string_agg(s::text, ' ') from console_sessions s")
    assert cookie.partition("=")[2].partition(";")[0] not in stored
    out = await operator.act("/sign-out")
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert (await operator.get("")).headers["location"] == "/console/sign-in"
    await operator.sign_in()
    world.clock.forward(timedelta(hours=12, seconds=1))
    assert (await operator.get("/jobs")).headers["location"] == "/console/sign-in?to=/jobs"


async def test_a_session_ends_with_the_key_that_it_began_with(world: World) -> None:
    """While an earlier key is accepted, it opens a session; none outlives a change of the keys."""
    former = world.app.runtime.settings
    runtime = copy(world.app.runtime)
    for keys in (("leaked",), ()):
        runtime.settings = msgspec.structs.replace(former, admin_key="new", admin_keys_old=keys)
        sessions = Sessions(runtime)
        if keys:
            cookie = sessions.cookie(await sessions.begin())
            assert await sessions.find(cookie, NOW) is not None
        else:
            assert await sessions.find(cookie, NOW) is None


async def test_over_https_the_cookie_is_secure(database_url: str, data_dir: Path) -> None:
    """Below the path of the site, too."""
    environ = {"SITE_URL": "https://daysong.test/diary"}
    async with World(database_url, data_dir, NOW, environ=environ) as world:
        answer = await Operator(world).post("/sign-in", key=ADMIN_KEY)
        assert answer.headers["set-cookie"].startswith("__Secure-console=")
        assert answer.headers["set-cookie"].endswith(
            "; Path=/diary/console; Max-Age=43200; HttpOnly; SameSite=Strict; Secure"
        )
        assert answer.headers["location"] == "/diary/console"


async def test_without_a_session_every_page_asks_for_the_key(world: World) -> None:
    """A cookie that was made up, a user's token and the admin key in a header open nothing."""
    await world.person("alice")
    for route in routes(lambda: None):
        path = re.sub(r"\{\w+:str\}", "x", route.path)
        for cookie in ("", "console=" + "A" * 43, "console=" + "é" * 43, "a=b; console=;;"):
            headers = [(b"cookie", cookie.encode()), (b"authorization", f"Convex {ADMIN_KEY}".encode())]
            for method in ("GET",) * bool(route.get) + ("POST",) * bool(route.post):
                answer = await world.http.request(method, f"/console{path}", headers=headers)
                assert answer.status_code == 303
                assert answer.headers["location"].startswith("/console/sign-in")


async def test_the_console_is_off_in_production_unless_enabled(world: World) -> None:
    """Without it there is no route."""
    for environ, on in (({}, True), ({"DAYSONG_ENV": "production"}, False)):
        assert read(environ)[0].console is on
        assert read(environ | {"CONSOLE": "1"})[0].console is True
    runtime = world.app.runtime
    arguments = (Assets(runtime.settings), Authenticator(TokenVerifier(runtime.settings.clerk), (), ""), lambda: None)
    assert len(handlers(runtime, *arguments)) > len(routes(lambda: None))
    runtime.settings = msgspec.structs.replace(runtime.settings, console=False)
    assert handlers(runtime, *arguments) == []


async def test_wrong_keys_are_slowed_and_then_refused(
    database_url: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right key waits with the wrong ones; nothing is signed in."""
    monkeypatch.setattr(gate, "WRONG_KEY_DELAY", 0.01)
    async with World(database_url, data_dir, NOW, environ={"DAYSONG_TEST_LIMITS": "1"}) as world:
        operator = Operator(world)
        begun = time.perf_counter()
        answers = [await operator.sign_in(f"wrong {number}") for number in range(12)]
        assert time.perf_counter() - begun >= 0.1
        assert [answer.status_code for answer in answers][:10] == [403] * 10
        assert answers[-1].status_code == 429
        assert "set-cookie" not in answers[0].headers
        assert "That is not the admin key" in answers[0].text
        refused = await operator.sign_in()
        assert (refused.status_code, "retry-after" in refused.headers) == (429, True)


async def test_a_form_needs_the_sessions_token_and_this_site(world: World, alice: Person, operator: Operator) -> None:
    """Another session's token, none, and a foreign site are refused, and nothing is done."""
    user_id = await world.db.pool.fetchval("select id from users")
    form = {"songs": "5", "reason": "ticket 1"}
    path = f"/people/{user_id}/grant"
    other = Operator(world)
    await other.sign_in()
    for token in ("", "x", await other.csrf()):
        assert (await operator.post(path, csrf=token, **form)).status_code == 403
    for site in ("cross-site", "same-site"):
        assert (await operator.post(path, site=site, csrf=await operator.csrf(), **form)).status_code == 403
        assert (await operator.post("/sign-in", site=site, key=ADMIN_KEY)).status_code == 403
    assert await world.db.pool.fetchval("select count(*) from usage_grants") == 0
    assert (await operator.act(path, **form)).headers["location"] == f"/console/people/{user_id}?note=granted"
    assert await world.db.pool.fetchval("select amount from usage_grants") == 5


async def test_another_origin_may_not_read_the_console(world: World, operator: Operator) -> None:
    """All else is open to any origin, since only here a cookie identifies the caller."""
    headers = {"Origin": "https://evil.test", "Cookie": operator.cookie}
    page = await world.http.get("/console", headers=headers)
    assert page.status_code == 200
    assert not [name for name in page.headers if name.startswith("access-control")]
    asked = headers | {"Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in (await world.http.options("/console/flags", headers=asked)).headers
    assert "access-control-allow-origin" in (await world.http.get("/healthz", headers=headers)).headers


async def test_every_page_has_a_strict_policy_and_no_inline_script_or_style(
    world: World, alice: Person, operator: Operator
) -> None:
    """And shows nothing that a person wrote; unknown ids and actions are 404."""
    song = await alice.song()
    link = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    ids = {
        "people": await world.db.pool.fetchval("select id from users"),
        "songs": song["_id"],
        "jobs": await world.db.pool.fetchval("select id from jobs limit 1"),
        "webhooks": await world.db.pool.fetchval("select id from webhook_events limit 1"),
    }
    for route in routes(lambda: None):
        section = route.path.split("/")[1] if route.path else ""
        if route.get is None or ("{id" in route.path and section not in ids):
            continue
        answer = await operator.get(route.path.replace("{id:str}", ids.get(section, "")))
        assert answer.status_code == 200, route.path
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "form-action 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=", answer.text), route.path
        for text in (ENTRY, song["title"], song["lyric"].splitlines()[1]):
            assert text not in answer.text, route.path
    for path in ("/people/user_x", "/songs/x", "/calls/x", "/jobs/x", "/webhooks/x"):
        assert (await operator.get(path)).status_code == 404
    assert (await operator.act(f"/songs/{ids['songs']}/eat")).status_code == 404
    found = await operator.act("/people", text=link["shareUrl"])
    assert found.headers["location"] == f"/console/people/{ids['people']}"


async def test_words_are_shown_for_a_reason_alone(world: World, alice: Person, operator: Operator) -> None:
    song = await alice.song()
    path = f"/songs/{song['_id']}/read"
    refused = await operator.act(path, reason=" ")
    assert (refused.status_code, ENTRY in refused.text) == (400, False)
    assert "Give a reason" in refused.text
    shown = await operator.act(path, reason="ticket 7")
    assert (shown.status_code, ENTRY in shown.text) == (200, True)
    row = await world.db.pool.fetchrow("select * from audit_log where action = 'songs read'")
    assert (row["reason"], row["who"].startswith("console ")) == ("ticket 7", True)
    assert "ticket 7" in (await operator.get("/audit")).text


async def test_what_a_form_says_is_checked(world: World, alice: Person, operator: Operator) -> None:
    """An erasure needs its word; numbers that are none, and texts that are markup, do no harm."""
    user_id = await world.db.pool.fetchval("select id from users")
    await operator.act(f"/people/{user_id}/erase", reason="ticket 9", confirm="yes")
    assert await world.db.pool.fetchval("select deleted_at from users") is None
    for songs in ("", "-1", "1e9", "²", "9" * 40, "<b>"):
        assert (await operator.act(f"/people/{user_id}/grant", reason="ticket 9", songs=songs)).status_code == 400
    reason = "<script>alert(1)</script>"
    await operator.act(f"/people/{user_id}/limit", reason=reason, limit="")
    text = (await operator.get(f"/people/{user_id}")).text
    assert reason not in text
    assert "&lt;script&gt;" in text
    assert (await operator.get("/people?note=<b>")).text.count("<b>") == 0
    assert (await operator.post("/sign-in", key=ADMIN_KEY, to="//evil.test")).headers["location"] == "/console"
    big = await operator.http.post(
        "/console/people", content=b"a=" + b"x" * 70_000, headers={"Cookie": operator.cookie}
    )
    assert big.status_code == 413
    await operator.act(f"/people/{user_id}/erase", reason="ticket 9", confirm="erase")
    assert await world.db.pool.fetchval("select deleted_at from users") is not None


async def test_a_form_that_is_sent_twice_grants_once(world: World, alice: Person, operator: Operator) -> None:
    """A second click, or the browser's reload; the form of a fresh page grants again. Typing errors change nothing."""
    user_id = await world.db.pool.fetchval("select id from users")
    path = f"/people/{user_id}/grant"

    async def once() -> str:
        page = await operator.get(f"/people/{user_id}")
        return str(re.findall(r'name="grant" value="(\w+)"', page.text)[0])

    first = await once()
    said = [(await operator.act(path, songs="2", reason="ticket 9", grant=first)).headers["location"] for _ in range(2)]
    assert [address.partition("=")[2] for address in said] == ["granted", "unchanged"]
    world.clock.forward(timedelta(seconds=1))
    await operator.act(path, songs="2", reason="ticket 9", grant=await once())
    assert await world.db.pool.fetchval("select sum(amount) from usage_grants") == 4
    await operator.act(f"/people/{user_id}/limit", reason="ticket 9", limit="7")
    assert (await operator.act(f"/people/{user_id}/limit", reason="ticket 9", limit="1,000")).status_code == 400
    assert await world.db.pool.fetchval("select custom_music_limit from subscriptions") == 7
    assert "a daily limit" in (await operator.get(f"/people/{user_id}?note=daily+limit+of+suno")).text


async def test_flags_and_posts_are_changed_and_recorded(world: World, admin: Person, operator: Operator) -> None:
    post = await admin.mutation("blog:createDraft", title="Spring", bodyMarkdown="It is here.")
    await operator.act("/flags", key="beta", percent="20")
    await operator.act("/flags/remove", key="beta")
    assert (await operator.act("/flags", key="NO KEY", percent="20")).status_code == 400
    await operator.act("/blog", post=post["_id"], to="published")
    assert "published" in (await operator.get("/blog")).text
    rows = await world.db.pool.fetch("select action from audit_log where action <> 'console sign in' order by id")
    assert [row["action"] for row in rows] == ["flags set", "flags remove", "blog published"]


async def test_the_doctor_is_a_page(world: World, operator: Operator) -> None:
    async def findings() -> AsyncIterator[records.Finding]:
        yield Finding("Files", "failed", "<disk> full")

    world.app.checks = findings
    text = (await operator.act("/doctor")).text
    assert "&lt;disk&gt; full" in text
    assert 'class="badge bad">failed' in text


def test_texts_are_escaped_wherever_they_stand() -> None:
    """In content, in attributes, in lists, and in what is joined."""
    bad = '"><script>'
    assert "<script>" not in el("a", bad, [bad, None], href=bad, hidden=False) + join(bad)
    assert el("p", el("b", "x")) == "<p><b>x</b></p>"
    assert isinstance(join("<"), Html)
    assert set(records.STATUSES) == set(STATUSES)
