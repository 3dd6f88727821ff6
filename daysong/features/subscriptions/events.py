"""What each RevenueCat event changes in a customer's entitlements: one rule for each event type; pure.

RevenueCat advises to fetch the customer after every event, and `revenuecat_billing.py` does. The rules count while
RevenueCat cannot be asked, and for customers without an account. Events are kept until the next answer and applied in
the order in which they happened, so neither the order nor the number of deliveries matters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from daysong.features.subscriptions.entitlements import (
    Entitlement,
    Entitlements,
    ended,
    entitlement_key,
    grant_key,
    is_grant,
    store_of,
)
from daysong.features.subscriptions.rules import PRODUCTS, Tier, tier_of
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import from_ms
from daysong.vendors.revenuecat.events import SANDBOX, BillingEvent

LONGEST_GRANT = int(timedelta(hours=24) / timedelta(milliseconds=1))


@dataclass(frozen=True)
class Policy:
    """The plan of each product, and whether purchases in a store's sandbox count."""

    products: Mapping[str, Tier]
    accept_sandbox: bool = False


def policy_of(settings: Settings) -> Policy:
    """Return the policy of the settings."""
    return Policy(
        products={**PRODUCTS, **settings.revenuecat.products}, accept_sandbox=settings.revenuecat.accept_sandbox
    )


# Fields of an entitlement with their new values.
Change = dict[str, Any]


def _purchased(event: BillingEvent) -> Change | None:
    # Only a purchase that is no subscription has no end. Another event without one waits for RevenueCat's answer.
    if event.expires_at is None:
        return None
    return _until(event.expires_at) | {
        "renews": True, "has_billing_issue": False, "resumes_at": None, "changes_to": None,
    }  # fmt: skip


def _purchased_once(event: BillingEvent) -> Change | None:
    return _until(event.expires_at) | {"renews": False} if event.unlocks else None


def _extended(event: BillingEvent) -> Change | None:
    return None if event.expires_at is None else _until(event.expires_at)


def _payment_failed(event: BillingEvent) -> Change:
    expires_at = event.at if event.expires_at is None else event.expires_at
    return _until(expires_at, event.grace_until) | {"has_billing_issue": True}


def _expired(event: BillingEvent) -> Change:
    expires_at = event.at if event.expires_at is None else min(event.at, event.expires_at)
    return _until(expires_at) | {"renews": False}


def _canceled(event: BillingEvent) -> Change:
    match event.reason:
        case "CUSTOMER_SUPPORT":  # a refund
            return _until(event.at if event.expires_at is None else event.expires_at)
        case "BILLING_ERROR":
            return {"has_billing_issue": True}
    return {"renews": False}


def _granted(event: BillingEvent) -> Change:
    longest = event.at + LONGEST_GRANT
    return _until(longest if event.expires_at is None else min(longest, event.expires_at)) | {"renews": False}


def _product_change_announced(event: BillingEvent) -> Change | None:
    return {"changes_to": event.new_product_id} if event.new_product_id else None


def _renewal_resumed(event: BillingEvent) -> Change:
    return {"renews": True, "has_billing_issue": False, "resumes_at": _moment(event.resumes_at)}


def _unchanged(event: BillingEvent) -> None:  # noqa: ARG001 - has the signature of the other changes
    return None


def _until(expires: int | None, grace: int | None = None) -> Change:
    return {"expires_at": _moment(expires), "grace_until": _moment(grace)}


@dataclass(frozen=True)
class Rule:
    """What an event type does.

    change       returns the change of the entitlement; None leaves it as it is
    is_grant     whether the entitlement is a temporary grant of its own, not the product's
    is_purchase  whether the product was bought, which ends the product it was changed from
    ends_grant   whether the temporary grant of the same transaction ends
    rank         which of two events of the same time is applied first: the lower
    refreshes    whether the customer is fetched from RevenueCat
    """

    change: Callable[[BillingEvent], Change | None] = _unchanged
    is_grant: bool = False
    is_purchase: bool = False
    ends_grant: bool = False
    rank: int = 1
    refreshes: bool = True


_IGNORE = Rule(refreshes=False)
_REFRESH = Rule()

RULES: dict[str, Rule] = {
    "INITIAL_PURCHASE": Rule(_purchased, is_purchase=True, ends_grant=True, rank=0),
    "RENEWAL": Rule(_purchased, is_purchase=True, ends_grant=True, rank=0),
    "NON_RENEWING_PURCHASE": Rule(_purchased_once, rank=0),
    "TEMPORARY_ENTITLEMENT_GRANT": Rule(_granted, is_grant=True, is_purchase=True, rank=0),
    "SUBSCRIPTION_EXTENDED": Rule(_extended),
    "REFUND_REVERSED": Rule(_extended),
    "UNCANCELLATION": Rule(_renewal_resumed),
    # Access lasts until the paid period ends. Only a refund ends it, and only one of the latest period.
    "CANCELLATION": Rule(_canceled, rank=3),
    "BILLING_ISSUE": Rule(_payment_failed, rank=2),
    # The pause is still to come: it begins with an EXPIRATION, and ends with a RENEWAL.
    "SUBSCRIPTION_PAUSED": Rule(_renewal_resumed),
    "EXPIRATION": Rule(_expired, ends_grant=True, rank=4),
    # Only announced: the new product comes with a RENEWAL or an INITIAL_PURCHASE, at once or when the period ends.
    "PRODUCT_CHANGE": Rule(_product_change_announced, rank=-1),
    # Changes two customers: `history.py` applies it.
    "TRANSFER": Rule(rank=5),
    "SUBSCRIBER_ALIAS": _REFRESH,
    "PURCHASE_REDEEMED": _REFRESH,
    "PRICE_INCREASE_CONSENT_REQUIRED": _REFRESH,
    "PRICE_INCREASE_CONSENT_APPROVED": _REFRESH,
    "VIRTUAL_CURRENCY_TRANSACTION": _REFRESH,
    "EXPERIMENT_ENROLLMENT": _REFRESH,
    "TEST": _IGNORE,
    "INVOICE_ISSUANCE": _IGNORE,
}


def rule_of(event_type: str) -> Rule:
    """Return the rule of an event type; an unknown type only refreshes the customer."""
    # Every view of a paywall is an event: refreshing for each would use up RevenueCat's rate limit.
    return _IGNORE if event_type.startswith("PAYWALL_") else RULES.get(event_type, _REFRESH)


def is_accepted(event: BillingEvent, policy: Policy) -> bool:
    """Whether events of this environment count."""
    return policy.accept_sandbox or event.environment != SANDBOX


def changes_entitlements(event: BillingEvent) -> bool:
    """Whether events of this type can change entitlements by themselves."""
    return event.type == "TRANSFER" or rule_of(event.type).change is not _unchanged


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else from_ms(ms)


def event_store(event: BillingEvent) -> str:
    """Return the environment and store of an event, as `store_of` returns them."""
    return entitlement_key(event.environment, event.store or "UNKNOWN", "").removesuffix("/")


def apply(entitlements: Entitlements, event: BillingEvent, policy: Policy) -> Entitlements:
    """Return a customer's entitlements after an event that is later than all before."""
    rule, change = rule_of(event.type), rule_of(event.type).change(event)
    after = dict(entitlements)
    grant = after.pop(_grant_key(event), None) if rule.ends_grant else None
    if change is None or (grant is not None and not rule.is_purchase):
        return after
    key, period_start = _key(after, event, rule), _period_start(event)
    entitlement = None if key is None else after.get(key)
    if key is None or (entitlement is None and "expires_at" not in change):
        return after  # the purchase that was canceled, paused or changed is not known
    if entitlement is None:
        product = event.product_id or ""
        entitlement = Entitlement(period_start, product, tier_of(product, policy.products), None)
    if period_start < entitlement.period_start:
        return after  # an event of an older period does not change a newer one
    transaction_id = event.original_transaction_id or entitlement.original_transaction_id
    if rule.is_purchase:
        # REVENUECAT_PRODUCTS may have changed since.
        tier = tier_of(entitlement.product, policy.products)
        entitlement = msgspec.structs.replace(entitlement, tier=tier)
        if not rule.is_grant:
            after |= _replaced_by(after, key, period_start, transaction_id)
    after[key] = msgspec.structs.replace(
        entitlement, period_start=period_start, original_transaction_id=transaction_id, **change
    )
    return after


def _replaced_by(
    entitlements: Entitlements, bought: str, period_start: int, transaction_id: str | None
) -> Entitlements:
    """Return the entitlements, ended, whose subscription continues as the product with the key `bought`."""
    store, product = store_of(bought), bought.removeprefix(f"{store_of(bought)}/")
    moment = from_ms(period_start)
    return {
        key: ended(each, moment)
        for key, each in entitlements.items()
        if key != bought
        and store_of(key) == store
        and not is_grant(key)
        and each.period_start <= period_start
        and (
            each.changes_to == product
            or (transaction_id is not None and each.original_transaction_id == transaction_id)
        )
    }


def _grant_key(event: BillingEvent) -> str:
    return grant_key(event_store(event), event.transaction_id)


def _key(entitlements: Entitlements, event: BillingEvent, rule: Rule) -> str | None:
    if rule.is_grant:
        return _grant_key(event)
    if event.product_id is not None:
        return f"{event_store(event)}/{event.product_id}"
    # An event without a product: find the entitlement by its subscription.
    transaction_id = event.original_transaction_id
    return next(
        (
            key
            for key, each in sorted(entitlements.items())
            if store_of(key) == event_store(event) and each.original_transaction_id == transaction_id
        ),
        None,
    ) if transaction_id else None  # fmt: skip


def _period_start(event: BillingEvent) -> int:
    """Return when the event's billing period began (ms), or the latest time it can have begun."""
    # A renewal may be sent before its period begins. A period without a start began before its end.
    if event.purchased_at is not None:
        return min(event.purchased_at, event.at)
    return event.at if event.expires_at is None else min(event.expires_at, event.at)
