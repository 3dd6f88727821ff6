"""The PyPI client, over the socket and over HTTP; run by `test_python.py` in a separate process.

Most of the client is Rust, whose waits Python cannot interrupt.
"""

from __future__ import annotations

import asyncio
import math
import os
import uuid
from pathlib import Path
from typing import Any

import pytest
from convex import ConvexClient, ConvexError, ConvexInt64
from convex.http_client import ConvexExecutionError, ConvexHttpClient

from rehearsal.processes.server import ADMIN_KEY, ISSUER, Keys

pytestmark = pytest.mark.anyio

Client = ConvexClient | ConvexHttpClient


ORIGIN = os.environ.get("DAYSONG_ORIGIN", "")


@pytest.fixture(scope="session")
def keys() -> Keys:
    """Return the keys that sign session tokens."""
    return Keys(Path(os.environ["DAYSONG_KEYS"]))


@pytest.fixture
def socket() -> ConvexClient:
    """Return the client over the socket."""
    return ConvexClient(ORIGIN)


@pytest.fixture
def http() -> ConvexHttpClient:
    """Return the client over HTTP."""
    return ConvexHttpClient(ORIGIN)


@pytest.fixture(params=["socket", "http"])
def client(request: pytest.FixtureRequest) -> Client:
    """Return each of the two clients."""
    found: Client = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def key() -> str:
    """Return the key of a counter that no other test uses."""
    return f"py-{uuid.uuid4()}"


def test_queries_mutations_and_actions(client: Client, key: str) -> None:
    assert client.query("counter:get", {"key": key}) == 0
    assert client.mutation("counter:increment", {"key": key}) == 1
    assert client.mutation("counter:increment", {"key": key, "by": 41}) == 42
    assert client.action("actions:incrementVia", {"key": key}) == 43
    assert client.query("counter:get", {"key": key}) == 43
    assert client.mutation("counter:noop") is None


def test_a_mutation_is_read_back_at_once(socket: ConvexClient, key: str) -> None:
    """The first query after a mutation contains it, every time."""
    for number in range(1, 26):
        assert socket.mutation("counter:increment", {"key": key}) == number
        assert socket.query("counter:get", {"key": key}) == number


VALUES: list[Any] = [
    None, True, 0.0, 1.5, -2.0, 5e-324, 1.7e308, math.inf, -math.inf, "", "Grüße, 世界 🎵", "nul \0", b"",
    b"\0\xff" * 500, [], [1.0, [None, ["x"]]], {}, {"a": {"b": [True]}, "_id": "x", "odd name": None}, "x" * 200_000,
]  # fmt: skip


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
def test_values_come_back_as_they_were_sent(client: Client, kind: str) -> None:
    for value in VALUES:
        assert getattr(client, kind)(f"values:echo_{kind}", {"value": value}) == value


@pytest.mark.parametrize("number", [0, 7, -1, 2**63 - 1, -(2**63)])
def test_64_bit_integers_stay_what_they_are(client: Client, number: int) -> None:
    back = client.mutation("values:echo_mutation", {"value": ConvexInt64(number)})
    assert isinstance(back, ConvexInt64)
    assert back.value == number


def test_nan_and_the_sign_of_zero_survive(client: Client) -> None:
    assert math.isnan(client.query("values:echo_query", {"value": math.nan}))
    assert math.copysign(1, client.query("values:echo_query", {"value": -0.0})) == -1


def test_python_integers_become_ordinary_numbers(client: Client) -> None:
    assert client.query("values:echo_query", {"value": 5}) == 5.0


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
def test_expected_failures_are_convex_errors(client: Client, kind: str) -> None:
    """They resolve, which over the socket takes a transition after the failure, and carry their data."""
    with pytest.raises(ConvexError) as raised:
        getattr(client, kind)(f"errors:convex_{kind}")
    assert raised.value.data["code"] == "TEAPOT"
    assert raised.value.data["nested"] == {"list": [1.0, None, "x"]}


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
def test_other_failures_are_not(client: Client, kind: str) -> None:
    with pytest.raises(Exception, match="plain failure here") as raised:
        getattr(client, kind)(f"errors:plain_{kind}", {"tag": "here"})
    assert not isinstance(raised.value, ConvexError)
    with pytest.raises(Exception, match="Could not find public function for 'no:such'"):
        getattr(client, kind)("no:such")


def test_a_failed_mutation_leaves_no_trace_and_the_client_goes_on(client: Client, key: str) -> None:
    with pytest.raises(Exception, match="plain failure after a write"):
        client.mutation("errors:failAfterWrite", {"key": key})
    assert client.query("counter:get", {"key": key}) == 0
    assert client.mutation("counter:increment", {"key": key}) == 1


def test_a_subscription_is_told_of_every_state_in_the_end(
    socket: ConvexClient, http: ConvexHttpClient, key: str
) -> None:
    news = socket.subscribe("counter:get", {"key": key})
    assert next(news) == 0
    for number in range(1, 6):
        http.mutation("counter:increment", {"key": key})
        seen: Any = 0.0
        while seen != number:
            seen = next(news)
            assert seen <= number
    news.unsubscribe()
    with pytest.raises(Exception, match="dropped"):
        next(news)


async def test_others_do_not_wake_a_subscription(socket: ConvexClient, http: ConvexHttpClient, key: str) -> None:
    """The client repeats a value for each transition of its socket, so others' changes must cause none."""

    async def raised(which: str) -> None:
        await asyncio.to_thread(http.mutation, "counter:increment", {"key": which})

    news = socket.subscribe("counter:get", {"key": key})
    assert await anext(news) == 0
    waiting = asyncio.ensure_future(anext(news))
    for _ in range(10):
        await raised(f"{key}-another")
    await asyncio.wait({waiting}, timeout=0.3)
    assert not waiting.done()
    await raised(key)
    assert await waiting == 1


def test_a_view_of_all_queries_is_of_one_moment(socket: ConvexClient, http: ConvexHttpClient, key: str) -> None:
    one, two = (socket.subscribe("counter:get", {"key": f"{key}-{number}"}) for number in (1, 2))
    views = socket.watch_all()
    for _ in range(5):
        http.mutation("counter:increment", {"key": f"{key}-1"})
        http.mutation("counter:increment", {"key": f"{key}-2"})
    seen: Any = (0, 0)
    while seen != (5, 5):
        view: Any = next(views)
        if one.id in view and two.id in view:
            seen = (view[one.id]["value"], view[two.id]["value"])
            assert seen[0] - seen[1] in {0, 1}


def test_a_failing_subscription_raises_and_recovers(socket: ConvexClient, http: ConvexHttpClient, key: str) -> None:
    http.mutation("counter:increment", {"key": key})
    news = socket.subscribe("errors:whenOdd", {"key": key})
    with pytest.raises(ConvexError) as raised:
        next(news)
    assert raised.value.data == {"odd": 1.0}
    http.mutation("counter:increment", {"key": key})
    assert next(news) == 2


def test_signing_in_and_out(client: Client, keys: Keys) -> None:
    assert client.query("auth:whoami") is None
    client.set_auth(keys.token("alice"))
    assert client.query("auth:whoami") == "alice"
    assert client.mutation("auth:whoamiMutation") == "alice"
    assert client.query("auth:identity")["issuer"] == ISSUER
    client.set_auth(keys.token("bob"))
    assert client.action("auth:whoamiAction") == "bob"
    client.clear_auth()
    assert client.query("auth:whoami") is None


def test_the_admin_key_opens_internal_functions(client: Client) -> None:
    with pytest.raises(Exception, match="Could not find public function"):
        client.query("internalFns:secret")
    client.set_admin_auth(ADMIN_KEY)
    assert client.query("internalFns:secret") == "internal-ok"


def test_a_bad_token_is_refused_over_http_with_words(http: ConvexHttpClient) -> None:
    http.set_auth("x.y.z")
    with pytest.raises(Exception, match="401 InvalidAuthHeader: "):
        http.query("auth:whoami")


def test_plain_failures_over_http_have_their_own_class(http: ConvexHttpClient) -> None:
    with pytest.raises(ConvexExecutionError, match="plain failure"):
        http.query("errors:plain_query", {})


def test_a_large_result_arrives(client: Client) -> None:
    """8 MB each way: more than one read of a socket, less than the client's longest frame."""
    text = "x" * 8_000_000
    assert client.mutation("values:echo_mutation", {"value": text}) == text


def test_a_journey_through_the_product(client: Client, keys: Keys) -> None:
    who = f"user_{uuid.uuid4()}"
    client.set_auth(keys.token(who, email=f"{who}@example.test", name="Alice"))
    client.mutation("users:ensureCurrentUser")
    client.mutation("diaries:createDiary", {"content": "Rain."})
    with pytest.raises(ConvexError) as raised:
        client.mutation("diaries:createDiary", {"content": " "})
    assert raised.value.data["code"] == "diary_is_empty"
    assert [entry["content"] for entry in client.query("diaries:listDiaries")] == ["Rain."]
