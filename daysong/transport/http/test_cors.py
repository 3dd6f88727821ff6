from __future__ import annotations

import pytest

from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import NoArgs, query
from daysong.kernel.functions.registry import module
from daysong.transport.conftest import App, MakeApp

pytestmark = pytest.mark.anyio

ORIGIN = "https://app.daysong.test"


@query
async def one(ctx: QueryContext, args: NoArgs) -> int:
    """Return one."""
    return 1


values = module("values", public=(one,))


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    return await make_app(values)


async def test_a_preflight_allows_the_requested_headers(app: App) -> None:
    answer = await app.client.options(
        "/api/query",
        headers={
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,convex-client",
        },
    )
    assert (answer.status_code, answer.text) == (204, "")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type,convex-client"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/api/query", b'{"path": "values:one"}', 200),
        ("POST", "/api/query", b"{nope", 400),
        ("GET", "/api/nothing", None, 404),
        ("GET", "/api/mutation", None, 405),
        ("GET", "/media/nothing", None, 404),
        ("GET", "/share/nothing", None, 404),
    ],
)
async def test_every_response_may_be_read_from_any_origin(
    app: App, method: str, path: str, content: bytes | None, status: int
) -> None:
    answer = await app.client.request(method, path, content=content, headers={"Origin": ORIGIN})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    assert "origin" in answer.headers["vary"]


async def test_the_refusal_of_a_token_may_be_read_from_any_origin(app: App) -> None:
    answer = await app.client.post("/api/query", headers={"Origin": ORIGIN, "Authorization": "Bearer no"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, ORIGIN)


async def test_without_an_origin_there_are_no_cors_headers(app: App) -> None:
    answer = await app.client.post("/api/query", json={"path": "values:one"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "origin"


async def test_options_without_preflight_headers_lists_the_methods(app: App) -> None:
    answer = await app.client.options("/api/query", headers={"Origin": ORIGIN})
    assert answer.status_code == 204
    assert "POST" in answer.headers["allow"]
