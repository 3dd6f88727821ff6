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

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daysong.features.subscriptions.entitlements import EMPTY, CustomerState, Entitlement, spans, summary
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
MANY = settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SOME = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def no_customers() -> Customers:
    """Both people, of whom nothing is known."""
    return Customers(dict.fromkeys(PEOPLE, EMPTY), {name: name for name in PEOPLE})


def heard(customers: Customers, told: Iterable[dict[str, Any]]) -> Customers:
    """The customers after these webhooks."""
    for event in told:
        customers = add_event(customers, parse_event(json.dumps({"event": event}).encode()), POLICY)
    return customers


def asked(customers: Customers, store: Store) -> Customers:
    """The customers after RevenueCat was asked about everybody."""
    return answered(customers, store.now, {name: store.answer(name) for name in PEOPLE})


def lived(history: list[Step]) -> Store:
    """What the store knows after that history; what was impossible did not happen."""
    store = Store(BEGIN)
    for step in history:
        store.happens(step)
    return store


def assert_agree(customers: Customers, store: Store) -> None:
    """At every moment from now on both say the same, for everybody."""
    moments = {store.now, store.now + 500 * DAY}
    for turn in store.turning_points():
        moments |= {turn - 1, turn, turn + 1}
    for name in PEOPLE:
        for moment in sorted(moments):
            if moment >= store.now:
                tier = tier_at(spans(customers.states[name].entitlements), from_ms(moment))
                assert tier == store.tier(name, moment), (name, moment - store.now)


@MANY
@given(histories(), st.randoms(use_true_random=False))
def test_webhooks_in_any_order_and_any_number_tell_the_truth(history: list[Step], dice: random.Random) -> None:
    """Delivered twice and shuffled, at any moment of the history."""
    until = dice.randint(1, len(history))
    for end in {until, len(history)}:
        store = lived(history[:end])
        told = store.told + dice.choices(store.told, k=len(store.told))
        dice.shuffle(told)
        assert_agree(heard(no_customers(), told), store)


@SOME
@given(histories())
def test_asking_alone_reaches_the_truth_when_every_webhook_is_lost(history: list[Step]) -> None:
    """Once at the end, or every now and then."""
    customers, store = no_customers(), Store(BEGIN)
    for step in history:
        if store.happens(step) and step.after % 3 == 0:
            customers = asked(customers, store)
            assert_agree(customers, store)
    assert_agree(asked(no_customers(), store), store)
    assert_agree(asked(customers, store), store)


@SOME
@given(histories(acts=ACTS), st.randoms(use_true_random=False))
def test_answers_and_late_webhooks_together_tell_the_truth(history: list[Step], dice: random.Random) -> None:
    """RevenueCat answers in the middle; of the webhooks from before some are lost and some late, and all are mixed."""
    customers, store = no_customers(), Store(BEGIN)
    asked_after = dice.randrange(len(history))
    before = 0
    for place, step in enumerate(history):
        store.happens(step)
        if place == asked_after:
            before = len(store.told)
            customers = asked(heard(customers, dice.sample(store.told, dice.randint(0, before))), store)
    late = store.told[before:] + dice.sample(store.told[:before], dice.randint(0, before))
    dice.shuffle(late)
    assert_agree(heard(customers, late), store)


@SOME
@given(histories(acts=ACTS), st.randoms(use_true_random=False))
def test_an_older_answer_never_replaces_anything_newer(history: list[Step], dice: random.Random) -> None:
    """Of several questions the one asked last counts, whichever is answered last; and what was told since stays."""
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
    assert_agree(answered(heard(no_customers(), store.told), *late), store)


def answered(customers: Customers, asked_at: int, answer: dict[str, list[dict[str, Any]]]) -> Customers:
    """The customers after RevenueCat's answer about everybody."""
    for name in PEOPLE:
        items = [subscription_v2(item, item["product_id"]) for item in answer[name]]
        customers = apply_answer(customers, name, Customer(tuple(items)), asked_at, POLICY)
    return customers


@SOME
@given(histories(), st.randoms(use_true_random=False))
def test_the_result_is_one_and_the_same_whatever_the_order(history: list[Step], dice: random.Random) -> None:
    """Not only who has which plan: everything that is kept."""
    told = lived(history).told
    one = heard(no_customers(), told)
    shuffled = told * 2
    dice.shuffle(shuffled)
    assert heard(no_customers(), shuffled).states == one.states


@SOME
@given(histories(), st.randoms(use_true_random=False))
def test_customers_who_turn_out_to_be_one_have_all_of_it(history: list[Step], dice: random.Random) -> None:
    """Heard of partly as an unknown customer and partly as somebody: together it is the whole."""
    store = lived([step for step in history if step.act != "transfer" and step.who == PEOPLE[0]] or history[:1])
    parts: list[list[dict[str, Any]]] = [[], []]
    for event in store.told:
        dice.choice(parts).append(event)
    first, second = (heard(no_customers(), part).states[PEOPLE[0]] for part in parts)
    customers = Customers({PEOPLE[0]: merge_states(first, second), PEOPLE[1]: EMPTY}, {name: name for name in PEOPLE})
    assert_agree(heard(customers, store.told[:1]), store)


@pytest.mark.parametrize("answer", [None, Customer()])
def test_f51_a_free_person_stays_free(answer: Customer | None) -> None:
    """Nothing to find at RevenueCat is not an end of anything."""
    customers = apply_answer(no_customers(), PEOPLE[0], answer, BEGIN, POLICY)
    assert customers.states[PEOPLE[0]] == CustomerState(verified_at=BEGIN)


def test_of_one_moment_the_end_comes_last() -> None:
    """Bought, unpaid and expired in the same millisecond, whatever their ids and the order they come in."""
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
        lines = heard(no_customers(), order).states[PEOPLE[0]].entitlements
        assert tier_at(spans(lines), from_ms(BEGIN)) == "free"


def test_of_two_subscriptions_to_one_product_the_newer_stays() -> None:
    """When two customers turn out to be one, or one gets what was another's; of the same period, the former's."""
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


def after(customer: Customer | None, before: CustomerState = EMPTY, asked_at: int = ASKED) -> CustomerState:
    """Somebody after an answer."""
    return apply_answer(Customers({"one": before}, {}), "one", customer, asked_at, RECORDED).states["one"]


def thought_to_have_a_month() -> CustomerState:
    """Somebody whose end we have not heard of."""
    lines = {f"PRODUCTION/APP_STORE/{MONTHLY}": Entitlement(ASKED - 1000, MONTHLY, "monthly", NOW + timedelta(days=20))}
    return CustomerState(entitlements=lines)


@pytest.mark.parametrize("before", [EMPTY, thought_to_have_a_month()], ids=["had nothing", "had a month"])
@pytest.mark.parametrize("name", STANDINGS)
def test_an_answer_is_right_whatever_we_thought(name: str, before: CustomerState) -> None:
    """A lost purchase is found, and a lost end as well; asked again at once, nothing changes."""
    found = after(answer(name), before)
    stands = summary(found.entitlements, NOW)
    assert (stands.tier, stands.status) == STANDINGS[name]
    assert tier_at(spans(found.entitlements), NOW) == stands.tier
    assert after(answer(name), found) == found
    assert after(answer(name), found, ASKED + 1).entitlements == found.entitlements


@pytest.mark.parametrize("name", SANDBOXED)
def test_purchases_of_a_stores_sandbox_count_only_where_they_are_to(name: str) -> None:
    """The answer may have them; and what was let in before is no longer good when it is not to be."""
    assert summary(after(answer(name)).entitlements, NOW).tier == "free"
    one = Customers({"one": EMPTY}, {})
    policy = Policy({MONTHLY: "monthly", "prod0000000001": "monthly"}, accept_sandbox=True)
    let_in = apply_answer(one, "one", answer(name), ASKED, policy).states["one"]
    assert summary(let_in.entitlements, NOW).tier == "monthly"
    assert summary(after(answer(name), let_in).entitlements, NOW).tier == "free"


def test_what_is_no_longer_spoken_of_has_ended_and_nothing_else() -> None:
    """An empty answer ends it; an answer that knows of no such customer does not."""
    assert summary(after(Customer(), thought_to_have_a_month()).entitlements, NOW).status == "expired"
    unknown = after(None, thought_to_have_a_month())
    assert unknown.entitlements == thought_to_have_a_month().entitlements
    assert unknown.verified_at == ASKED


def test_access_without_a_known_end_is_good_until_we_ask_again() -> None:
    """In a grace period of which the answer does not tell the end: never for ever."""
    item: dict[str, Any] = json.loads((FIXTURES / "v2-subscriptions-200-active.json").read_bytes())["items"][0]
    item |= {"status": "in_grace_period", "current_period_ends_at": ASKED - 1000}
    found = after(Customer((subscription_v2(item, MONTHLY),)))
    assert summary(found.entitlements, NOW).status == "in_grace"
    assert tier_at(spans(found.entitlements), NOW + UNDATED_ACCESS) == "free"


def test_the_best_of_several_counts_until_each_has_ended() -> None:
    """Of two stores, and of two subscriptions in one store."""
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


def test_a_product_nobody_has_named_is_worth_nothing_and_a_promotion_goes_by_its_entitlement() -> None:
    """With or without its duration."""
    item: dict[str, Any] = json.loads((FIXTURES / "v2-subscriptions-200-active.json").read_bytes())["items"][0]
    for product, tier in (
        ("new_product", "free"), ("rc_promo_premium_monthly", "monthly"), ("rc_promo_premium", "monthly"),
        ("rc_promo_other_monthly", "free"),
    ):  # fmt: skip
        assert tier_at(spans(after(Customer((subscription_v2(item, product),))).entitlements), NOW) == tier


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
    lines = apply({}, event("INITIAL_PURCHASE", at=ASKED - 5000, purchased_at=ASKED - 5000, expires_at=ASKED), RECORDED)
    unpaid = event("BILLING_ISSUE", product_id=YEARLY, expires_at=ASKED, grace_until=ASKED + 1000)
    assert tier_at(spans(apply(lines, unpaid, RECORDED)), NOW) == "yearly"


@pytest.mark.parametrize("kind", ["CANCELLATION", "UNCANCELLATION", "SUBSCRIPTION_PAUSED", "PRODUCT_CHANGE", "RENEWAL"])
def test_what_is_said_of_nothing_or_without_an_end_grants_nothing(kind: str) -> None:
    """The purchase was lost, or the event is not whole: RevenueCat's answer will tell."""
    assert apply({}, event(kind, reason="UNSUBSCRIBE"), RECORDED) == {}


def test_a_purchase_without_an_end_lasts_until_it_is_refunded() -> None:
    """And the store's subscription goes on beside it."""
    bought = event("NON_RENEWING_PURCHASE", product_id=YEARLY, unlocks=True)
    lines = apply({}, event("INITIAL_PURCHASE", expires_at=ASKED + 1000), RECORDED)
    lines = apply(lines, bought, RECORDED)
    assert tier_at(spans(lines), NOW + timedelta(days=5000)) == "yearly"
    lines = apply(lines, event("CANCELLATION", product_id=YEARLY, reason="CUSTOMER_SUPPORT"), RECORDED)
    assert tier_at(spans(lines), NOW) == "monthly"
    assert apply({}, event("NON_RENEWING_PURCHASE", product_id=YEARLY), RECORDED) == {}


def test_a_grant_lasts_a_day_at_most_and_ends_with_its_transaction() -> None:
    """Whatever the event says; and its end leaves the subscription alone."""
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
    """Where RevenueCat is never asked, older ones are summed up."""
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
