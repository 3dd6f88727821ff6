"""What each RevenueCat event does to what a customer has: one row for each type, and no database and no clock.

RevenueCat advises to ask again after every event and to keep its answer, and so we do (`revenuecat_billing.py`). These
rules count while it cannot be asked, and for customers who are not ours yet. Events are kept until the next answer and
applied in the order they were made, so that it makes no difference in which order, or how often, they arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from daysong.features.subscriptions.entitlements import (
    Line,
    Lines,
    ended,
    grant_name,
    is_grant,
    line_name,
    store_of,
)
from daysong.features.subscriptions.rules import PRODUCTS, Tier, tier_of
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import from_ms
from daysong.vendors.revenuecat.events import SANDBOX, BillingEvent

LONGEST_GRANT = int(timedelta(hours=24) / timedelta(milliseconds=1))


@dataclass(frozen=True)
class Policy:
    """What the settings say: which product is which plan, and whether purchases in a store's sandbox count."""

    products: Mapping[str, Tier]
    accept_sandbox: bool = False


def policy_of(settings: Settings) -> Policy:
    """What the settings say about purchases."""
    known = settings.revenuecat
    return Policy(products={**PRODUCTS, **known.products}, accept_sandbox=known.accept_sandbox)


Change = dict[str, Any]


def _bought(event: BillingEvent) -> Change | None:
    # Only a purchase that is no subscription has no end; anything else without one is left to RevenueCat's answer.
    if event.expires_at is None:
        return None
    return _until(event.expires_at) | {"renews": True, "trouble": False, "resumes_at": None, "becomes": None}


def _bought_once(event: BillingEvent) -> Change | None:
    return _until(event.expires_at) | {"renews": False} if event.unlocks else None


def _extended(event: BillingEvent) -> Change | None:
    return None if event.expires_at is None else _until(event.expires_at)


def _unpaid(event: BillingEvent) -> Change:
    ended = event.at if event.expires_at is None else event.expires_at
    return _until(ended, event.grace_until) | {"trouble": True}


def _ended(event: BillingEvent) -> Change:
    ended = event.at if event.expires_at is None else min(event.at, event.expires_at)
    return _until(ended) | {"renews": False}


def _cancelled(event: BillingEvent) -> Change:
    match event.reason:
        case "CUSTOMER_SUPPORT":  # a refund
            return _until(event.at if event.expires_at is None else event.expires_at)
        case "BILLING_ERROR":
            return {"trouble": True}
    return {"renews": False}


def _granted(event: BillingEvent) -> Change:
    longest = event.at + LONGEST_GRANT
    return _until(longest if event.expires_at is None else min(longest, event.expires_at)) | {"renews": False}


def _changing(event: BillingEvent) -> Change | None:
    return {"becomes": event.new_product_id} if event.new_product_id else None


def _will_renew(event: BillingEvent) -> Change:
    return {"renews": True, "trouble": False, "resumes_at": _moment(event.resumes_at)}


def _nothing(event: BillingEvent) -> None:  # noqa: ARG001 - one of many that look at the event
    return None


def _until(expires: int | None, grace: int | None = None) -> Change:
    return {"expires_at": _moment(expires), "grace_until": _moment(grace)}


@dataclass(frozen=True)
class Rule:
    """A row of the table.

    change  what becomes of the product's line; None leaves it
    line    which line that is: the product's, or a temporary grant of its own
    buys    whether the event's product was bought: what has changed to it ends
    closes  whether it puts an end to a temporary grant of its transaction
    rank    which of two events made at one moment comes first: the lesser
    asks    whether RevenueCat is asked how things stand
    """

    change: Callable[[BillingEvent], Change | None] = _nothing
    line: str = "product"
    buys: bool = False
    closes: bool = False
    rank: int = 1
    asks: bool = True


_QUIET = Rule(asks=False)
_ASK = Rule()

EVENTS: dict[str, Rule] = {
    "INITIAL_PURCHASE": Rule(_bought, buys=True, closes=True, rank=0),
    "RENEWAL": Rule(_bought, buys=True, closes=True, rank=0),
    "NON_RENEWING_PURCHASE": Rule(_bought_once, rank=0),
    "TEMPORARY_ENTITLEMENT_GRANT": Rule(_granted, line="grant", buys=True, rank=0),
    "SUBSCRIPTION_EXTENDED": Rule(_extended),
    "REFUND_REVERSED": Rule(_extended),
    "UNCANCELLATION": Rule(_will_renew),
    # Paid is paid: it is good until it ends. Only a refund ends it, and one of the latest period alone.
    "CANCELLATION": Rule(_cancelled, rank=3),
    "BILLING_ISSUE": Rule(_unpaid, rank=2),
    # Of a pause to come. When it comes, that is an EXPIRATION, and its end a RENEWAL.
    "SUBSCRIPTION_PAUSED": Rule(_will_renew),
    "EXPIRATION": Rule(_ended, closes=True, rank=4),
    # An announcement: the new product comes with a RENEWAL or an INITIAL_PURCHASE, at once or when the period ends.
    "PRODUCT_CHANGE": Rule(_changing, rank=-1),
    # Of two customers: see `_transfer`.
    "TRANSFER": Rule(rank=5),
    "SUBSCRIBER_ALIAS": _ASK,
    "PURCHASE_REDEEMED": _ASK,
    "PRICE_INCREASE_CONSENT_REQUIRED": _ASK,
    "PRICE_INCREASE_CONSENT_APPROVED": _ASK,
    "VIRTUAL_CURRENCY_TRANSACTION": _ASK,
    "EXPERIMENT_ENROLLMENT": _ASK,
    "TEST": _QUIET,
    "INVOICE_ISSUANCE": _QUIET,
}


def rule_of(kind: str) -> Rule:
    """The row of an event type. Of one nobody has seen before we know nothing, and ask."""
    # Every look at a paywall is an event: asking each time would use up what RevenueCat lets us ask.
    return _QUIET if kind.startswith("PAYWALL_") else EVENTS.get(kind, _ASK)


def counts(event: BillingEvent, policy: Policy) -> bool:
    """Whether the event is from an environment that counts here."""
    return policy.accept_sandbox or event.environment != SANDBOX


def changes_anything(event: BillingEvent) -> bool:
    """Whether the event itself could make a difference to what a customer has."""
    return event.type == "TRANSFER" or rule_of(event.type).change is not _nothing


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else from_ms(ms)


def store_name(event: BillingEvent) -> str:
    return line_name(event.environment, event.store or "UNKNOWN", "").removesuffix("/")


def apply(lines: Lines, event: BillingEvent, policy: Policy) -> Lines:
    """A customer's lines after one more event of theirs, later than all before."""
    rule, change = rule_of(event.type), rule_of(event.type).change(event)
    after = dict(lines)
    granted = after.pop(_grant(event), None) if rule.closes else None
    if change is None or (granted is not None and not rule.buys):
        return after
    name, period = _line_name(after, event, rule), _period(event)
    line = None if name is None else after.get(name)
    if name is None or (line is None and "expires_at" not in change):
        return after  # nothing is known yet of what was cancelled, is to pause or to change
    if line is None:
        product = event.product_id or ""
        line = Line(period, product, tier_of(product, policy.products), None)
    if period < line.period:
        return after  # nothing said of an older period touches a newer one
    origin = event.original_transaction_id or line.origin
    if rule.buys:
        # The map may have been mended since.
        line = msgspec.structs.replace(line, tier=tier_of(line.product, policy.products))
        if rule.line == "product":
            after |= _changed_to(after, name, period, origin)
    after[name] = msgspec.structs.replace(line, period=period, origin=origin, **change)
    return after


def _changed_to(lines: Lines, bought: str, period: int, origin: str | None) -> Lines:
    """The lines that end because their subscription goes on as the product of the line `bought`."""
    store, product = store_of(bought), bought.removeprefix(f"{store_of(bought)}/")
    moment = from_ms(period)
    return {
        name: ended(line, moment)
        for name, line in lines.items()
        if name != bought
        and store_of(name) == store
        and not is_grant(name)
        and line.period <= period
        and (line.becomes == product or (origin is not None and line.origin == origin))
    }


def _grant(event: BillingEvent) -> str:
    return grant_name(store_name(event), event.transaction_id)


def _line_name(lines: Lines, event: BillingEvent, rule: Rule) -> str | None:
    if rule.line == "grant":
        return _grant(event)
    if event.product_id is not None:
        return f"{store_name(event)}/{event.product_id}"
    # An event that names no product: the subscription it belongs to, as far as that is known.
    origin = event.original_transaction_id
    return next(
        (name for name, line in sorted(lines.items()) if store_of(name) == store_name(event) and line.origin == origin),
        None,
    ) if origin else None  # fmt: skip


def _period(event: BillingEvent) -> int:
    """When the billing period began that an event speaks of."""
    # A renewal may be told of before its period begins. What does not say when it began, began before it ended.
    if event.purchased_at is not None:
        return min(event.purchased_at, event.at)
    return event.at if event.expires_at is None else min(event.expires_at, event.at)
