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
    """Return the time that a query sees."""
    return to_ms(ctx.now)


@mutation
async def time_mutation(ctx: MutationContext, args: NoArgs) -> float:
    """Return the time that a mutation sees."""
    return to_ms(ctx.now)


@action
async def time_action(ctx: ActionContext, args: NoArgs) -> float:
    """Return the time that a query of an action sees."""
    return await ctx.run_query(time, NoArgs())


clock_module = module("clock", public=(time, time_mutation, time_action))


@dataclass
class Recorder:
    """Records the calls of the controls."""

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
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def app(make_app: MakeApp, recorder: Recorder) -> App:
    return await make_app(clock_module, test_mode=True, test_controls=recorder.controls)


async def time_of(app: App, kind: str, name: str, headers: dict[str, str]) -> Any:
    return (await app.call(kind, f"clock:{name}", headers=headers))["value"]


@pytest.mark.parametrize(("kind", "name"), [("query", "time"), ("mutation", "timeMutation"), ("action", "timeAction")])
async def test_an_admin_sets_the_time_of_a_call(app: App, kind: str, name: str) -> None:
    assert await time_of(app, kind, name, admin() | AT_LATER) == to_ms(LATER)
    assert await time_of(app, kind, name, admin()) == to_ms(NOW)


async def test_an_admin_acting_as_alice_sets_the_time_too(app: App) -> None:
    assert await time_of(app, "query", "time", admin({"issuer": ISSUER, "subject": "alice"}) | AT_LATER) == to_ms(LATER)


async def test_a_user_cannot_set_the_time(app: App, token: Token) -> None:
    assert await time_of(app, "query", "time", bearer(token("alice")) | AT_LATER) == to_ms(NOW)
    assert await time_of(app, "query", "time", AT_LATER) == to_ms(NOW)


@pytest.mark.parametrize("moment", ["", "soon", "nan", "inf", "1e300", "-1e18"])
async def test_an_invalid_time_is_refused(app: App, moment: str) -> None:
    answer = await app.client.post("/api/query", json={"path": "clock:time"}, headers=admin() | {"Daysong-Now": moment})
    assert (answer.status_code, answer.json()["code"]) == (400, "BadRequest")


async def test_reset_and_drain_call_the_controls(app: App, recorder: Recorder) -> None:
    assert (await app.client.post("/test/reset", headers=admin())).json() == {}
    assert (await app.client.post("/test/drain", headers=admin())).json() == {"ran": 7}
    assert (await app.client.post("/test/drain", json={"until": to_ms(LATER)}, headers=admin())).json() == {"ran": 7}
    assert (recorder.resets, recorder.drains) == (1, [None, LATER])


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"until": "soon"}', b'{"until": 1e300}', b'{"unless": 1}'])
async def test_a_drain_with_an_invalid_body_is_refused(app: App, recorder: Recorder, body: bytes) -> None:
    answer = await app.client.post("/test/drain", content=body, headers=admin())
    assert (answer.status_code, recorder.drains) == (400, [])


async def test_only_the_admin_may_reset_and_drain(app: App, recorder: Recorder, token: Token) -> None:
    for headers, status in (({}, 403), (bearer(token("alice")), 403), ({"Authorization": "Convex wrong"}, 403)):
        for route in ("/test/reset", "/test/drain"):
            assert (await app.client.post(route, headers=headers)).status_code == status
    assert (recorder.resets, recorder.drains) == (0, [])


@pytest.mark.parametrize("options", [{}, {"production": True}, {"production": True, "test_mode": True}])
async def test_outside_of_test_mode_neither_routes_nor_header_work(
    make_app: MakeApp, recorder: Recorder, options: dict[str, bool]
) -> None:
    app = await make_app(clock_module, test_controls=recorder.controls, **options)
    for route in ("/test/reset", "/test/drain"):
        assert (await app.client.post(route, headers=admin())).status_code == 404
    assert await time_of(app, "query", "time", admin() | AT_LATER) == to_ms(NOW)
    assert await time_of(app, "query", "time", admin() | {"Daysong-Now": "soon"}) == to_ms(NOW)
    assert recorder.resets == 0
