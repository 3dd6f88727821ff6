"""Every answer RevenueCat is known to give is understood, in either version of its API; every error has its meaning."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from daysong.kernel.errors import VendorError
from daysong.kernel.settings import RevenueCatSettings
from daysong.kernel.time.clock import MovableClock, from_ms
from daysong.vendors.conftest import Answerer, fixture, fixtures
from daysong.vendors.revenuecat.answers import Customer, Purchase
from daysong.vendors.revenuecat.client import RevenueCat
from daysong.vendors.revenuecat.events import (
    check_authorization,
    check_signature,
    parse_event,
    parse_webhook,
)
from daysong.vendors.webhooks import MalformedEvent, UnsignedEvent

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
V2 = RevenueCatSettings(api_key="sk_v2", base_url="http://revenuecat.test", project_id="proj0000")
V1 = RevenueCatSettings(api_key="sk_v1", base_url="http://revenuecat.test")
PRODUCT = {"object": "product", "id": "prod0000000001", "store_identifier": "diary_premium_monthly"}
EMPTY: dict[str, Any] = {"object": "list", "items": [], "next_page": None, "url": ""}
ANONYMOUS = "$RCAnonymousID:00000000000000000000000000000001"


@pytest.fixture
async def revenuecat(answerer: Answerer) -> AsyncIterator[RevenueCat]:
    found = RevenueCat(V2, transport=answerer.transport, clock=MovableClock(NOW))
    yield found
    await found.close()


async def asked(settings: RevenueCatSettings, answerer: Answerer, who: str = "user_0001") -> Customer | None:
    found = RevenueCat(settings, transport=answerer.transport, clock=MovableClock(NOW))
    try:
        return await found.customer(who)
    finally:
        await found.close()


def only(customer: Customer | None) -> Purchase:
    assert customer is not None
    [purchase] = customer.purchases
    return purchase


# Of each recorded subscription: access, renews, trouble.
SUBSCRIPTIONS = {
    "v2-subscriptions-200-active": (True, True, False),
    "v2-subscriptions-200-active-will-change-product": (True, True, False),
    "v2-subscriptions-200-active-will-pause": (True, True, False),
    "v2-subscriptions-200-expired": (False, False, False),
    "v2-subscriptions-200-in-billing-retry": (False, True, True),
    "v2-subscriptions-200-incomplete": (False, True, False),
    "v2-subscriptions-200-paged": (True, True, False),
    "v2-subscriptions-200-paused": (False, True, False),
    "v2-subscriptions-200-sandbox": (True, True, False),
    "v2-subscriptions-200-trialing": (True, True, False),
    "v2-subscriptions-200-unknown": (False, False, False),
}


def test_every_recorded_answer_is_used_here() -> None:
    """A new recording without an expectation is noticed."""
    assert set(fixtures("revenuecat", "v2-subscriptions-*")) == set(SUBSCRIPTIONS)
    assert set(fixtures("revenuecat", "v1-subscriber-*")) == set(SUBSCRIBERS)
    assert set(fixtures("revenuecat", "v2-error-*")) == set(ERRORS)


@pytest.mark.parametrize("name", SUBSCRIPTIONS)
async def test_each_recorded_subscription_says_what_it_gives(
    revenuecat: RevenueCat, answerer: Answerer, name: str
) -> None:
    """Access by RevenueCat's own word, and the product by the name the store has for it."""
    access, renews, trouble = SUBSCRIPTIONS[name]
    answerer.will_answer(200, fixture(f"revenuecat/{name}.json"))
    if name.endswith("paged"):
        answerer.will_answer(200, EMPTY)
    answerer.will_answer(200, PRODUCT)
    answerer.will_answer(200, EMPTY)
    customer = await revenuecat.customer("user_0001")
    purchase = only(customer)
    assert (purchase.gives_access, purchase.renews, purchase.trouble) == (access, renews, trouble)
    assert purchase.product == "diary_premium_monthly"
    recorded = json.loads(fixture(f"revenuecat/{name}.json").read_bytes())["items"][0]
    assert purchase.ends_at == recorded["current_period_ends_at"]
    assert purchase.environment == recorded["environment"].upper()
    assert purchase.store == recorded["store"].upper()
    first = answerer.asked[0]
    assert (first.method, first.path) == ("GET", "/v2/projects/proj0000/customers/user_0001/subscriptions")
    assert first.query == "environment=production"
    assert first.headers["authorization"] == "Bearer sk_v2"


async def test_a_good_subscription_takes_one_question_and_its_product_another_once(
    revenuecat: RevenueCat, answerer: Answerer
) -> None:
    """What a product is called does not change."""
    active = fixture("revenuecat/v2-subscriptions-200-active.json")
    answerer.will_answer(200, active)
    answerer.will_answer(200, PRODUCT)
    answerer.will_answer(200, active)
    for _ in range(3):
        await revenuecat.customer("user_0001")
    assert [each.path.split("/")[-1] for each in answerer.asked] == [
        "subscriptions", "prod0000000001", "subscriptions", "subscriptions",
    ]  # fmt: skip


async def test_a_product_named_in_the_settings_is_not_looked_up(answerer: Answerer) -> None:
    """By RevenueCat's own id, for a key that may not read the project's configuration."""
    answerer.will_answer(200, fixture("revenuecat/v2-subscriptions-200-active.json"))
    settings = msgspec.structs.replace(V2, products={"prod0000000001": "monthly"})
    assert only(await asked(settings, answerer)).product == "prod0000000001"
    assert len(answerer.asked) == 1


async def test_pages_are_followed_within_the_list_and_nowhere_else(revenuecat: RevenueCat, answerer: Answerer) -> None:
    """The key is not sent to an address that an answer makes up."""
    paged = json.loads(fixture("revenuecat/v2-subscriptions-200-paged.json").read_bytes())
    answerer.will_answer(200, paged)
    answerer.will_answer(200, {**paged, "next_page": "https://evil.example/v2/more"})
    answerer.will_answer(200, PRODUCT)
    customer = await revenuecat.customer("user_0001")
    assert customer is not None
    assert len(customer.purchases) == 2
    assert answerer.asked[1].query == "starting_after=sub0000000001"


async def test_a_list_without_end_is_left(revenuecat: RevenueCat, answerer: Answerer) -> None:
    """After eleven pages."""
    answerer.will_answer(200, PRODUCT | json.loads(fixture("revenuecat/v2-subscriptions-200-paged.json").read_bytes()))
    assert await revenuecat.customer("user_0001")
    assert sum(each.path.endswith("subscriptions") for each in answerer.asked) == 11


async def test_what_was_bought_once_is_looked_for_when_no_subscription_is_good(
    revenuecat: RevenueCat, answerer: Answerer
) -> None:
    """An active entitlement that no subscription accounts for."""
    item = {
        "id": "purch1", "product_id": "prod1", "purchased_at": 1_790_000_000_000, "status": "owned",
        "store": "app_store", "environment": "production",
        "entitlements": {"items": [{"id": "entl0000000001", "lookup_key": "premium"}]},
    }  # fmt: skip
    answerer.will_answer(200, EMPTY)
    answerer.will_answer(200, fixture("revenuecat/v2-active-entitlements-200.json"))
    answerer.will_answer(200, {"items": [item, {**item, "id": "purch2", "status": "refunded"}], "next_page": None})
    answerer.will_answer(200, {**PRODUCT, "store_identifier": "diary_lifetime"})
    customer = await revenuecat.customer("user_0001")
    assert customer is not None
    assert [(each.product, each.gives_access, each.recurring, each.ends_at) for each in customer.purchases] == [
        ("diary_lifetime", True, False, None), ("diary_lifetime", False, False, None),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["v2-customer-200-none", "v2-customer-200-expand-attributes"])
async def test_a_customer_object_is_no_list(revenuecat: RevenueCat, answerer: Answerer, name: str) -> None:
    """An answer of another kind than the one asked for is not taken for an empty one."""
    answerer.will_answer(200, fixture(f"revenuecat/{name}.json"))
    with pytest.raises(VendorError, match="unreadable"):
        await revenuecat.customer("user_0001")


async def test_a_grace_period_ends_where_the_current_period_does(revenuecat: RevenueCat, answerer: Answerer) -> None:
    """Version 2 has no other word for it."""
    found = json.loads(fixture("revenuecat/v2-subscriptions-200-active.json").read_bytes())
    found["items"][0]["status"] = "in_grace_period"
    answerer.will_answer(200, found)
    answerer.will_answer(200, PRODUCT)
    purchase = only(await revenuecat.customer("user_0001"))
    assert (purchase.grace_until, purchase.trouble) == (1_796_889_600_000, True)


async def test_a_grant_from_the_dashboard_goes_by_its_entitlement(revenuecat: RevenueCat, answerer: Answerer) -> None:
    """It has no product."""
    found = json.loads(fixture("revenuecat/v2-subscriptions-200-active.json").read_bytes())
    found["items"][0] |= {"product_id": None, "store": "promotional"}
    answerer.will_answer(200, found)
    assert only(await revenuecat.customer("user_0001")).product == "rc_promo_premium"


async def test_ids_are_sent_as_they_are(revenuecat: RevenueCat, answerer: Answerer) -> None:
    """Whatever is in them is part of the id."""
    answerer.will_answer(404, fixture("revenuecat/v2-error-404-missing.json"))
    assert await revenuecat.customer("a/../b?c=d#e") is None
    assert answerer.asked[0].path == "/v2/projects/proj0000/customers/a/../b?c=d#e/subscriptions"
    assert await revenuecat.customer(ANONYMOUS) is None


# By recorded error: permanent, retry_after; None for an unknown customer.
ERRORS: dict[str, tuple[bool, float | None] | None] = {
    "v2-error-400-parameter": (True, None),
    "v2-error-403-authorization": (True, None),
    "v2-error-404-missing": None,
    "v2-error-409-exists": (True, None),
    "v2-error-422-unprocessable": (True, None),
    "v2-error-423-locked": (False, 1.0),
    "v2-error-429-rate-limit": (False, 1.0),
    "v2-error-500-server": (False, None),
    "v2-error-503-server": (False, None),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_each_recorded_error_says_whether_to_ask_again(
    revenuecat: RevenueCat, answerer: Answerer, name: str
) -> None:
    """No customer is an answer; the rest are failures that pass or do not."""
    status, expected = int(name.split("-")[2]), ERRORS[name]
    answerer.will_answer(status, fixture(f"revenuecat/{name}.json"))
    if expected is None:
        assert await revenuecat.customer("user_0001") is None
        return
    with pytest.raises(VendorError) as caught:
        await revenuecat.customer("user_0001")
    assert (caught.value.permanent, caught.value.retry_after) == expected
    assert caught.value.code == f"http_{status}"
    assert "key" not in str(caught.value)
    assert not caught.value.ambiguous


async def test_the_longer_of_two_waits_counts(revenuecat: RevenueCat, answerer: Answerer) -> None:
    """A header and the body may both say how long."""
    answerer.will_answer(429, fixture("revenuecat/v2-error-429-rate-limit.json"), {"retry-after": "30"})
    with pytest.raises(VendorError) as caught:
        await revenuecat.customer("user_0001")
    assert caught.value.retry_after == 30.0


@pytest.mark.parametrize(
    ("status", "body", "permanent"),
    [
        (200, b"<html>", False), (200, b"", False), (200, [], False), (200, {"items": None}, False),
        (404, b"<html>", True), (404, {"type": "something_else"}, True), (502, b"<html>", False), (401, {}, True),
        (429, b"", False), (418, {"retryable": True}, False),
    ],
)  # fmt: skip
async def test_an_answer_that_is_none_is_a_failure(
    revenuecat: RevenueCat, answerer: Answerer, status: int, body: object, permanent: bool
) -> None:
    """A page of a proxy is not taken for "no such customer"."""
    answerer.will_answer(status, body)
    with pytest.raises(VendorError) as caught:
        await revenuecat.customer("user_0001")
    assert caught.value.permanent is permanent


async def test_odd_items_are_read_as_far_as_they_go(revenuecat: RevenueCat, answerer: Answerer) -> None:
    """Missing fields, new stores and states, numbers in words."""
    items: list[Any] = [{}, {"store": 7, "gives_access": "yes", "current_period_ends_at": "soon"}, None, "x",
                        {"store": "new_store", "status": "new", "environment": "new", "ends_at": 1e300}]  # fmt: skip
    answerer.will_answer(200, {"items": items, "next_page": 7})
    answerer.will_answer(200, EMPTY)
    customer = await revenuecat.customer("user_0001")
    assert customer is not None
    assert [(each.store, each.gives_access, each.ends_at) for each in customer.purchases] == [
        ("UNKNOWN", False, None), ("UNKNOWN", False, None), ("NEW_STORE", False, None),
    ]  # fmt: skip


async def test_without_a_key_nothing_is_asked(answerer: Answerer) -> None:
    """A permanent VendorError names the setting."""
    with pytest.raises(VendorError, match="REVENUECAT_API_KEY") as caught:
        await asked(RevenueCatSettings(), answerer)
    assert caught.value.permanent
    assert answerer.asked == []


# Version 1: of each recorded subscriber: access, renews, trouble, product; None when nothing was bought.
MONTHLY = "diary_premium_monthly"
SUBSCRIBERS: dict[str, tuple[bool, bool, bool, str] | None] = {
    "v1-subscriber-200-active": (True, True, False, MONTHLY),
    "v1-subscriber-200-billing-retry-no-access": (False, False, True, MONTHLY),
    "v1-subscriber-200-cancelled-still-entitled": (True, False, False, MONTHLY),
    "v1-subscriber-200-expired": (False, False, False, MONTHLY),
    "v1-subscriber-200-grace": (True, True, True, MONTHLY),
    "v1-subscriber-200-none": None,
    "v1-subscriber-200-promotional": (True, True, False, "rc_promo_premium_monthly"),
    "v1-subscriber-200-refunded": (False, False, False, MONTHLY),
    "v1-subscriber-200-sandbox": (True, True, False, MONTHLY),
    "v1-subscriber-200-trial": (True, True, False, MONTHLY),
    "v1-subscriber-201-created": None,
}


@pytest.mark.parametrize("name", SUBSCRIBERS)
async def test_each_recorded_subscriber_says_the_same_in_version_1(answerer: Answerer, name: str) -> None:
    """Asked where there is no project id, compared with the answer's own clock."""
    answerer.will_answer(int(name.split("-")[2]), fixture(f"revenuecat/{name}.json"))
    customer, expected = await asked(V1, answerer), SUBSCRIBERS[name]
    assert answerer.asked[0].path == "/v1/subscribers/user_0001"
    if expected is None:
        assert customer == Customer()
        return
    purchase = only(customer)
    assert (purchase.gives_access, purchase.renews, purchase.trouble, purchase.product) == expected
    assert purchase.environment == ("SANDBOX" if "sandbox" in name else "PRODUCTION")
    assert from_ms(purchase.period_began) == datetime(2026, 11, 10, 8, tzinfo=UTC)
    if "grace" in name:
        assert purchase.grace_until is not None
        assert from_ms(purchase.grace_until) == datetime(2026, 12, 5, 8, tzinfo=UTC)


async def test_g30_version_1_keeps_a_play_stores_plan_in_a_field_of_its_own(answerer: Answerer) -> None:
    """The product is the one webhooks name: product:plan; one that has its plan already stays as it is."""
    found = json.loads(fixture("revenuecat/v1-subscriber-200-active.json").read_bytes())
    [item] = found["subscriber"]["subscriptions"].values()
    item |= {"store": "play_store", "product_plan_identifier": "eveokee-premium-monthly"}
    found["subscriber"]["subscriptions"] = {"eveokee_premium": item, "eveokee_premium:eveokee-premium-monthly": item}
    found["subscriber"]["subscriptions"]["without"] = item | {"product_plan_identifier": None}
    answerer.will_answer(200, found)
    customer = await asked(V1, answerer)
    assert customer is not None
    assert [each.product for each in customer.purchases] == [
        "eveokee_premium:eveokee-premium-monthly", "eveokee_premium:eveokee-premium-monthly", "without",
    ]  # fmt: skip


async def test_version_1_has_what_was_bought_once(answerer: Answerer) -> None:
    """Among the other purchases; with access when an entitlement names it."""
    found = json.loads(fixture("revenuecat/v1-subscriber-200-none.json").read_bytes())
    bought = [{"id": "a", "store": "app_store", "purchase_date": "2026-11-10T08:00:00Z", "is_sandbox": False}, None]
    found["subscriber"]["non_subscriptions"] = {"diary_lifetime": bought, "song_pack_10": bought, "odd": 7}
    found["subscriber"]["entitlements"] = {"premium": {"expires_date": None, "product_identifier": "diary_lifetime"}}
    answerer.will_answer(200, found)
    customer = await asked(V1, answerer)
    assert customer is not None
    assert [(each.product, each.gives_access) for each in customer.purchases] == [
        ("diary_lifetime", True), ("song_pack_10", False),
    ]  # fmt: skip


async def test_version_1_refuses_a_bad_key(answerer: Answerer) -> None:
    """Its errors are of another shape."""
    answerer.will_answer(401, fixture("revenuecat/v1-error-401.json"))
    with pytest.raises(VendorError) as caught:
        await asked(V1, answerer)
    assert (caught.value.permanent, caught.value.code) == (True, "http_401")


@pytest.mark.parametrize("name", fixtures("revenuecat", "webhook-*"))
def test_each_recorded_webhook_is_read(name: str) -> None:
    """Type, time and customer ids are parsed; personal data is not stored."""
    body = fixture(f"revenuecat/{name}.json").read_bytes()
    (event, stored), recorded = parse_webhook(body), json.loads(body)["event"]
    assert (event.id, event.type, event.at) == (recorded["id"], recorded["type"], recorded["event_timestamp_ms"])
    assert event.app_user_id == recorded.get("app_user_id")
    assert event.expires_at == recorded.get("expiration_at_ms")
    assert event.transferred_to == tuple(recorded.get("transferred_to", ()))
    assert set(event.app_user_ids) >= set(recorded.get("aliases", ()))
    assert "@" not in stored
    assert parse_event(stored.encode()) == event == parse_event(body)


def test_the_recorded_signature_is_good_for_five_minutes_and_its_own_body() -> None:
    """Whatever is in the body."""
    example = json.loads(fixture("revenuecat/signature-example.json").read_bytes())
    header, body = example["headers"]["X-RevenueCat-Webhook-Signature"], example["raw_body"].encode()
    now = from_ms(example["now_unix"] * 1000)
    for late in (-300, 0, 300):
        check_signature(header, body, now + timedelta(seconds=late), "a later one", example["secret"])
    for wrong in (
        lambda: check_signature(header, body, now + timedelta(seconds=301), example["secret"]),
        lambda: check_signature(header, body, now - timedelta(seconds=301), example["secret"]),
        lambda: check_signature(header, body + b" ", now, example["secret"]),
        lambda: check_signature(header, body, now, "another"),
        lambda: check_signature(None, body, now, example["secret"]),
        lambda: check_authorization(None, "secret"),
        lambda: check_authorization("secret ", "secrets"),
        lambda: parse_event(b"null"),
    ):
        with pytest.raises((UnsignedEvent, MalformedEvent)):
            wrong()
    check_authorization(example["headers"]["Authorization"], "made-up-static-value")
