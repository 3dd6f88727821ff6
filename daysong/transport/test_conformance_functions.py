"""The functions of the conformance tests: exact values over HTTP, and only in test mode."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daysong.kernel import values
from daysong.transport.conftest import App, MakeApp, Token, admin, bearer
from rehearsal.conformance import MODULES, create_tables
from rehearsal.conformance.functions import Echo, ExactReader

pytestmark = pytest.mark.anyio


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    app: App = await make_app(*MODULES, test_mode=True)
    await create_tables(app.runtime.database)
    return app


async def value(app: App, kind: str, path: str, args: Any = None, **options: Any) -> Any:
    """The decoded value of a call that succeeds."""
    answer = await app.call(kind, path, args, **options)
    assert answer["status"] == "success", answer
    return values.decode(answer["value"])


async def test_a_counter_counts(app: App) -> None:
    assert await value(app, "query", "counter:get", {"key": "a"}) == 0
    assert await value(app, "mutation", "counter:increment", {"key": "a"}) == 1
    assert await value(app, "mutation", "counter:increment", {"key": "a", "by": 41.0}) == 42
    assert await value(app, "action", "actions:incrementVia", {"key": "a"}) == 43
    assert await value(app, "mutation", "counter:noop") is None
    assert await value(app, "query", "counter:get", {"key": "b"}) == 0


async def test_log_lines_come_with_the_response(app: App) -> None:
    """In the format that clients print."""
    answer = await app.call("query", "counter:logs", {"key": "a"})
    assert answer["logLines"] == ["[LOG] 'the counter is at 0'"]


async def test_a_failure_after_a_write_leaves_no_trace(app: App) -> None:
    answer = await app.call("mutation", "errors:failAfterWrite", {"key": "a"})
    assert "plain failure after a write" in answer["errorMessage"]
    assert await value(app, "query", "counter:get", {"key": "a"}) == 0


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
async def test_failures_have_data_when_they_are_expected(app: App, kind: str) -> None:
    expected = await app.call(kind, f"errors:convex_{kind}")
    data = values.decode(expected["errorData"])
    assert data == {"code": "TEAPOT", "n": 7, "nested": {"list": [1.0, None, "x"]}}
    assert isinstance(data["n"], values.Int64)
    plain = await app.call(kind, f"errors:plain_{kind}", {"tag": "t1"})
    assert "plain failure t1" in plain["errorMessage"]
    assert "errorData" not in plain


async def test_a_failing_query_recovers(app: App) -> None:
    assert await value(app, "query", "errors:whenOdd", {"key": "a"}) == 0
    await value(app, "mutation", "counter:increment", {"key": "a"})
    failed = await app.call("query", "errors:whenOdd", {"key": "a"})
    assert (failed["status"], failed["errorData"]) == ("error", {"odd": 1.0})


numbers = st.floats(allow_nan=True) | st.integers(-(2**63), 2**63 - 1).map(values.Int64)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(codec="utf-8")) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.from_regex(r"[a-zA-Z_ -#%-~][ -~]{0,9}", fullmatch=True), inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=anything, kind=st.sampled_from(["query", "mutation", "action"]))
async def test_every_value_is_echoed_exactly(app: App, sent: Any, kind: str) -> None:
    """Int64, bytes, NaN, infinities, the sign of zero and NUL among them."""
    wire = values.encode({"value": sent})
    answer = await app.call(kind, f"values:echo_{kind}", wire)
    assert answer["value"] == wire["value"]


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
async def test_whoami_returns_the_caller(app: App, token: Token, kind: str) -> None:
    name = "auth:whoami" if kind == "query" else f"auth:whoami{kind.title()}"
    assert await value(app, kind, name) is None
    assert await value(app, kind, name, headers=bearer(token("alice"))) == "alice"


async def test_identity_returns_the_claims_of_the_token(app: App, token: Token) -> None:
    signed = token("alice", email="alice@example.test", zoneinfo="Asia/Tokyo")
    identity = await value(app, "query", "auth:identity", headers=bearer(signed))
    assert (identity["subject"], identity["email"], identity["timezone"]) == (
        "alice",
        "alice@example.test",
        "Asia/Tokyo",
    )
    assert await value(app, "query", "auth:identity") is None


async def test_an_internal_function_needs_the_admin_key(app: App, token: Token) -> None:
    assert await value(app, "query", "internalFns:secret", headers=admin()) == "internal-ok"
    for headers in ({}, bearer(token("alice"))):
        answer = await app.call("query", "internalFns:secret", headers=headers)
        assert answer["errorMessage"] == "Could not find public function for 'internalFns:secret'."


async def test_an_action_may_wait_for_a_limited_time(app: App) -> None:
    assert await value(app, "action", "actions:add", {"a": 2, "b": 40, "delayMs": 5}) == 42
    too_long = await app.call("action", "actions:add", {"a": 2, "b": 40, "delayMs": 60_000})
    assert too_long["status"] == "error"


async def page(app: App, cursor: str | None, count: int = 3, **more: Any) -> Any:
    opts = {"numItems": count, "cursor": cursor, "id": 1.0, **more}
    return await value(app, "query", "todos:page", {"channel": "a", "paginationOpts": opts})


async def test_pagination_has_no_gaps_or_repeats(app: App) -> None:
    for number in range(7):
        await value(app, "mutation", "todos:add", {"channel": "a", "text": str(number)})
    await value(app, "mutation", "todos:add", {"channel": "b", "text": "elsewhere"})
    assert [todo["text"] for todo in await value(app, "query", "todos:list", {"channel": "a"})] == list("0123456")
    texts, cursor, done = [], None, False
    while not done:
        found = await page(app, cursor)
        texts += [todo["text"] for todo in found["page"]]
        cursor, done = found["continueCursor"], found["isDone"]
    assert texts == list("0123456")
    assert (await page(app, cursor))["page"] == []


async def test_a_page_with_an_end_cursor_holds_all_up_to_it(app: App) -> None:
    for number in range(5):
        await value(app, "mutation", "todos:add", {"channel": "a", "text": str(number)})
    first = await page(app, None)
    again = await page(app, None, count=1, endCursor=first["continueCursor"])
    assert [todo["text"] for todo in again["page"]] == list("012")
    assert (again["continueCursor"], again["isDone"]) == (first["continueCursor"], False)


@pytest.mark.parametrize("cursor", ["", "-1", "first", "9" * 30, "٣", "1\0"])
async def test_an_invalid_cursor_makes_clients_start_over(app: App, cursor: str) -> None:
    args = {"channel": "a", "paginationOpts": {"numItems": 3, "cursor": cursor}}
    answer = await app.call("query", "todos:page", args)
    assert answer["status"] == "error"
    if "\0" not in cursor:
        assert "InvalidCursor" in answer["errorMessage"]
        assert answer["errorData"] == {"isConvexSystemError": True, "paginationError": "InvalidCursor"}


@pytest.mark.parametrize("value", ["NUL \0 within", -0.0, 5.0, values.Int64(5), b"\0", [float("inf")]])
def test_exact_reader_keeps_types_of_numbers(value: Any) -> None:
    """A float stays a float, a zero keeps its sign, and text may contain NUL."""
    args = ExactReader(Echo).convert({"value": value})
    assert repr(args.value) == repr(value)
    assert type(args.value) is type(value)
