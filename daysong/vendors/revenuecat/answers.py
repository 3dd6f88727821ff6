"""Parsing of RevenueCat's responses about a customer: both API versions into one model.

Fields may be missing or of an unknown type; stores, states and environments are open sets.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from daysong.kernel.functions.declarations import Args
from daysong.kernel.time.clock import to_ms
from daysong.vendors.revenuecat.events import LAST_MS, PRODUCTION, SANDBOX

GRACE = "in_grace_period"


class Purchase(Args, kw_only=True):
    """A purchase of a customer. Times are ms since the epoch.

    product       the store's identifier; RevenueCat's where that is missing
    origin        the store's id of the subscription, the same through all renewals; None when it is not given
    period_began  start of the current billing period
    ends_at       end of the paid time; None when it never ends or is unknown
    grace_until   end of the grace period after a failed payment
    gives_access  as RevenueCat said at the time of the response
    recurring     a subscription, not a one-time purchase
    """

    id: str
    product: str
    store: str
    environment: str
    period_began: int
    ends_at: int | None = None
    grace_until: int | None = None
    gives_access: bool = False
    renews: bool = False
    trouble: bool = False
    resumes_at: int | None = None
    recurring: bool = True
    origin: str | None = None


class Customer(Args):
    """A customer of RevenueCat."""

    purchases: tuple[Purchase, ...] = ()


def subscription_v2(item: dict[str, Any], product: str) -> Purchase:
    """Return a subscription from version 2 of the API, which lacks the product's identifier."""
    state, renewal = item.get("status"), item.get("auto_renewal_status")
    # `ends_at` is later when the next period is already paid for.
    ends = [_ms(item.get(name)) for name in ("current_period_ends_at", "ends_at")]
    end = max((moment for moment in ends if moment is not None), default=None)
    in_grace = state == GRACE
    return Purchase(
        id=str(item.get("id", "")),
        product=product,
        store=_name(item.get("store")),
        environment=_environment(item.get("environment")),
        period_began=_ms(item.get("current_period_starts_at")) or _ms(item.get("starts_at")) or 0,
        ends_at=end,
        # While the last payment is missing, the period's end is that of the grace period.
        grace_until=end if in_grace else None,
        gives_access=item.get("gives_access") is True,
        renews=renewal not in {"will_not_renew", None},
        trouble=in_grace or state == "in_billing_retry",
        origin=_text(item.get("store_subscription_identifier")),
    )


def purchase_v2(item: dict[str, Any], product: str) -> Purchase:
    """Return a one-time purchase from version 2; it gives access while it is owned and has an entitlement."""
    return Purchase(
        id=str(item.get("id", "")),
        product=product,
        store=_name(item.get("store")),
        environment=_environment(item.get("environment")),
        period_began=_ms(item.get("purchased_at")) or 0,
        gives_access=item.get("status") == "owned" and bool(_items(item.get("entitlements"))),
        recurring=False,
    )


def product_v2(item: dict[str, Any]) -> str | None:
    """Return RevenueCat's id of the product; for a dashboard grant, which has none, the id used in webhooks."""
    product = item.get("product_id")
    if isinstance(product, str) and product:
        return product
    keys = [each.get("lookup_key") for each in _items(item.get("entitlements"))]
    return next((f"rc_promo_{key}" for key in keys if key), None)


def customer_v1(found: dict[str, Any]) -> Customer:
    """Return a subscriber from version 1 of the API, which includes expired purchases."""
    subscriber = _dict(found.get("subscriber"))
    now = _ms(found.get("request_date_ms")) or 0
    unlocking = {_dict(each).get("product_identifier") for each in _dict(subscriber.get("entitlements")).values()}
    purchases = [
        _subscription_v1(name, _dict(item), now) for name, item in _dict(subscriber.get("subscriptions")).items()
    ]
    for name, items in _dict(subscriber.get("non_subscriptions")).items():
        purchases += [
            Purchase(
                id=str(item.get("id", "")),
                product=name,
                store=_name(item.get("store")),
                environment=SANDBOX if item.get("is_sandbox") is True else PRODUCTION,
                period_began=_date(item.get("purchase_date")) or 0,
                gives_access=name in unlocking,
                recurring=False,
            )
            for item in (items if isinstance(items, list) else ())
            if isinstance(item, dict)
        ]
    return Customer(tuple(purchases))


def _subscription_v1(product: str, item: dict[str, Any], now: int) -> Purchase:
    ends, grace = _date(item.get("expires_date")), _date(item.get("grace_period_expires_date"))
    failed = _date(item.get("billing_issues_detected_at")) is not None
    until = None if ends is None else max(ends, grace or ends)
    return Purchase(
        id=str(item.get("store_transaction_id", "")),
        product=_with_plan(product, item),
        store=_name(item.get("store")),
        environment=SANDBOX if item.get("is_sandbox") is True else PRODUCTION,
        period_began=_date(item.get("purchase_date")) or 0,
        ends_at=ends,
        grace_until=grace,
        gives_access=(until is None or now < until) and item.get("refunded_at") is None,
        renews=item.get("unsubscribe_detected_at") is None and not (failed and until is not None and until <= now),
        trouble=failed,
        resumes_at=_date(item.get("auto_resume_date")),
    )


def _with_plan(product: str, item: dict[str, Any]) -> str:
    """Return the product id used in webhooks: for Google Play, version 1 has the base plan in a separate field."""
    plan = _text(item.get("product_plan_identifier"))
    return product if plan is None or ":" in product else f"{product}:{plan}"


def _items(value: Any) -> list[dict[str, Any]]:
    items = _dict(value).get("items")
    return [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _name(value: Any) -> str:
    return value.upper() if isinstance(value, str) and value else "UNKNOWN"


def _environment(value: Any) -> str:
    return SANDBOX if isinstance(value, str) and value.upper() == SANDBOX else PRODUCTION


def _ms(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_MS:
        return None
    return int(value)


def _date(value: Any) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return int(to_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC)))
