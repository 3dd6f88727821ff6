"""The real RevenueCat client against the sandbox: buying, asking, and webhooks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from daysong.kernel.errors import VendorError
from daysong.kernel.time.clock import MovableClock, to_ms
from daysong.sandbox.app import Pace, Sandbox
from daysong.sandbox.conftest import NOW, ORIGIN, recorded, shape
from daysong.sandbox.vendor import Message, Receive, Scope, Send
from daysong.vendors.revenuecat.answers import Purchase
from daysong.vendors.revenuecat.client import RevenueCat
from daysong.vendors.revenuecat.events import BillingEvent, check_authorization, check_signature, parse_event

pytestmark = pytest.mark.anyio

MONTHLY = "eveokee_premium_monthly"


class Shop:
    """The sandbox, the real client pointed at it, and an app that receives webhooks."""

    def __init__(self, data_dir: Path, pace: Pace | None = None) -> None:
        self.clock = MovableClock(NOW)
        self.told: list[BillingEvent] = []
        self.answers_with = 200
        self._webhooks = httpx2.AsyncClient(transport=httpx2.ASGITransport(self._take))
        self.sandbox = Sandbox(ORIGIN, data_dir=data_dir, pace=pace, http=self._webhooks, clock=self.clock)
        wire = httpx2.ASGITransport(self.sandbox.asgi)
        self.settings = self.sandbox.revenuecat_settings()
        self.client = RevenueCat(self.settings, transport=wire, timeout=1.0, clock=self.clock)
        self.http = httpx2.AsyncClient(transport=wire, base_url=f"{ORIGIN}/sandbox/revenuecat/")

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"] == "/http/revenuecat-webhook"
        body = b""
        message: Message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        check_authorization(headers["authorization"], self.settings.webhook_secret or "")
        signature = headers["x-revenuecat-webhook-signature"]
        check_signature(signature, body, self.clock.now(), self.settings.webhook_hmac_secret or "")
        self.told.append(parse_event(body))
        await send({"type": "http.response.start", "status": self.answers_with, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def act(self, act: str, who: str = "alice", status: int = 200, **more: Any) -> Any:
        answer = await self.http.post(act, json={"appUserId": who, **more})
        assert answer.status_code == status, answer.text
        return answer.json()

    async def bought(self, who: str = "alice") -> list[Purchase]:
        customer = await self.client.customer(who)
        return list(customer.purchases) if customer else []

    async def close(self) -> None:
        await self.sandbox.close()
        await self.client.close()
        await self.http.aclose()
        await self._webhooks.aclose()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    opened = Shop(tmp_path)
    yield opened
    await opened.close()


async def test_somebody_buys_and_can_be_asked_about(shop: Shop) -> None:
    """By any of their ids; other ids are unknown."""
    assert await shop.client.customer("alice") is None
    await shop.act("purchase", productId=MONTHLY)
    await shop.act("alias", to="$RCAnonymousID:1")
    for name in ("alice", "$RCAnonymousID:1"):
        [bought] = await shop.bought(name)
        assert (bought.product, bought.store, bought.gives_access, bought.renews) == (MONTHLY, "APP_STORE", True, True)
        assert bought.ends_at == to_ms(NOW + timedelta(days=30))
    shop.clock.forward(timedelta(days=30))
    assert [each.gives_access for each in await shop.bought()] == [False]


async def test_answers_are_shaped_as_recorded(shop: Shop) -> None:
    """The same fields of the same kinds."""
    headers = {"Authorization": f"Bearer {shop.settings.api_key}"}
    base = f"v2/projects/{shop.settings.project_id}/customers"
    await shop.act("purchase", productId=MONTHLY)
    found = (await shop.http.get(f"{base}/alice/subscriptions", headers=headers)).json()
    assert shape(found) == shape(recorded("revenuecat/v2-subscriptions-200-active")) | {
        "items": [json.dumps(shape(found["items"][0]), sort_keys=True)]
    }
    wanted = shape(recorded("revenuecat/v2-subscriptions-200-active")["items"][0]) | {"management_url": "NoneType"}
    assert shape(found["items"][0]) == wanted
    entitlements = (await shop.http.get(f"{base}/alice/active_entitlements", headers=headers)).json()
    assert shape(entitlements) == shape(recorded("revenuecat/v2-active-entitlements-200"))
    missing = await shop.http.get(f"{base}/nobody/subscriptions", headers=headers)
    assert (missing.status_code, shape(missing.json())) == (404, shape(recorded("revenuecat/v2-error-404-missing")))
    assert (await shop.http.get(f"{base}/alice/subscriptions")).status_code == 401


async def test_webhooks_are_shaped_as_recorded(shop: Shop) -> None:
    """Every field there is, and no other."""
    for act, name, more in (
        ("purchase", "initial-purchase", {"productId": MONTHLY}),
        ("renew", "renewal", {}),
        ("cancel", "cancellation-unsubscribe", {}),
        ("refund", "cancellation-customer-support-refund", {}),
        ("pause", "subscription-paused", {}),
        ("change-product", "product-change-app-store", {"productId": MONTHLY, "mode": "deferred"}),
        ("billing-issue", "billing-issue-with-grace", {"days": 3}),
        ("expire", "expiration-unsubscribe", {}),
        ("grant", "temporary-entitlement-grant-full", {"productId": MONTHLY}),
        ("transfer", "transfer", {"to": "bob"}),
    ):  # fmt: skip
        event = (await shop.act(act, **more))[0]
        wanted = recorded(f"revenuecat/webhook-{name}")["event"].keys()
        assert event.keys() - {"app_id"} == wanted - {"is_trial_conversion", "app_id"}, name


async def test_the_app_is_told_when_all_is_settled_or_at_once(shop: Shop, tmp_path: Path) -> None:
    """Authorized and signed; tried again until it says 200."""
    await shop.act("purchase", productId=MONTHLY)
    assert shop.told == []
    await shop.sandbox.settle()
    assert [event.type for event in shop.told] == ["INITIAL_PURCHASE"]
    shop.answers_with = 500
    await shop.act("cancel")
    await shop.sandbox.settle()
    assert [event.type for event in shop.told[1:]] == ["CANCELLATION"] * 6
    assert [message["status"] for message in (await shop.http.get("webhooks")).json()] == [200, 500]

    live = Shop(tmp_path, pace=Pace())
    await live.act("purchase", productId=MONTHLY)
    await live.sandbox.settle()
    assert [event.type for event in live.told] == ["INITIAL_PURCHASE"]
    await live.close()


@pytest.mark.parametrize(("fault", "times"), [("lost", 0), ("duplicated", 2), ("shuffled", 2)])
async def test_webhooks_can_be_spoilt(shop: Shop, fault: str, times: int) -> None:
    """Lost, duplicated, out of order; and redelivered by hand."""
    await shop.http.post("faults", json={"webhooks": fault})
    await shop.act("purchase", productId=MONTHLY)
    for _ in range(5):
        await shop.act("cancel")
    await shop.sandbox.settle()
    assert len(shop.told) == 6 * times
    assert len({event.id for event in shop.told}) == (6 if times else 0)
    shop.told.clear()
    await shop.http.post("redeliver")
    assert len(shop.told) == 6


@pytest.mark.parametrize(
    ("fault", "permanent", "wait"),
    [({"status": 503}, False, 1.0), ({"status": 429, "retryAfter": 7}, False, 7.0), ({"status": 401}, True, None),
     ({"hang": True}, False, None), ({"drop": True}, False, None), ({"answer": "garbage"}, False, None)],
)  # fmt: skip
async def test_asking_can_fail(shop: Shop, fault: dict[str, Any], permanent: bool, wait: float | None) -> None:
    """Every fault of the real API."""
    await shop.act("purchase", productId=MONTHLY)
    await shop.http.post("faults", json=fault)
    with pytest.raises(VendorError) as caught:
        await shop.bought()
    assert (caught.value.permanent, caught.value.retry_after) == (permanent, wait)


async def test_long_lists_come_in_pages_and_environments_apart(shop: Shop) -> None:
    """Twenty-five subscriptions in as many stores, and one from a sandbox."""
    for number in range(25):
        await shop.act("purchase", productId=MONTHLY, store=f"STORE_{number}")
    await shop.act("purchase", productId=MONTHLY, environment="SANDBOX")
    assert len({each.store for each in await shop.bought() if each.environment == "PRODUCTION"}) == 25
    pages = await shop.http.get("log")
    assert sum("subscriptions" in call["path"] for call in pages.json()) == 2


async def test_what_was_bought_once_has_no_end(shop: Shop) -> None:
    """It is found when no subscription gives access."""
    await shop.act("buy-once", productId="diary_lifetime")
    assert [(each.product, each.gives_access, each.ends_at) for each in await shop.bought()] == [
        ("diary_lifetime", True, None)
    ]


@pytest.mark.parametrize(
    ("act", "body"),
    [("purchase", {}), ("renew", {}), ("transfer", {}), ("alias", {}), ("purchase", {"surprise": 1}),
     ("change-product", {"productId": MONTHLY}), ("cancel", {"days": 0})],
)  # fmt: skip
async def test_what_cannot_be_is_refused(shop: Shop, act: str, body: dict[str, Any]) -> None:
    """Nothing to renew, no customer to transfer to, an unknown word."""
    assert (await shop.act(act, status=400, **body))["error"]


async def test_an_unknown_act_is_not_found(shop: Shop) -> None:
    """It is taken for a call of the API, which has no such path."""
    assert (await shop.http.post("explode", json={"appUserId": "alice"})).status_code == 401
