from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import NoArgs, action, mutation, query
from daysong.kernel.functions.registry import module
from daysong.kernel.time.clock import to_ms
from daysong.transport import testing_mode
from daysong.transport.conftest import ISSUER, NOW, App, MakeApp, Token, admin, bearer

pytestmark = pytest.mark.anyio

LATER = NOW + timedelta(days=3)
AT_LATER = {"Daysong-Now": str(int(to_ms(LATER)))}


@query
async def time(ctx: QueryContext, args: NoArgs) -> float:
    """What time it is to a query."""
    return to_ms(ctx.now)


@mutation
async def time_mutation(ctx: MutationContext, args: NoArgs) -> float:
    """What time it is to a mutation."""
    return to_ms(ctx.now)


@action
async def time_action(ctx: ActionContext, args: NoArgs) -> float:
    """What time it is to a query that an action runs."""
    return await ctx.run_query(time, NoArgs())


room = module("clock", public=(time, time_mutation, time_action))


@dataclass
class Noted:
    """What the routes were asked to do."""

    resets: int = 0
    drains: list[datetime | None] = field(default_factory=list)

    async def reset(self) -> None:
        self.resets += 1

    async def drain(self, until: datetime | None) -> int:
        self.drains.append(until)
        return 7

    @property
    def controls(self) -> testing_mode.Controls:
        return testing_mode.Controls(reset=self.reset, drain=self.drain)


@pytest.fixture
def noted() -> Noted:
    return Noted()


@pytest.fixture
async def app(make_app: MakeApp, noted: Noted) -> App:
    return await make_app(room, test_mode=True, test_controls=noted.controls)


async def seen(app: App, kind: str, name: str, headers: dict[str, str]) -> Any:
    return (await app.call(kind, f"clock:{name}", headers=headers))["value"]


@pytest.mark.parametrize(("kind", "name"), [("query", "time"), ("mutation", "timeMutation"), ("action", "timeAction")])
async def test_an_admins_call_happens_when_it_says(app: App, kind: str, name: str) -> None:
    assert await seen(app, kind, name, admin() | AT_LATER) == to_ms(LATER)
    assert await seen(app, kind, name, admin()) == to_ms(NOW)


async def test_acting_as_alice_may_choose_its_time_too(app: App) -> None:
    assert await seen(app, "query", "time", admin({"issuer": ISSUER, "subject": "alice"}) | AT_LATER) == to_ms(LATER)


async def test_alice_herself_may_not(app: App, token: Token) -> None:
    assert await seen(app, "query", "time", bearer(token("alice")) | AT_LATER) == to_ms(NOW)
    assert await seen(app, "query", "time", AT_LATER) == to_ms(NOW)


@pytest.mark.parametrize("moment", ["", "soon", "nan", "inf", "1e300", "-1e18"])
async def test_what_is_no_moment_is_refused(app: App, moment: str) -> None:
    answer = await app.client.post("/api/query", json={"path": "clock:time"}, headers=admin() | {"Daysong-Now": moment})
    assert (answer.status_code, answer.json()["code"]) == (400, "BadRequest")


async def test_reset_and_drain_do_what_they_were_given(app: App, noted: Noted) -> None:
    assert (await app.client.post("/test/reset", headers=admin())).json() == {}
    assert (await app.client.post("/test/drain", headers=admin())).json() == {"ran": 7}
    assert (await app.client.post("/test/drain", json={"until": to_ms(LATER)}, headers=admin())).json() == {"ran": 7}
    assert (noted.resets, noted.drains) == (1, [None, LATER])


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"until": "soon"}', b'{"until": 1e300}', b'{"unless": 1}'])
async def test_a_drain_until_nonsense_is_refused(app: App, noted: Noted, body: bytes) -> None:
    answer = await app.client.post("/test/drain", content=body, headers=admin())
    assert (answer.status_code, noted.drains) == (400, [])


async def test_only_the_admin_may_reset_and_drain(app: App, noted: Noted, token: Token) -> None:
    for headers, status in (({}, 403), (bearer(token("alice")), 403), ({"Authorization": "Convex wrong"}, 403)):
        for route in ("/test/reset", "/test/drain"):
            assert (await app.client.post(route, headers=headers)).status_code == status
    assert (noted.resets, noted.drains) == (0, [])


@pytest.mark.parametrize("options", [{}, {"production": True}, {"production": True, "test_mode": True}])
async def test_outside_of_test_mode_there_is_none_of_it(
    make_app: MakeApp, noted: Noted, options: dict[str, bool]
) -> None:
    app = await make_app(room, test_controls=noted.controls, **options)
    for route in ("/test/reset", "/test/drain"):
        assert (await app.client.post(route, headers=admin())).status_code == 404
    assert await seen(app, "query", "time", admin() | AT_LATER) == to_ms(NOW)
    assert await seen(app, "query", "time", admin() | {"Daysong-Now": "soon"}) == to_ms(NOW)
    assert noted.resets == 0
