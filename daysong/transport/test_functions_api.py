from __future__ import annotations
import pytest
from typing import Any
from daysong.kernel.context import QueryContext
from daysong.kernel.registry import Args, Room
from daysong.transport.conftest import MakeApp

pytestmark = pytest.mark.anyio
room = Room("values")


class Echo(Args):
    value: Any


@room.query(public=True)
async def echo(ctx: QueryContext, args: Echo) -> Any:
    """Says it back."""
    return args.value


async def test_x(make_app: MakeApp) -> None:
    app = await make_app(room)
    print(await app.call("query", "values:echo", {"value": 5}))
    for p in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/nope", "/share/abc", "/media/x"):
        r = await app.client.get(p)
        print(p, r.status_code, r.headers, r.text[:300])
