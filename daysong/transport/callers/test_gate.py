"""The rate limits, and the responses over a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conftest import NOW
from daysong.kernel.database.transactions import Database
from daysong.kernel.functions.context import Caller
from daysong.kernel.limits.buckets import Buckets
from daysong.kernel.limits.rates import Rate
from daysong.kernel.limits.store import RateStore
from rehearsal.world import ADMIN_KEY, FunctionError, Person, World

pytestmark = pytest.mark.anyio


@pytest.fixture
async def strict(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A world with low limits."""
    environ = {
        "DAYSONG_TEST_LIMITS": "1",
        "LIMIT_WRITES_ACCOUNT": "5/10m",
        "LIMIT_SONGS_ACCOUNT": "2/10m",
        "LIMIT_SIGN_UPS_VIEWER": "3/1h",
        "LIMIT_REQUESTS_ACCOUNT": "12/10m",
        "LIMIT_WEBHOOKS_VIEWER": "3/10m",
        "LIMIT_GUESSES_VIEWER": "2/10m",
        "LIMIT_SOCKETS_VIEWER": "3/10m",
        "LIMIT_RUNS_ACCOUNT": "2/1s",
        "METRICS_FROM": "10.0.0.0/8",
    }
    async with World(database_url, tmp_path, NOW, environ) as whole:
        yield whole


async def until_limited(person: Person, function: str, **args: object) -> tuple[int, FunctionError]:
    """Call a function until it is refused; return the number of calls before, and the error."""
    for count in range(100):
        try:
            await person.call("mutation", function, args)
        except FunctionError as error:
            return count, error
    raise AssertionError("never refused")


async def test_g03_an_account_that_writes_in_a_loop_gets_a_typed_error(strict: World) -> None:
    """With the seconds until a retry; other accounts and queries are not affected."""
    alice, bob = await strict.person("alice"), await strict.person("bob")
    count, error = await until_limited(alice, "diaries:createDiary", content="Rain.")
    assert count == 4, "ensureCurrentUser was the first"
    assert error.data is not None
    assert (error.code, sorted(error.data)) == ("rate_limited", ["code", "message", "retryAfter"])
    assert 1 <= error.data["retryAfter"] <= 600
    await bob.mutation("diaries:createDiary", content="Sun.")
    assert len(await alice.query("diaries:listDiaries")) == 4


async def test_g03_song_generation_has_its_own_limit(strict: World) -> None:
    """Calls refused by a quota count too."""
    alice = await strict.person("alice")
    count, error = await until_limited(alice, "music:startDiaryMusicGeneration", content="Rain.")
    assert (count, error.code) == (2, "rate_limited")


async def test_g03_new_accounts_per_address_are_limited(strict: World) -> None:
    """Many e-mail addresses of one person share one IP address."""
    for name in ("alice", "bob", "charlie"):
        await strict.person(name)
    with pytest.raises(FunctionError) as refused:
        await strict.person("mallory")
    assert refused.value.code == "rate_limited"
    await (await strict.person("alice")).query("diaries:listDiaries")


async def test_g03_an_account_that_calls_in_a_loop_over_http_gets_429(strict: World) -> None:
    """Before the function runs, with Retry-After, which other origins may read."""
    alice = await strict.person("alice")
    body = {"path": "diaries:listDiaries", "args": {}, "format": "json"}
    headers = {**alice.headers, "Origin": "https://app.test"}
    answers = [await strict.http.post("/api/query", json=body, headers=headers) for _ in range(15)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 3 <= len(refused) <= 5
    assert refused[0].json()["code"] == "RateLimited"
    assert int(refused[0].headers["retry-after"]) >= 1
    assert "retry-after" in refused[0].headers["access-control-expose-headers"]


async def test_g03_an_address_whose_webhooks_fail_verification_gets_429(strict: World) -> None:
    """First 401, then 429."""
    statuses = [(await strict.http.post("/http/vapi-webhook", json={})).status_code for _ in range(8)]
    assert statuses[0] == 401
    assert statuses[-1] == 429


async def test_g77_guesses_at_the_admin_key_are_slowed(strict: World) -> None:
    """Fifty at once: a few wrong keys get a slow 403; then even the right key gets 429."""
    started = time.perf_counter()

    async def guess(key: str) -> int:
        body = {"path": "billing:getPlans", "args": {}}
        return (await strict.http.post("/api/query", json=body, headers={"Authorization": f"Convex {key}"})).status_code

    assert await guess(ADMIN_KEY) == 200
    statuses = await asyncio.gather(*(guess(f"guess {number}") for number in range(50)))
    assert statuses.count(403) <= 4
    assert set(statuses) == {403, 429}
    assert time.perf_counter() - started >= 0.5
    assert await guess(ADMIN_KEY) == 429


async def test_g77_metrics_are_for_the_admin_and_for_metrics_from(strict: World) -> None:
    """Other addresses get 403."""
    assert (await strict.http.get("/metrics")).status_code == 403
    key = {"Authorization": f"Convex {ADMIN_KEY}"}
    assert (await strict.http.get("/metrics", headers=key)).status_code == 200
    assert strict.app.gate.may_read_metrics({"client": ("10.1.2.3", 1)})  # type: ignore[arg-type]
    assert not strict.app.gate.may_read_metrics({"client": ("203.0.113.1", 1)})  # type: ignore[arg-type]


async def test_g73_sockets_per_address_are_limited(strict: World) -> None:
    """Both their rate and the number open at the same time."""
    gate = strict.app.gate
    assert [await gate.socket_refusal("mark") is None for _ in range(5)] == [True, True, True, False, False]
    for _ in range(100):
        gate.socket_opened("another")
    assert (await gate.socket_refusal("another")) is not None
    gate.socket_closed("another")
    assert (await gate.socket_refusal("another")) is None


async def test_g03_subscriptions_are_delayed_and_never_refused(strict: World) -> None:
    """Queries over the limit wait; nothing is raised."""
    started = time.perf_counter()
    for _ in range(4):
        await strict.app.gate.delay(Caller(subject="user_alice"), "", 1)
    assert 0.2 < time.perf_counter() - started < 5


async def test_g03_processes_share_a_bucket(database_url: str) -> None:
    """The rate holds across processes, except for the tokens that each has reserved."""
    both = Database(database_url, max_connections=2), Database(database_url, max_connections=2)
    for database in both:
        await database.open()
    buckets = [Buckets({"writes": Rate(40, 600)}, RateStore(database)) for database in both]
    taken = [await buckets[place % 2].take("writes", "alice") for place in range(100)]
    assert 36 <= taken.count(0.0) <= 48
    assert taken[-1] > 1
    assert await buckets[0].take("writes", "bob") == 0
    for database in both:
        await database.close()


async def test_limits_are_off_in_test_mode_unless_asked_for(world: World, alice: Person) -> None:
    """Other tests are not affected by limits."""
    assert not world.app.gate.enabled
    for _ in range(3):
        await alice.mutation("diaries:createDiary", content="Rain.")
    assert await world.db.pool.fetchval("select count(*) from rate_limits") == 0
