"""What RevenueCat's own answer about a customer makes of what we knew: pure, and always right.

It converges both ways: what we have missed is there, and what has ended without our hearing of it has ended.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from daysong.features.subscriptions.events import Book, Policy, apply, recounted
from daysong.features.subscriptions.holdings import Holdings, Line, Lines, Told, ended, is_grant, line_name
from daysong.features.subscriptions.rules import tier_of
from daysong.kernel.time.clock import from_ms
from daysong.vendors.revenuecat.answers import Customer, Purchase
from daysong.vendors.revenuecat.events import SANDBOX

# An answer may grant access and leave open until when. Everybody is asked about again within this time.
UNTIL_ASKED_AGAIN = timedelta(days=2)


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
