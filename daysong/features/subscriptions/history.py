"""Customers' entitlements, replayed from RevenueCat's answers and the events after them; pure.

RevenueCat's answer always wins over events, and a newer answer over an older one: purchases that were missed are added,
and what has ended without an event is ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from daysong.features.subscriptions.entitlements import (
    CustomerState,
    Entitlement,
    Entitlements,
    History,
    ended,
    entitlement_key,
    is_grant,
    store_of,
)
from daysong.features.subscriptions.events import (
    Policy,
    apply,
    changes_entitlements,
    event_store,
    is_accepted,
    rule_of,
)
from daysong.features.subscriptions.rules import tier_of
from daysong.kernel.time.clock import from_ms
from daysong.vendors.revenuecat.answers import Customer, Purchase
from daysong.vendors.revenuecat.events import SANDBOX, BillingEvent

# Older events are folded into the snapshot. No event is redelivered after so many newer ones.
MOST_EVENTS = 60
# How long access lasts when an answer grants it without an end. Each customer is asked about again within this time.
UNDATED_ACCESS = timedelta(days=2)


@dataclass(frozen=True)
class Customers:
    """The states of several customers by id, and the customer's id of each app user id."""

    states: Mapping[str, CustomerState]
    ids: Mapping[str, str]

    def find(self, app_user_ids: Iterable[str]) -> str | None:
        """Return the customer of the first known app user id."""
        return next((self.ids[each] for each in app_user_ids if each in self.ids), None)


def add_event(customers: Customers, event: BillingEvent, policy: Policy) -> Customers:
    """Return the customers after an event; it may be late or repeated.

    All customers in transfers with one of these must be included: see `related_ids`.
    """
    if not (is_accepted(event, policy) and changes_entitlements(event)):
        return customers
    if event.type == "TRANSFER":
        sides = (*event.transferred_from, *event.transferred_to)
        affected = {customers.ids[each] for each in sides if each in customers.ids}
    else:
        affected = {customer for customer in [customers.find(event.app_user_ids)] if customer is not None}
    return replay(
        replace(
            customers,
            states={
                customer: _with_event(state, event, policy) if customer in affected else state
                for customer, state in customers.states.items()
            },
        ),
        policy,
    )


def related_ids(state: CustomerState) -> set[str]:
    """Return the app user ids in the customer's transfers: their states are needed to replay this one."""
    return {
        each
        for event in state.history.events
        if event.type == "TRANSFER"
        for each in (*event.transferred_from, *event.transferred_to)
    }


def _with_event(state: CustomerState, event: BillingEvent, policy: Policy) -> CustomerState:
    """Return the state with the event in its history, unless it is known or older than RevenueCat's answer."""
    history = state.history
    is_answered = state.verified_at is not None and event.at <= state.verified_at
    if is_answered or any(each.id == event.id for each in history.events):
        return state
    # The customer is known, so the ids are not stored.
    stored = msgspec.structs.replace(event, app_user_id=None, original_app_user_id=None, aliases=())
    events = sorted((*history.events, stored), key=_order)
    snapshot = history.snapshot
    while len(events) > MOST_EVENTS and events[0].type != "TRANSFER":
        snapshot = apply(snapshot, events.pop(0), policy)
    return msgspec.structs.replace(state, history=History(snapshot, tuple(events)))


def _order(event: BillingEvent) -> tuple[int, int, str]:
    return event.at, rule_of(event.type).rank, event.id


def replay(customers: Customers, policy: Policy) -> Customers:
    """Return the customers with their entitlements computed again: the snapshots, then all events in order."""
    entitlements = {customer: state.history.snapshot for customer, state in customers.states.items()}
    affected: dict[str, tuple[BillingEvent, list[str]]] = {}
    for customer, state in customers.states.items():
        for event in state.history.events:
            affected.setdefault(event.id, (event, []))[1].append(customer)
    for event, those in sorted(affected.values(), key=lambda each: _order(each[0])):
        if event.type == "TRANSFER":
            _transfer(entitlements, event, those, customers)
        else:
            for customer in those:
                entitlements[customer] = apply(entitlements[customer], event, policy)
    return replace(
        customers,
        states={
            customer: msgspec.structs.replace(state, entitlements=entitlements[customer])
            for customer, state in customers.states.items()
        },
    )


def _transfer(
    entitlements: dict[str, Entitlements], event: BillingEvent, affected: list[str], customers: Customers
) -> None:
    """Move what the event's store sold from its old customers to the new one.

    Only for the `affected` customers, whose snapshot is older than the transfer: a newer one includes it.
    """
    receiver, store = customers.find(event.transferred_to), event_store(event)
    givers = {customers.ids[each] for each in event.transferred_from if each in customers.ids}
    for giver in sorted((givers - {receiver}) & set(affected)):
        moved = {key: each for key, each in entitlements[giver].items() if store_of(key) == store}
        entitlements[giver] = {key: each for key, each in entitlements[giver].items() if key not in moved}
        if receiver in affected and receiver is not None:
            # The same period is the same subscription, possibly transferred back: the moved entitlement counts.
            entitlements[receiver] = merge_entitlements(moved, entitlements[receiver])


def merge_entitlements(first: Entitlements, second: Entitlements) -> Entitlements:
    """Merge two customers' entitlements; of the same key the later period counts, or the first's in a tie."""
    return first | {
        key: each for key, each in second.items() if key not in first or first[key].period_start < each.period_start
    }


def merge_states(first: CustomerState, second: CustomerState) -> CustomerState:
    """Merge two states of what is one customer, to be replayed; the first's `verified_at` stays."""
    snapshot, events = second.history.snapshot, second.history.events
    if first.verified_at is not None:
        # The answer may be about the first alone: add what was bought as the second.
        snapshot, events = second.entitlements, tuple(event for event in events if event.at > first.verified_at)
    merged = {event.id: event for event in (*first.history.events, *events)}
    history = History(merge_entitlements(first.history.snapshot, snapshot), tuple(sorted(merged.values(), key=_order)))
    return msgspec.structs.replace(
        first, entitlements=merge_entitlements(first.entitlements, second.entitlements), history=history
    )


def apply_answer(
    customers: Customers, customer: str, answer: Customer | None, asked_at: int, policy: Policy
) -> Customers:
    """Return the customers after RevenueCat's answer about one of them, asked for at `asked_at` (ms).

    An answer older than the last one changes nothing. None means that RevenueCat knows no such customer: deleted there,
    or asked for in a wrong project. Entitlements then last until they end.
    """
    state = customers.states[customer]
    if state.verified_at is not None and asked_at < state.verified_at:
        return customers
    if answer is None:
        verified = msgspec.structs.replace(state, verified_at=asked_at)
        return replace(customers, states={**customers.states, customer: verified})
    known = _known_at(state, asked_at, policy)
    entitlements = _answered(answer, known, asked_at, policy)
    for key, entitlement in known.items():
        # What the answer leaves out has ended, and stays in the history as ended.
        if key not in entitlements and not is_grant(key) and _is_accepted(key.split("/")[0], policy):
            entitlements[key] = ended(entitlement, from_ms(asked_at))
    later = tuple(event for event in state.history.events if event.at > asked_at)
    answered = CustomerState(entitlements, History(entitlements, later), asked_at)
    return replay(replace(customers, states={**customers.states, customer: answered}), policy)


def _known_at(state: CustomerState, asked_at: int, policy: Policy) -> Entitlements:
    """Return the entitlements without the events after `asked_at`: the answer lacks these, but they have not ended."""
    if all(event.at <= asked_at for event in state.history.events):
        return state.entitlements
    entitlements = state.history.snapshot
    for event in state.history.events:
        if event.at <= asked_at:
            entitlements = apply(entitlements, event, policy)
    return entitlements


def _is_accepted(environment: str, policy: Policy) -> bool:
    return policy.accept_sandbox or environment != SANDBOX


def _answered(answer: Customer, known: Entitlements, asked_at: int, policy: Policy) -> Entitlements:
    entitlements: Entitlements = {}
    for purchase in sorted(answer.purchases, key=_merit, reverse=True):
        key = entitlement_key(purchase.environment, purchase.store, purchase.product)
        if not _is_accepted(purchase.environment, policy):
            continue
        if key in entitlements:
            # A second purchase of a product counts while it gives access; no event changes it.
            if not purchase.gives_access:
                continue
            key = f"{key}/{purchase.id}"
        entitlements[key] = _entitlement(purchase, known.get(key), asked_at, policy)
    return entitlements


def _merit(purchase: Purchase) -> tuple[bool, int, float, str]:
    """Order the purchases of a product: events change the newest that gives access."""
    return purchase.gives_access, purchase.period_began, purchase.ends_at or 0, purchase.id


def _entitlement(purchase: Purchase, known: Entitlement | None, asked_at: int, policy: Policy) -> Entitlement:
    now = from_ms(asked_at)
    ends, grace = _moment(purchase.ends_at), _moment(purchase.grace_until)
    # The end of what has ended without a date in the answer: the known end, at the latest now.
    over = known.expires_at if known and known.expires_at and known.expires_at <= now else now
    if not purchase.gives_access:
        ends, grace = (ends if ends and ends <= now else over), None
    elif grace is not None and (ends is None or ends >= grace):
        ends = min(over, grace)  # the answer has only the end of the grace period
    if purchase.gives_access and ends is not None and max(ends, grace or ends) <= now:
        grace = now + UNDATED_ACCESS
    return Entitlement(
        period_start=min(purchase.period_began, asked_at),
        product=purchase.product,
        tier=tier_of(purchase.product, policy.products),
        expires_at=ends,
        grace_until=grace,
        renews=purchase.renews,
        has_billing_issue=purchase.trouble,
        resumes_at=_moment(purchase.resumes_at),
        original_transaction_id=purchase.origin or (known.original_transaction_id if known else None),
        changes_to=known.changes_to if known and purchase.gives_access else None,
    )


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else from_ms(ms)
