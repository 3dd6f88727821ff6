"""Whatever happens to a subscriber, and in whatever order we hear of it: everybody has the plan they should have.

The oracle (`rehearsal/subscribers.py`) keeps what the store has sold, and knows nothing of events.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daysong.features.subscriptions.events import Book, Policy, deliver, newer_of, united
from daysong.features.subscriptions.holdings import NOTHING, Holdings, Line, spans
from daysong.features.subscriptions.reconciling import reconciled
from daysong.features.subscriptions.rules import PRODUCTS, tier_at
from daysong.kernel.time.clock import from_ms
from daysong.vendors.revenuecat.answers import Customer, subscription_v2
from daysong.vendors.revenuecat.events import parse_event
from rehearsal.subscribers import ACTS, DAY, PEOPLE, Step, Store, histories

BEGIN = 1_795_435_200_000
POLICY = Policy(PRODUCTS)
MANY = settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SOME = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def empty_book() -> Book:
    """Both people, of whom nothing is known."""
    return Book(dict.fromkeys(PEOPLE, NOTHING), {name: name for name in PEOPLE})


def heard(book: Book, told: Iterable[dict[str, Any]]) -> Book:
    """The book after these webhooks."""
    for event in told:
        book = deliver(book, parse_event(json.dumps({"event": event}).encode()), POLICY)
    return book


def asked(book: Book, store: Store) -> Book:
    """The book after RevenueCat was asked about everybody."""
    return answered(book, store.now, {name: store.answer(name) for name in PEOPLE})


def lived(history: list[Step]) -> Store:
    """What the store knows after that history; what was impossible did not happen."""
    store = Store(BEGIN)
    for step in history:
        store.happens(step)
    return store


def assert_agree(book: Book, store: Store) -> None:
    """At every moment from now on both say the same, for everybody."""
    moments = {store.now, store.now + 500 * DAY}
    for turn in store.turning_points():
        moments |= {turn - 1, turn, turn + 1}
    for name in PEOPLE:
        for moment in sorted(moments):
            if moment >= store.now:
                tier = tier_at(spans(book.customers[name].lines), from_ms(moment))
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
        assert_agree(heard(empty_book(), told), store)


@SOME
@given(histories())
def test_asking_alone_reaches_the_truth_when_every_webhook_is_lost(history: list[Step]) -> None:
    """Once at the end, or every now and then."""
    book, store = empty_book(), Store(BEGIN)
    for step in history:
        if store.happens(step) and step.after % 3 == 0:
            book = asked(book, store)
            assert_agree(book, store)
    assert_agree(asked(empty_book(), store), store)
    assert_agree(asked(book, store), store)


@SOME
@given(histories(acts=ACTS), st.randoms(use_true_random=False))
def test_answers_and_late_webhooks_together_tell_the_truth(history: list[Step], dice: random.Random) -> None:
    """RevenueCat answers in the middle; of the webhooks from before some are lost and some late, and all are mixed."""
    book, store = empty_book(), Store(BEGIN)
    asked_after = dice.randrange(len(history))
    before = 0
    for place, step in enumerate(history):
        store.happens(step)
        if place == asked_after:
            before = len(store.told)
            book = asked(heard(book, dice.sample(store.told, dice.randint(0, before))), store)
    late = store.told[before:] + dice.sample(store.told[:before], dice.randint(0, before))
    dice.shuffle(late)
    assert_agree(heard(book, late), store)


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
    book = empty_book()
    for asked_at, answer in answers:
        book = answered(book, asked_at, answer)
    assert_agree(book, store)
    assert_agree(answered(heard(empty_book(), store.told), *late), store)


def answered(book: Book, asked_at: int, answer: dict[str, list[dict[str, Any]]]) -> Book:
    """The book after RevenueCat's answer about everybody."""
    for name in PEOPLE:
        items = [subscription_v2(item, item["product_id"]) for item in answer[name]]
        book = reconciled(book, name, Customer(tuple(items)), asked_at, POLICY)
    return book


@SOME
@given(histories(), st.randoms(use_true_random=False))
def test_the_result_is_one_and_the_same_whatever_the_order(history: list[Step], dice: random.Random) -> None:
    """Not only who has which plan: everything that is kept."""
    told = lived(history).told
    one = heard(empty_book(), told)
    shuffled = told * 2
    dice.shuffle(shuffled)
    assert heard(empty_book(), shuffled).customers == one.customers


@SOME
@given(histories(), st.randoms(use_true_random=False))
def test_customers_who_turn_out_to_be_one_have_all_of_it(history: list[Step], dice: random.Random) -> None:
    """Heard of partly as an unknown customer and partly as somebody: together it is the whole."""
    store = lived([step for step in history if step.act != "transfer" and step.who == PEOPLE[0]] or history[:1])
    parts: list[list[dict[str, Any]]] = [[], []]
    for event in store.told:
        dice.choice(parts).append(event)
    first, second = (heard(empty_book(), part).customers[PEOPLE[0]] for part in parts)
    book = Book({PEOPLE[0]: united(first, second), PEOPLE[1]: NOTHING}, {name: name for name in PEOPLE})
    assert_agree(heard(book, store.told[:1]), store)


@pytest.mark.parametrize("answer", [None, Customer()])
def test_f51_a_free_person_stays_free(answer: Customer | None) -> None:
    """Nothing to find at RevenueCat is not an end of anything."""
    book = reconciled(empty_book(), PEOPLE[0], answer, BEGIN, POLICY)
    assert book.customers[PEOPLE[0]] == Holdings(verified_at=BEGIN)


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
        lines = heard(empty_book(), order).customers[PEOPLE[0]].lines
        assert tier_at(spans(lines), from_ms(BEGIN)) == "free"


def test_of_two_subscriptions_to_one_product_the_newer_stays() -> None:
    """When two customers turn out to be one, or one gets what was another's; of the same period, the former's."""
    name = "PRODUCTION/APP_STORE/product"
    old, new = (Line(period, "product", "monthly", None) for period in (1, 2))
    same = Line(2, "product", "yearly", None)
    for own, more, stays in ((old, new, new), (new, old, new), (new, same, new)):
        assert newer_of({name: own}, {name: more}) == {name: stays}
