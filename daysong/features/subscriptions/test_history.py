"""Whatever happens to a subscriber, and in whatever order we hear of it: everybody has the plan they should have.

The oracle (`rehearsal/subscribers.py`) keeps what the store has sold, and knows nothing of events.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daysong.features.subscriptions.entitlements import EMPTY, CustomerState, Entitlement, History, spans, summary
from daysong.features.subscriptions.events import Policy, apply
from daysong.features.subscriptions.history import (
    UNDATED_ACCESS,
    Customers,
    add_event,
    apply_answer,
    merge_entitlements,
    merge_states,
)
from daysong.features.subscriptions.rules import PRODUCTS, tier_at
from daysong.kernel.time.clock import from_ms
from daysong.vendors.revenuecat import answers as revenuecat_answers
from daysong.vendors.revenuecat.answers import Customer, customer_v1, subscription_v2
from daysong.vendors.revenuecat.events import BillingEvent, parse_event
from rehearsal.subscribers import ACTS, DAY, PEOPLE, Step, Store, histories

BEGIN = 1_795_435_200_000
POLICY = Policy(PRODUCTS)
MANY = settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SOME = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def no_customers() -> Customers:
    """Return both customers without history."""
    return Customers(dict.fromkeys(PEOPLE, EMPTY), {name: name for name in PEOPLE})


def with_events(customers: Customers, told: Iterable[dict[str, Any]]) -> Customers:
    """Return the customers after these webhooks."""
    for event in told:
        customers = add_event(customers, parse_event(json.dumps({"event": event}).encode()), POLICY)
    return customers


def asked(customers: Customers, store: Store) -> Customers:
    """Return the customers after RevenueCat was asked about all of them."""
    return answered(customers, store.now, {name: store.answer(name) for name in PEOPLE})


def store_after(history: list[Step]) -> Store:
    """Return the store after a history, without impossible steps."""
    store = Store(BEGIN)
    for step in history:
        store.happens(step)
    return store


def assert_agree(customers: Customers, store: Store) -> None:
    """Assert that both agree about each customer at every later moment."""
    moments = {store.now, store.now + 500 * DAY}
    for turn in store.turning_points():
        moments |= {turn - 1, turn, turn + 1}
    for name in PEOPLE:
        for moment in sorted(moments):
            if moment >= store.now:
                tier = tier_at(spans(customers.states[name].entitlements), from_ms(moment))
                assert tier == store.tier(name, moment), (name, moment - store.now)


@pytest.mark.slow
@MANY
@given(histories(), st.randoms(use_true_random=False))
def test_webhooks_in_any_order_and_any_number_agree_with_the_store(history: list[Step], dice: random.Random) -> None:
    """Webhooks are delivered twice and shuffled, and compared at any moment of the history."""
    until = dice.randint(1, len(history))
    for end in {until, len(history)}:
        store = store_after(history[:end])
        told = store.told + dice.choices(store.told, k=len(store.told))
        dice.shuffle(told)
        assert_agree(with_events(no_customers(), told), store)


@pytest.mark.slow
@SOME
@given(histories())
def test_answers_alone_agree_with_the_store_when_every_webhook_is_lost(history: list[Step]) -> None:
    """RevenueCat is asked once at the end, or several times."""
    customers, store = no_customers(), Store(BEGIN)
    for step in history:
        if store.happens(step) and step.after % 3 == 0:
            customers = asked(customers, store)
            assert_agree(customers, store)
    assert_agree(asked(no_customers(), store), store)
    assert_agree(asked(customers, store), store)


@pytest.mark.slow
@SOME
@given(histories(acts=ACTS), st.randoms(use_true_random=False))
def test_answers_and_late_webhooks_together_agree_with_the_store(history: list[Step], dice: random.Random) -> None:
    """RevenueCat answers in the middle; some earlier webhooks are lost, some are late, and all are shuffled."""
    customers, store = no_customers(), Store(BEGIN)
    asked_after = dice.randrange(len(history))
    before = 0
    for place, step in enumerate(history):
        store.happens(step)
        if place == asked_after:
            before = len(store.told)
            customers = asked(with_events(customers, dice.sample(store.told, dice.randint(0, before))), store)
    late = store.told[before:] + dice.sample(store.told[:before], dice.randint(0, before))
    dice.shuffle(late)
    assert_agree(with_events(customers, late), store)


@pytest.mark.slow
@SOME
@given(histories(acts=ACTS), st.randoms(use_true_random=False))
def test_an_older_answer_never_replaces_anything_newer(history: list[Step], dice: random.Random) -> None:
    """The answer to the latest request counts, in whatever order answers arrive; later events are kept."""
    store, answers = Store(BEGIN), []
    for step in history:
        store.happens(step)
        answers.append((store.now, {name: store.answer(name) for name in PEOPLE}))
    late = dice.choice(answers)
    dice.shuffle(answers)
    customers = no_customers()
    for asked_at, answer in answers:
        customers = answered(customers, asked_at, answer)
    assert_agree(customers, store)
    assert_agree(answered(with_events(no_customers(), store.told), *late), store)


def answered(customers: Customers, asked_at: int, answer: dict[str, list[dict[str, Any]]]) -> Customers:
    """Return the customers after RevenueCat's answers about all of them."""
    for name in PEOPLE:
        items = [subscription_v2(item, item["product_id"]) for item in answer[name]]
        customers = apply_answer(customers, name, Customer(tuple(items)), asked_at, POLICY)
    return customers


@pytest.mark.slow
@SOME
@given(histories(), st.randoms(use_true_random=False))
def test_the_result_is_one_and_the_same_whatever_the_order(history: list[Step], dice: random.Random) -> None:
    """The whole stored state is the same, not only the plan."""
    told = store_after(history).told
    one = with_events(no_customers(), told)
    shuffled = told * 2
    dice.shuffle(shuffled)
    assert with_events(no_customers(), shuffled).states == one.states


@pytest.mark.slow
@SOME
@given(histories(), st.randoms(use_true_random=False))
def test_merged_customers_have_all_entitlements(history: list[Step], dice: random.Random) -> None:
    """Events about an unclaimed customer and about a user are merged."""
    store = store_after([step for step in history if step.act != "transfer" and step.who == PEOPLE[0]] or history[:1])
    parts: list[list[dict[str, Any]]] = [[], []]
    for event in store.told:
        dice.choice(parts).append(event)
    first, second = (with_events(no_customers(), part).states[PEOPLE[0]] for part in parts)
    customers = Customers({PEOPLE[0]: merge_states(first, second), PEOPLE[1]: EMPTY}, {name: name for name in PEOPLE})
    assert_agree(with_events(customers, store.told[:1]), store)


@pytest.mark.parametrize("answer", [None, Customer()])
def test_f51_a_free_person_stays_free(answer: Customer | None) -> None:
    """An empty or missing customer at RevenueCat ends nothing."""
    customers = apply_answer(no_customers(), PEOPLE[0], answer, BEGIN, POLICY)
    assert customers.states[PEOPLE[0]] == CustomerState(verified_at=BEGIN)


def test_of_events_of_the_same_time_the_expiration_is_last() -> None:
    """A purchase, a failed payment and an expiration of the same millisecond have a fixed order."""
    common = {
        "app_user_id": PEOPLE[0], "event_timestamp_ms": BEGIN, "purchased_at_ms": BEGIN, "store": "APP_STORE",
        "product_id": "eveokee_premium_monthly", "expiration_at_ms": BEGIN + 30 * DAY,
    }  # fmt: skip
    told = [
        common | {"id": "c", "type": "INITIAL_PURCHASE"},
        common | {"id": "b", "type": "BILLING_ISSUE", "grace_period_expiration_at_ms": BEGIN + 40 * DAY},
        common | {"id": "a", "type": "EXPIRATION"},
    ]
    for order in permutations(told):
        lines = with_events(no_customers(), order).states[PEOPLE[0]].entitlements
        assert tier_at(spans(lines), from_ms(BEGIN)) == "free"


def test_of_two_entitlements_to_one_product_the_later_period_stays() -> None:
    """When two customers are merged the later period counts; of the same period, the first's."""
    name = "PRODUCTION/APP_STORE/product"
    old, new = (Entitlement(period, "product", "monthly", None) for period in (1, 2))
    same = Entitlement(2, "product", "yearly", None)
    for own, more, stays in ((old, new, new), (new, old, new), (new, same, new)):
        assert merge_entitlements({name: own}, {name: more}) == {name: stays}


FIXTURES = Path(revenuecat_answers.__file__).parent / "fixtures"
ASKED = 1_795_161_600_000  # the moment of the recorded answers
NOW = from_ms(ASKED)
MONTHLY, YEARLY = "diary_premium_monthly", "diary_premium_yearly"
RECORDED = Policy({MONTHLY: "monthly", YEARLY: "yearly", "rc_promo_premium": "monthly", "prod0000000001": "monthly"})

# The plan and status after each recorded answer, with no entitlement or a month before it.
STATUS_AFTER: dict[str, tuple[str, str]] = {
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
    """Return a recorded answer."""
    found = json.loads((FIXTURES / f"{name}.json").read_bytes())
    if name.startswith("v1"):
        return customer_v1(found)
    return Customer(tuple(subscription_v2(item, item["product_id"]) for item in found["items"]))


def after(customer: Customer | None, before: CustomerState = EMPTY, asked_at: int = ASKED) -> CustomerState:
    """Return a customer's state after an answer."""
    return apply_answer(Customers({"one": before}, {}), "one", customer, asked_at, RECORDED).states["one"]


def with_a_missed_end() -> CustomerState:
    """Return a customer with a month whose end was missed."""
    lines = {f"PRODUCTION/APP_STORE/{MONTHLY}": Entitlement(ASKED - 1000, MONTHLY, "monthly", NOW + timedelta(days=20))}
    return CustomerState(entitlements=lines)


@pytest.mark.parametrize("before", [EMPTY, with_a_missed_end()], ids=["had nothing", "had a month"])
@pytest.mark.parametrize("name", STATUS_AFTER)
def test_an_answer_wins_over_the_state_before(name: str, before: CustomerState) -> None:
    """A missed purchase and a missed end are found; the same answer again changes nothing."""
    found = after(answer(name), before)
    stands = summary(found.entitlements, NOW)
    assert (stands.tier, stands.status) == STATUS_AFTER[name]
    assert tier_at(spans(found.entitlements), NOW) == stands.tier
    assert after(answer(name), found) == found
    assert after(answer(name), found, ASKED + 1).entitlements == found.entitlements


@pytest.mark.parametrize("name", SANDBOXED)
def test_sandbox_purchases_count_only_when_accepted(name: str) -> None:
    """Sandbox purchases in an answer are ignored, and accepted ones stop counting when ACCEPT_SANDBOX is turned off."""
    assert summary(after(answer(name)).entitlements, NOW).tier == "free"
    one = Customers({"one": EMPTY}, {})
    policy = Policy({MONTHLY: "monthly", "prod0000000001": "monthly"}, accept_sandbox=True)
    let_in = apply_answer(one, "one", answer(name), ASKED, policy).states["one"]
    assert summary(let_in.entitlements, NOW).tier == "monthly"
    assert summary(after(answer(name), let_in).entitlements, NOW).tier == "free"


def test_what_an_answer_leaves_out_has_ended() -> None:
    """An answer without the purchase ends it; an unknown customer does not."""
    assert summary(after(Customer(), with_a_missed_end()).entitlements, NOW).status == "expired"
    unknown = after(None, with_a_missed_end())
    assert unknown.entitlements == with_a_missed_end().entitlements
    assert unknown.verified_at == ASKED


def test_access_without_an_end_is_limited() -> None:
    """A grace period without an end in the answer is limited."""
    item: dict[str, Any] = json.loads((FIXTURES / "v2-subscriptions-200-active.json").read_bytes())["items"][0]
    item |= {"status": "in_grace_period", "current_period_ends_at": ASKED - 1000}
    found = after(Customer((subscription_v2(item, MONTHLY),)))
    assert summary(found.entitlements, NOW).status == "in_grace"
    assert tier_at(spans(found.entitlements), NOW + UNDATED_ACCESS) == "free"


def test_the_best_of_several_counts_until_each_has_ended() -> None:
    """Two stores, and two subscriptions in one store."""
    item: dict[str, Any] = json.loads((FIXTURES / "v2-subscriptions-200-active.json").read_bytes())["items"][0]
    day = 86_400_000
    month = subscription_v2(item | {"id": "a", "current_period_ends_at": ASKED + 30 * day}, MONTHLY)
    year = subscription_v2(item | {"id": "b", "current_period_ends_at": ASKED + 9 * day}, YEARLY)
    elsewhere = subscription_v2(item | {"id": "c", "store": "stripe", "current_period_ends_at": ASKED + day}, YEARLY)
    for purchases in ((month, year), (year, month), (month, elsewhere), (month, year, elsewhere)):
        lines = after(Customer(purchases)).entitlements
        ends = 9 if year in purchases else 1
        for days, tier in ((0, "yearly"), (ends, "monthly"), (30, "free")):
            assert tier_at(spans(lines), NOW + timedelta(days=days)) == tier


def test_an_unmapped_product_grants_nothing_and_a_promotion_is_mapped_by_entitlement() -> None:
    """The map has the promotion with or without its duration."""
    item: dict[str, Any] = json.loads((FIXTURES / "v2-subscriptions-200-active.json").read_bytes())["items"][0]
    for product, tier in (
        ("new_product", "free"), ("rc_promo_premium_monthly", "monthly"), ("rc_promo_premium", "monthly"),
        ("rc_promo_other_monthly", "free"),
    ):  # fmt: skip
        assert tier_at(spans(after(Customer((subscription_v2(item, product),))).entitlements), NOW) == tier


def event(kind: str, **more: Any) -> BillingEvent:
    """Return an event of the recorded moment."""
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
    """The renewal that changed the product was lost; the billing issue has the product."""
    lines = apply({}, event("INITIAL_PURCHASE", at=ASKED - 5000, purchased_at=ASKED - 5000, expires_at=ASKED), RECORDED)
    unpaid = event("BILLING_ISSUE", product_id=YEARLY, expires_at=ASKED, grace_until=ASKED + 1000)
    assert tier_at(spans(apply(lines, unpaid, RECORDED)), NOW) == "yearly"


@pytest.mark.parametrize("kind", ["CANCELLATION", "UNCANCELLATION", "SUBSCRIPTION_PAUSED", "PRODUCT_CHANGE", "RENEWAL"])
def test_an_event_without_a_purchase_or_an_end_grants_nothing(kind: str) -> None:
    """The purchase was lost, or the event is incomplete: only RevenueCat's answer can grant access."""
    assert apply({}, event(kind, reason="UNSUBSCRIBE"), RECORDED) == {}


def test_a_purchase_without_an_end_lasts_until_it_is_refunded() -> None:
    """The store's subscription is not affected."""
    bought = event("NON_RENEWING_PURCHASE", product_id=YEARLY, unlocks=True)
    lines = apply({}, event("INITIAL_PURCHASE", expires_at=ASKED + 1000), RECORDED)
    lines = apply(lines, bought, RECORDED)
    assert tier_at(spans(lines), NOW + timedelta(days=5000)) == "yearly"
    lines = apply(lines, event("CANCELLATION", product_id=YEARLY, reason="CUSTOMER_SUPPORT"), RECORDED)
    assert tier_at(spans(lines), NOW) == "monthly"
    assert apply({}, event("NON_RENEWING_PURCHASE", product_id=YEARLY), RECORDED) == {}


def test_a_grant_lasts_a_day_at_most_and_ends_with_its_transaction() -> None:
    """A grant is limited to 24 hours, and its end does not affect the subscription."""
    lines = apply(
        {}, event("INITIAL_PURCHASE", expires_at=ASKED + 90_000_000, at=ASKED - 1, purchased_at=ASKED - 1), RECORDED
    )
    grant = event("TEMPORARY_ENTITLEMENT_GRANT", product_id=YEARLY, transaction_id="t", expires_at=ASKED * 2)
    granted = apply(lines, grant, RECORDED)
    assert tier_at(spans(granted), NOW + timedelta(hours=23, minutes=59)) == "yearly"
    assert tier_at(spans(granted), NOW + timedelta(hours=24)) == "monthly"
    ended = apply(granted, event("EXPIRATION", transaction_id="t", expires_at=ASKED, at=ASKED + 1), RECORDED)
    assert ended == lines


def test_only_so_many_events_are_kept() -> None:
    """Older events are folded into the snapshot when RevenueCat is never asked."""
    customers = Customers({"one": EMPTY}, {"one": "one"})
    for number in range(200):
        began = ASKED + number * 1000
        renewal = event(
            "RENEWAL", id=str(number), at=began, purchased_at=began, expires_at=began + 2000, app_user_id="one"
        )
        customers = add_event(customers, renewal, RECORDED)
    held = customers.states["one"]
    assert len(held.history.events) == 60
    assert held.entitlements[f"PRODUCTION/APP_STORE/{MONTHLY}"].expires_at == from_ms(ASKED + 201_000)


def test_entitlements_are_stored_under_their_old_names() -> None:
    """Rows written by older releases are read, and older releases read new rows."""
    entitlement = Entitlement(
        period_start=1, product="p", tier="weekly", expires_at=NOW, has_billing_issue=True,
        original_transaction_id="t", changes_to="q",
    )  # fmt: skip
    state = History({"PRODUCTION/APP_STORE/p": entitlement})
    stored = json.loads(msgspec.json.encode(state))
    assert set(stored["answered"]["PRODUCTION/APP_STORE/p"]) == {
        "period", "product", "tier", "expires_at", "trouble", "origin", "becomes",
    }  # fmt: skip
    assert msgspec.convert(stored, History) == state
