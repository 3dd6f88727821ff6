from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import Args, query
from daysong.kernel.functions.registry import module
from daysong.transport.conftest import App, MakeApp

pytestmark = pytest.mark.anyio


class Echo(Args):
    """Anything."""

    value: Any = None


@query
async def echo(ctx: QueryContext, args: Echo) -> Any:
    """Fails, since no request of these tests may reach it."""
    raise AssertionError("a function ran")


values = module("values", public=(echo,))


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    return await make_app(values)


async def raw(app: App, path: str, body: Any) -> httpx2.Response:
    return await app.client.post(path, content=body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/api/query", b"{nope", "BadJsonBody"),
        ("/api/query", b"", "BadJsonBody"),
        ("/api/query", b"\xff", "BadJsonBody"),
        ("/api/query", b"[" * 5000 + b"]" * 5000, "BadRequest"),
        ("/api/query", b'{"path": "values:echo", "args": ' + b"[" * 5000 + b"]" * 5000 + b"}", "BadJsonBody"),
        ("/api/query", [], "BadRequest"),
        ("/api/query", {"args": {}}, "BadRequest"),
        ("/api/query", {"path": 1, "args": {}}, "BadRequest"),
        ("/api/query", {"path": "values:echo", "args": {}, "format": "xml"}, "BadFormat"),
        ("/api/query", {"path": "values:echo", "args": 5}, "BadArguments"),
        ("/api/query", {"path": "values:echo", "args": [{}, {}]}, "BadArguments"),
        ("/api/query", {"path": "values:echo", "args": {"$integer": "BwAAAAAAAAA="}}, "BadArguments"),
        ("/api/query", {"path": "values:echo", "args": {"value": {"$integer": "BwA="}}}, "BadValue"),
        ("/api/query", {"path": "values:echo", "args": {"value": {"$what": "BwA="}}}, "BadValue"),
        ("/api/query", b'{"path": "values:echo", "args": {"value": 1' + b"0" * 400 + b"}}", "BadValue"),
        ("/api/query", {"path": "values:echo", "args": {}, "componentPath": "other"}, "BadComponentPath"),
        ("/api/query_at_ts", {"path": "values:echo", "args": {}, "ts": "AAA="}, "BadTimestamp"),
        ("/api/query_batch", {"queries": [{"path": "values:echo"}] * 101}, "TooManyQueries"),
        ("/api/run/values/echo", b"{", "BadJsonBody"),
    ],
)
async def test_a_malformed_request_is_refused_before_anything_runs(
    app: App, path: str, body: Any, code: str
) -> None:  # fmt: skip
    answer = await raw(app, path, body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == code
    assert answer.json()["message"]


async def test_a_body_over_16_mib_is_refused(app: App) -> None:
    answer = await raw(app, "/api/query", b"x" * (16 * 1024 * 1024 + 1))
    assert answer.status_code == 413
    assert answer.json() == {"code": "PayloadTooLarge", "message": "The body is too large"}


async def test_other_methods_and_unknown_paths_are_refused_in_json(app: App) -> None:
    answer = await app.client.put("/api/mutation")
    assert (answer.status_code, answer.json()["code"]) == (405, "MethodNotAllowed")
    assert "POST" in answer.headers["allow"]
    answer = await app.client.get("/api/nothing")
    assert (answer.status_code, answer.json()) == (404, {"code": "NotFound", "message": "Not Found"})
