"""What each recorded answer of RevenueCat's makes of somebody, and what single events do that stand alone."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daysong.features.subscriptions.events import Book, Policy, apply, deliver
from daysong.features.subscriptions.holdings import NOTHING, Holdings, Line, spans, summary
from daysong.features.subscriptions.reconciling import UNTIL_ASKED_AGAIN, reconciled
from daysong.features.subscriptions.rules import tier_at
from daysong.kernel.time.clock import from_ms
from daysong.vendors.revenuecat import answers as revenuecat_answers
from daysong.vendors.revenuecat.answers import Customer, customer_v1, subscription_v2
from daysong.vendors.revenuecat.events import BillingEvent

FIXTURES = Path(revenuecat_answers.__file__).parent / "fixtures"
ASKED = 1_795_161_600_000  # the moment of the recorded answers
NOW = from_ms(ASKED)
MONTHLY, YEARLY = "diary_premium_monthly", "diary_premium_yearly"
POLICY = Policy({MONTHLY: "monthly", YEARLY: "yearly", "rc_promo_premium": "monthly", "prod0000000001": "monthly"})

# Who had nothing, or was thought to have a month, and how they stand after the answer.
STANDINGS: dict[str, tuple[str, str]] = {
    "v1-subscriber-200-active": ("monthly", "active"),
    "v1-subscriber-200-billing-retry-no-access": ("free", "expired"),
    "v1-subscriber-200-cancelled-still-entitled": ("monthly", "canceled"),
    "v1-subscriber-200-expired": ("free", "expired"),
    "v1-subscriber-200-grace": ("monthly", "in_grace"),
    "v1-subscriber-200-promotional": ("monthly", "active"),
    "v1-subscriber-200-refunded": ("free", "expired"),
    "v1-subscriber-200-trial": ("monthly", "active"),
    "v2-subscriptions-200-active": ("monthly", "active"),
    "v2-subscriptions-200-active-will-change-product": ("monthly", "active"),
    "v2-subscriptions-200-active-will-pause": ("monthly", "active"),
    "v2-subscriptions-200-expired": ("free", "expired"),
    "v2-subscriptions-200-in-billing-retry": ("free", "expired"),
    "v2-subscriptions-200-incomplete": ("free", "expired"),
    "v2-subscriptions-200-paged": ("monthly", "active"),
    "v2-subscriptions-200-paused": ("free", "expired"),
    "v2-subscriptions-200-trialing": ("monthly", "active"),
    "v2-subscriptions-200-unknown": ("free", "expired"),
}
SANDBOXED = ("v1-subscriber-200-sandbox", "v2-subscriptions-200-sandbox")


def answer(name: str) -> Customer:
    """A recorded answer."""
    found = json.loads((FIXTURES / f"{name}.json").read_bytes())
    if name.startswith("v1"):
        return customer_v1(found)
    return Customer(tuple(subscription_v2(item, item["product_id"]) for item in found["items"]))


def after(customer: Customer | None, before: Holdings = NOTHING, asked_at: int = ASKED) -> Holdings:
    """Somebody after an answer."""
    return reconciled(Book({"one": before}, {}), "one", customer, asked_at, POLICY).customers["one"]


def thought_to_have_a_month() -> Holdings:
    """Somebody whose end we have not heard of."""
    lines = {f"PRODUCTION/APP_STORE/{MONTHLY}": Line(ASKED - 1000, MONTHLY, "monthly", NOW + timedelta(days=20))}
    return Holdings(lines=lines)


@pytest.mark.parametrize("before", [NOTHING, thought_to_have_a_month()], ids=["had nothing", "had a month"])
@pytest.mark.parametrize("name", STANDINGS)
def test_an_answer_is_right_whatever_we_thought(name: str, before: Holdings) -> None:
    """A lost purchase is found, and a lost end as well; asked again at once, nothing changes."""
    found = after(answer(name), before)
    stands = summary(found.lines, NOW)
    assert (stands.tier, stands.status) == STANDINGS[name]
    assert tier_at(spans(found.lines), NOW) == stands.tier
    assert after(answer(name), found) == found
    assert after(answer(name), found, ASKED + 1).lines == found.lines


@pytest.mark.parametrize("name", SANDBOXED)
def test_purchases_of_a_stores_sandbox_count_only_where_they_are_to(name: str) -> None:
    """The answer may have them; and what was let in before is no longer good when it is not to be."""
    assert summary(after(answer(name)).lines, NOW).tier == "free"
    one = Book({"one": NOTHING}, {})
    policy = Policy({MONTHLY: "monthly", "prod0000000001": "monthly"}, accept_sandbox=True)
    let_in = reconciled(one, "one", answer(name), ASKED, policy).customers["one"]
    assert summary(let_in.lines, NOW).tier == "monthly"
    assert summary(after(answer(name), let_in).lines, NOW).tier == "free"


def test_what_is_no_longer_spoken_of_has_ended_and_nothing_else() -> None:
    """An empty answer ends it; an answer that knows of no such customer does not."""
    assert summary(after(Customer(), thought_to_have_a_month()).lines, NOW).status == "expired"
    unknown = after(None, thought_to_have_a_month())
    assert unknown.lines == thought_to_have_a_month().lines
    assert unknown.verified_at == ASKED


def test_access_without_a_known_end_is_good_until_we_ask_again() -> None:
    """In a grace period of which the answer does not tell the end: never for ever."""
    item: dict[str, Any] = json.loads((FIXTURES / "v2-subscriptions-200-active.json").read_bytes())["items"][0]
    item |= {"status": "in_grace_period", "current_period_ends_at": ASKED - 1000}
    found = after(Customer((subscription_v2(item, MONTHLY),)))
    assert summary(found.lines, NOW).status == "in_grace"
    assert tier_at(spans(found.lines), NOW + UNTIL_ASKED_AGAIN) == "free"


def test_the_best_of_several_counts_until_each_has_ended() -> None:
    """Of two stores, and of two subscriptions in one store."""
    item: dict[str, Any] = json.loads((FIXTURES / "v2-subscriptions-200-active.json").read_bytes())["items"][0]
    day = 86_400_000
    month = subscription_v2(item | {"id": "a", "current_period_ends_at": ASKED + 30 * day}, MONTHLY)
    year = subscription_v2(item | {"id": "b", "current_period_ends_at": ASKED + 9 * day}, YEARLY)
    elsewhere = subscription_v2(item | {"id": "c", "store": "stripe", "current_period_ends_at": ASKED + day}, YEARLY)
    for purchases in ((month, year), (year, month), (month, elsewhere), (month, year, elsewhere)):
        lines = after(Customer(purchases)).lines
        ends = 9 if year in purchases else 1
        for days, tier in ((0, "yearly"), (ends, "monthly"), (30, "free")):
            assert tier_at(spans(lines), NOW + timedelta(days=days)) == tier


def test_a_product_nobody_has_named_is_worth_nothing_and_a_promotion_goes_by_its_entitlement() -> None:
    """With or without its duration."""
    item: dict[str, Any] = json.loads((FIXTURES / "v2-subscriptions-200-active.json").read_bytes())["items"][0]
    for product, tier in (
        ("new_product", "free"), ("rc_promo_premium_monthly", "monthly"), ("rc_promo_premium", "monthly"),
        ("rc_promo_other_monthly", "free"),
    ):  # fmt: skip
        assert tier_at(spans(after(Customer((subscription_v2(item, product),))).lines), NOW) == tier


def event(kind: str, **more: Any) -> BillingEvent:
    """An event of the recorded moment."""
    known: dict[str, Any] = {
        "id": kind,
        "type": kind,
        "at": ASKED,
        "store": "APP_STORE",
        "product_id": MONTHLY,
        "purchased_at": ASKED,
    }
    return BillingEvent(**(known | more))


def test_an_event_of_a_newer_period_brings_its_product_along() -> None:
    """The renewal that changed the product was lost; its billing issue names the product."""
    lines = apply({}, event("INITIAL_PURCHASE", at=ASKED - 5000, purchased_at=ASKED - 5000, expires_at=ASKED), POLICY)
    unpaid = event("BILLING_ISSUE", product_id=YEARLY, expires_at=ASKED, grace_until=ASKED + 1000)
    assert tier_at(spans(apply(lines, unpaid, POLICY)), NOW) == "yearly"


@pytest.mark.parametrize("kind", ["CANCELLATION", "UNCANCELLATION", "SUBSCRIPTION_PAUSED", "PRODUCT_CHANGE", "RENEWAL"])
def test_what_is_said_of_nothing_or_without_an_end_grants_nothing(kind: str) -> None:
    """The purchase was lost, or the event is not whole: RevenueCat's answer will tell."""
    assert apply({}, event(kind, reason="UNSUBSCRIBE"), POLICY) == {}


def test_a_purchase_without_an_end_lasts_until_it_is_refunded() -> None:
    """And the store's subscription goes on beside it."""
    bought = event("NON_RENEWING_PURCHASE", product_id=YEARLY, unlocks=True)
    lines = apply({}, event("INITIAL_PURCHASE", expires_at=ASKED + 1000), POLICY)
    lines = apply(lines, bought, POLICY)
    assert tier_at(spans(lines), NOW + timedelta(days=5000)) == "yearly"
    lines = apply(lines, event("CANCELLATION", product_id=YEARLY, reason="CUSTOMER_SUPPORT"), POLICY)
    assert tier_at(spans(lines), NOW) == "monthly"
    assert apply({}, event("NON_RENEWING_PURCHASE", product_id=YEARLY), POLICY) == {}


def test_a_grant_lasts_a_day_at_most_and_ends_with_its_transaction() -> None:
    """Whatever the event says; and its end leaves the subscription alone."""
    lines = apply(
        {}, event("INITIAL_PURCHASE", expires_at=ASKED + 90_000_000, at=ASKED - 1, purchased_at=ASKED - 1), POLICY
    )
    grant = event("TEMPORARY_ENTITLEMENT_GRANT", product_id=YEARLY, transaction_id="t", expires_at=ASKED * 2)
    granted = apply(lines, grant, POLICY)
    assert tier_at(spans(granted), NOW + timedelta(hours=23, minutes=59)) == "yearly"
    assert tier_at(spans(granted), NOW + timedelta(hours=24)) == "monthly"
    ended = apply(granted, event("EXPIRATION", transaction_id="t", expires_at=ASKED, at=ASKED + 1), POLICY)
    assert ended == lines


def test_only_so_many_events_are_kept() -> None:
    """Where RevenueCat is never asked, older ones are summed up."""
    book = Book({"one": NOTHING}, {"one": "one"})
    for number in range(200):
        began = ASKED + number * 1000
        renewal = event(
            "RENEWAL", id=str(number), at=began, purchased_at=began, expires_at=began + 2000, app_user_id="one"
        )
        book = deliver(book, renewal, POLICY)
    held = book.customers["one"]
    assert len(held.told.events) == 60
    assert held.lines[f"PRODUCTION/APP_STORE/{MONTHLY}"].expires_at == from_ms(ASKED + 201_000)
