"""What RevenueCat's own answer about a customer makes of what we knew: pure, and always right.

It converges both ways: what we have missed is there, and what has ended without our hearing of it has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from daysong.features.subscriptions.entitlements import (
    Holdings,
    Line,
    Lines,
    Told,
    ended,
    is_grant,
    line_name,
    store_of,
)
from daysong.features.subscriptions.events import Policy, apply, changes_anything, counts, rule_of, store_name
from daysong.features.subscriptions.rules import tier_of
from daysong.kernel.time.clock import from_ms
from daysong.vendors.revenuecat.answers import Customer, Purchase
from daysong.vendors.revenuecat.events import SANDBOX, BillingEvent

# Where RevenueCat is never asked, older events are summed up; none is redelivered after so many newer ones.
MOST_EVENTS = 60
# An answer may grant access and leave open until when. Everybody is asked about again within this time.
UNTIL_ASKED_AGAIN = timedelta(days=2)


@dataclass(frozen=True)
class Book:
    """Several customers: what each has, and which app user ids are whose."""

    customers: Mapping[str, Holdings]
    names: Mapping[str, str]

    def named(self, app_user_ids: Iterable[str]) -> str | None:
        """The customer known by the first of these ids that anybody is known by."""
        return next((self.names[each] for each in app_user_ids if each in self.names), None)


def deliver(book: Book, event: BillingEvent, policy: Policy) -> Book:
    """The book after an event, whomever in it the event is about.

    Whoever is named in a transfer that somebody in the book knows of must be in it too: see `others`.
    """
    if not (counts(event, policy) and changes_anything(event)):
        return book
    if event.type == "TRANSFER":
        about = {book.names[each] for each in (*event.transferred_from, *event.transferred_to) if each in book.names}
    else:
        about = {name for name in [book.named(event.app_user_ids)] if name is not None}
    return recounted(
        replace(
            book,
            customers={
                name: _with(holdings, event, policy) if name in about else holdings
                for name, holdings in book.customers.items()
            },
        ),
        policy,
    )


def others(holdings: Holdings) -> set[str]:
    """The app user ids whose customers are needed to work out what this one has."""
    return {
        each
        for event in holdings.told.events
        if event.type == "TRANSFER"
        for each in (*event.transferred_from, *event.transferred_to)
    }


def _with(holdings: Holdings, event: BillingEvent, policy: Policy) -> Holdings:
    """The holdings with the event put where it belongs, unless it is there, or RevenueCat's answer had it."""
    told = holdings.told
    known = holdings.verified_at is not None and event.at <= holdings.verified_at
    if known or any(each.id == event.id for each in told.events):
        return holdings
    # Whose it is is settled, and need not be kept.
    kept = msgspec.structs.replace(event, app_user_id=None, original_app_user_id=None, aliases=())
    events = sorted((*told.events, kept), key=_order)
    answered = told.answered
    while len(events) > MOST_EVENTS and events[0].type != "TRANSFER":
        answered = apply(answered, events.pop(0), policy)
    return msgspec.structs.replace(holdings, told=Told(answered, tuple(events)))


def _order(event: BillingEvent) -> tuple[int, int, str]:
    return event.at, rule_of(event.type).rank, event.id


def recounted(book: Book, policy: Policy) -> Book:
    """The book with everybody's lines worked out anew: RevenueCat's answers, then the events since, in their order."""
    lines = {name: holdings.told.answered for name, holdings in book.customers.items()}
    told: dict[str, tuple[BillingEvent, list[str]]] = {}
    for name, holdings in book.customers.items():
        for event in holdings.told.events:
            told.setdefault(event.id, (event, []))[1].append(name)
    for event, names in sorted(told.values(), key=lambda each: _order(each[0])):
        if event.type == "TRANSFER":
            _transfer(lines, event, names, book)
        else:
            for name in names:
                lines[name] = apply(lines[name], event, policy)
    return replace(
        book,
        customers={
            name: msgspec.structs.replace(holdings, lines=lines[name]) for name, holdings in book.customers.items()
        },
    )


def _transfer(lines: dict[str, Lines], event: BillingEvent, names: list[str], book: Book) -> None:
    """Move what the event's store has sold from its old customers to the new one.

    `names` are those who were asked about before the transfer; in the answers about others it is done already.
    """
    to, store = book.named(event.transferred_to), store_name(event)
    sources = {book.names[each] for each in event.transferred_from if each in book.names}
    for source in sorted((sources - {to}) & set(names)):
        taken = {name: line for name, line in lines[source].items() if store_of(name) == store}
        lines[source] = {name: line for name, line in lines[source].items() if name not in taken}
        if to in names and to is not None:
            # Of the same period it is the same subscription, perhaps come back: where it is now, it is good.
            lines[to] = newer_of(taken, lines[to])


def newer_of(own: Lines, more: Lines) -> Lines:
    """Two customers' lines put together; of one product the one that speaks of the later period, or the former's."""
    return own | {name: line for name, line in more.items() if name not in own or own[name].period < line.period}


def united(one: Holdings, other: Holdings) -> Holdings:
    """What two customers have who turn out to be one, to be recounted; `one` stays verified."""
    answered, late = other.told.answered, other.told.events
    if one.verified_at is not None:
        # The answer may have been about `one` alone: what was bought as `other` is added to it.
        answered, late = other.lines, tuple(event for event in late if event.at > one.verified_at)
    events = {event.id: event for event in (*one.told.events, *late)}
    told = Told(newer_of(one.told.answered, answered), tuple(sorted(events.values(), key=_order)))
    return msgspec.structs.replace(one, lines=newer_of(one.lines, other.lines), told=told)


def reconciled(book: Book, name: str, customer: Customer | None, asked_at: int, policy: Policy) -> Book:
    """The book after RevenueCat's answer about one in it, asked for at that moment (ms).

    An answer older than the last one changes nothing. None is its answer when it knows of no such customer: of somebody
    it has told of, that is a customer deleted there, or a wrong project asked. What they have is good until it ends.
    """
    holdings = book.customers[name]
    if holdings.verified_at is not None and asked_at < holdings.verified_at:
        return book
    if customer is None:
        unchanged = msgspec.structs.replace(holdings, verified_at=asked_at)
        return replace(book, customers={**book.customers, name: unchanged})
    known = _known(holdings, asked_at, policy)
    lines = _answered(customer, known, asked_at, policy)
    for line_of, line in known.items():
        # What is no longer spoken of has ended, and is remembered as that.
        if line_of not in lines and not is_grant(line_of) and _counts(line_of.split("/")[0], policy):
            lines[line_of] = ended(line, from_ms(asked_at))
    later = tuple(event for event in holdings.told.events if event.at > asked_at)
    customers = {**book.customers, name: Holdings(lines, Told(lines, later), asked_at)}
    return recounted(replace(book, customers=customers), policy)


def _known(holdings: Holdings, asked_at: int, policy: Policy) -> Lines:
    """What was known of when RevenueCat was asked: what it told of later is not in its answer, and has not ended."""
    if all(event.at <= asked_at for event in holdings.told.events):
        return holdings.lines
    lines = holdings.told.answered
    for event in holdings.told.events:
        if event.at <= asked_at:
            lines = apply(lines, event, policy)
    return lines


def _counts(environment: str, policy: Policy) -> bool:
    return policy.accept_sandbox or environment != SANDBOX


def _answered(customer: Customer, known: Lines, asked_at: int, policy: Policy) -> Lines:
    lines: Lines = {}
    for purchase in sorted(customer.purchases, key=_merit, reverse=True):
        name = line_name(purchase.environment, purchase.store, purchase.product)
        if not _counts(purchase.environment, policy):
            continue
        if name in lines:
            # A second purchase of a product counts as long as it is good, and events do not speak of it.
            if not purchase.gives_access:
                continue
            name = f"{name}/{purchase.id}"
        lines[name] = _line(purchase, known.get(name), asked_at, policy)
    return lines


def _merit(purchase: Purchase) -> tuple[bool, int, float, str]:
    """Of the purchases of a product, the one that is good and newest is the one events will speak of."""
    return purchase.gives_access, purchase.period_began, purchase.ends_at or 0, purchase.id


def _line(purchase: Purchase, known: Line | None, asked_at: int, policy: Policy) -> Line:
    now = from_ms(asked_at)
    ends, grace = _moment(purchase.ends_at), _moment(purchase.grace_until)
    # When something ended that the answer does not date: at the latest now, or when we knew it had.
    over = known.expires_at if known and known.expires_at and known.expires_at <= now else now
    if not purchase.gives_access:
        ends, grace = (ends if ends and ends <= now else over), None
    elif grace is not None and (ends is None or ends >= grace):
        ends = min(over, grace)  # all that is told is when the grace period ends
    if purchase.gives_access and ends is not None and max(ends, grace or ends) <= now:
        grace = now + UNTIL_ASKED_AGAIN
    return Line(
        period=min(purchase.period_began, asked_at),
        product=purchase.product,
        tier=tier_of(purchase.product, policy.products),
        expires_at=ends,
        grace_until=grace,
        renews=purchase.renews,
        trouble=purchase.trouble,
        resumes_at=_moment(purchase.resumes_at),
        origin=purchase.origin or (known.origin if known else None),
        becomes=known.becomes if known and purchase.gives_access else None,
    )


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else from_ms(ms)
