"""The customers of the sandboxed RevenueCat, their purchases, the acts that change them, and the resulting events."""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated, Any, Literal

import msgspec

DAY = 86_400_000
LENGTHS = {"weekly": 7, "monthly": 30, "annual": 365}
ENTITLEMENT = {"id": "entl0000000001", "lookup_key": "premium", "display_name": "Premium", "object": "entitlement"}

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Days = Annotated[float, msgspec.Meta(gt=0, le=4000)]


class Act(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """An act and its customer. Fields an act does not need are ignored.

    of      the product of the subscription it happens to; without it, the newest of the store
    days    how long the period, the grace period, the extension or the pause is
    reason  why it is cancelled or has expired, in RevenueCat's words
    to      who gets what is transferred, or who else the customer turns out to be
    mode    whether a change of product takes place at once
    """

    app_user_id: Id
    product_id: Id | None = None
    of: Id | None = None
    store: Id = "APP_STORE"
    environment: Literal["PRODUCTION", "SANDBOX"] = "PRODUCTION"
    days: Days | None = None
    reason: str | None = None
    to: Id | None = None
    mode: Literal["immediate", "deferred"] = "immediate"
    trial: bool = False


class Bought(msgspec.Struct, kw_only=True):
    """A subscription or a one-time purchase; times in ms."""

    id: str
    product: str
    store: str
    environment: str
    started_at: int
    period_began: int
    ends_at: int | None
    transaction: str
    paid_until: int | None = None
    grace_until: int | None = None
    period_type: str = "NORMAL"
    renewals: int = 0
    renews: bool = True
    trouble: bool = False
    resumes_at: int | None = None
    paused: bool = False
    next_product: str | None = None
    recurring: bool = True

    def gives_access(self, now: int) -> bool:
        """Return whether it gives access at `now`."""
        return self.ends_at is None or now < max(self.ends_at, self.grace_until or 0)


class Customer(msgspec.Struct):
    """A customer, with all their ids."""

    ids: list[str]
    bought: list[Bought] = []


class Refused(Exception):
    """The act is not possible; the text says why."""


def product_id(name: str) -> str:
    """Return RevenueCat's id of a store's product."""
    return f"prod{hashlib.sha256(name.encode()).hexdigest()[:10]}"


def _length(product: str) -> int:
    return next((days for word, days in LENGTHS.items() if product.endswith(word)), 30) * DAY


class Customers:
    """All customers. Every act changes them and returns the events RevenueCat would send."""

    def __init__(self) -> None:
        self._by_id: dict[str, Customer] = {}
        self.products: dict[str, str] = {}

    def get(self, app_user_id: str) -> Customer | None:
        """Return the customer with that id."""
        return self._by_id.get(app_user_id)

    def meet(self, app_user_id: str) -> Customer:
        """Return the customer with that id, created if necessary."""
        if app_user_id not in self._by_id:
            self._by_id[app_user_id] = Customer([app_user_id])
        return self._by_id[app_user_id]

    def act(self, name: str, act: Act, now: int) -> list[dict[str, Any]] | None:
        """Perform an act; None when it does not exist, Refused when it is not possible."""
        acts = {
            "purchase": self._purchase,
            "buy-once": self._buy_once,
            "grant": self._grant,
            "renew": self._renew,
            "cancel": self._cancel,
            "uncancel": self._uncancel,
            "billing-issue": self._billing_issue,
            "expire": self._expire,
            "refund": self._refund,
            "reverse-refund": self._reverse_refund,
            "extend": self._extend,
            "change-product": self._change_product,
            "pause": self._pause,
            "transfer": self._transfer,
            "alias": self._alias,
        }
        return acts[name](act, now) if name in acts else None

    def _new(self, act: Act, now: int, *, ends_at: int | None) -> Bought:
        if act.product_id is None:
            raise Refused("productId is missing")
        self.products[product_id(act.product_id)] = act.product_id
        return Bought(
            id=f"sub{secrets.token_hex(6)}",
            product=act.product_id,
            store=act.store,
            environment=act.environment,
            started_at=now,
            period_began=now,
            ends_at=ends_at,
            paid_until=ends_at,
            transaction=str(secrets.randbelow(10**15)),
        )

    def _purchase(self, act: Act, now: int) -> list[dict[str, Any]]:
        customer = self.meet(act.app_user_id)
        length = int(act.days * DAY) if act.days else _length(act.product_id or "")
        bought = self._new(act, now, ends_at=now + length)
        bought.period_type = "TRIAL" if act.trial else "NORMAL"
        # A repeated purchase replaces the previous one.
        same = (act.store, act.environment, act.product_id)
        customer.bought = [each for each in customer.bought if (each.store, each.environment, each.product) != same] + [
            bought
        ]
        return [_event("INITIAL_PURCHASE", act, customer, bought, now)]

    def _buy_once(self, act: Act, now: int) -> list[dict[str, Any]]:
        customer = self.meet(act.app_user_id)
        bought = self._new(act, now, ends_at=None)
        bought.recurring = bought.renews = False
        customer.bought.append(bought)
        return [_event("NON_RENEWING_PURCHASE", act, customer, bought, now)]

    def _grant(self, act: Act, now: int) -> list[dict[str, Any]]:
        customer = self.meet(act.app_user_id)
        bought = self._new(act, now, ends_at=now + int((act.days or 1) * DAY))
        customer.bought.append(bought)
        event = _event("TEMPORARY_ENTITLEMENT_GRANT", act, customer, bought, now)
        few = "id type event_timestamp_ms app_user_id product_id entitlement_ids store purchased_at_ms expiration_at_ms"
        return [{name: event[name] for name in (*few.split(), "transaction_id")}]

    def _subscription(self, act: Act) -> tuple[Customer, Bought]:
        customer = self.get(act.app_user_id)
        wanted = (act.store, act.environment, True)
        found = [
            bought
            for bought in (customer.bought if customer else ())
            if (bought.store, bought.environment, bought.recurring) == wanted and act.of in {None, bought.product}
        ]
        if customer is None or not found:
            raise Refused("there is no such subscription")
        return customer, max(found, key=lambda bought: bought.period_began)

    def _renew(self, act: Act, now: int) -> list[dict[str, Any]]:
        customer, bought = self._subscription(act)
        if act.product_id or bought.next_product:
            bought.product = act.product_id or bought.next_product or ""
            self.products[product_id(bought.product)] = bought.product
        bought.next_product = None
        bought.period_began = now
        begins = max(now, bought.ends_at or 0) if bought.gives_access(now) and bought.grace_until is None else now
        bought.ends_at = bought.paid_until = begins + (int(act.days * DAY) if act.days else _length(bought.product))
        bought.grace_until = bought.resumes_at = None
        bought.renews, bought.trouble, bought.paused, bought.period_type = True, False, False, "NORMAL"
        bought.renewals += 1
        return [_event("RENEWAL", act, customer, bought, now)]

    def _cancel(self, act: Act, now: int) -> list[dict[str, Any]]:
        customer, bought = self._subscription(act)
        bought.renews = False
        return [_event("CANCELLATION", act, customer, bought, now, cancel_reason=act.reason or "UNSUBSCRIBE", price=0)]

    def _uncancel(self, act: Act, now: int) -> list[dict[str, Any]]:
        customer, bought = self._subscription(act)
        bought.renews = True
        return [_event("UNCANCELLATION", act, customer, bought, now, price=0)]

    def _billing_issue(self, act: Act, now: int) -> list[dict[str, Any]]:
        customer, bought = self._subscription(act)
        bought.trouble = True
        bought.ends_at = min(bought.ends_at or now, now)
        bought.grace_until = now + int(act.days * DAY) if act.days else None
        issue = _event(
            "BILLING_ISSUE", act, customer, bought, now, grace_period_expiration_at_ms=bought.grace_until, price=0
        )
        return [issue, _event("CANCELLATION", act, customer, bought, now, cancel_reason="BILLING_ERROR", price=0)]

    def _expire(self, act: Act, now: int) -> list[dict[str, Any]]:
        customer, bought = self._subscription(act)
        bought.ends_at = min(bought.ends_at or now, now)
        bought.grace_until = None
        bought.renews = False
        bought.paused = act.reason == "SUBSCRIPTION_PAUSED"
        return [
            _event("EXPIRATION", act, customer, bought, now, expiration_reason=act.reason or "UNSUBSCRIBE", price=0)
        ]

    def _refund(self, act: Act, now: int) -> list[dict[str, Any]]:
        customer, bought = self._subscription(act)
        bought.ends_at, bought.grace_until = now, None
        return [_event("CANCELLATION", act, customer, bought, now, cancel_reason="CUSTOMER_SUPPORT", price=-9.99)]

    def _reverse_refund(self, act: Act, now: int) -> list[dict[str, Any]]:
        customer, bought = self._subscription(act)
        bought.ends_at = bought.paid_until
        return [_event("REFUND_REVERSED", act, customer, bought, now)]

    def _extend(self, act: Act, now: int) -> list[dict[str, Any]]:
        customer, bought = self._subscription(act)
        bought.ends_at = bought.paid_until = (bought.ends_at or now) + int((act.days or 7) * DAY)
        return [_event("SUBSCRIPTION_EXTENDED", act, customer, bought, now, price=0)]

    def _change_product(self, act: Act, now: int) -> list[dict[str, Any]]:
        customer, bought = self._subscription(act)
        if act.product_id is None:
            raise Refused("productId is missing")
        told = _event("PRODUCT_CHANGE", act, customer, bought, now, new_product_id=act.product_id, price=0)
        if act.mode == "deferred":
            bought.next_product = act.product_id
            return [told]
        bought.ends_at, bought.grace_until, bought.renews = now, None, False
        if act.store == "PLAY_STORE":
            return [told, *self._purchase(act, now)]
        return [told, *self._renew(act, now)]

    def _pause(self, act: Act, now: int) -> list[dict[str, Any]]:
        customer, bought = self._subscription(act)
        bought.resumes_at = (bought.ends_at or now) + int((act.days or 30) * DAY)
        return [_event("SUBSCRIPTION_PAUSED", act, customer, bought, now, auto_resume_at_ms=bought.resumes_at, price=0)]

    def _transfer(self, act: Act, now: int) -> list[dict[str, Any]]:
        source = self.get(act.app_user_id)
        if source is None or act.to is None:
            raise Refused("no customer to transfer from, or to")
        target = self.meet(act.to)
        moved = [each for each in source.bought if (each.store, each.environment) == (act.store, act.environment)]
        source.bought = [each for each in source.bought if each not in moved]
        target.bought = [
            each
            for each in target.bought
            if (each.store, each.environment) != (act.store, act.environment) or not moved
        ] + moved
        return [
            {
                "app_id": "app0000000001",
                "environment": act.environment,
                "event_timestamp_ms": now,
                "id": _event_id(),
                "store": act.store,
                "transferred_from": list(source.ids),
                "transferred_to": [act.to],
                "type": "TRANSFER",
            }
        ]

    def _alias(self, act: Act, now: int) -> list[dict[str, Any]]:
        if act.to is None:
            raise Refused("`to` is missing")
        one, other = self.meet(act.app_user_id), self.meet(act.to)
        if one is not other:
            one.ids += other.ids
            one.bought += other.bought
            self._by_id |= dict.fromkeys(one.ids, one)
        return [_event("SUBSCRIBER_ALIAS", act, one, None, now)]


def _event_id() -> str:
    return f"{secrets.token_hex(4)}-{secrets.token_hex(2)}-4{secrets.token_hex(2)[1:]}-8000-{secrets.token_hex(6)}"


def _event(
    kind: str, act: Act, customer: Customer, bought: Bought | None, now: int, *, price: float = 9.99, **more: Any
) -> dict[str, Any]:
    return {
        "aliases": list(customer.ids),
        "app_id": "app0000000001",
        "app_user_id": act.app_user_id,
        "commission_percentage": 0.3,
        "country_code": "US",
        "currency": "USD",
        "entitlement_id": None,
        "entitlement_ids": [ENTITLEMENT["lookup_key"]] if bought else None,
        "environment": act.environment,
        "event_timestamp_ms": now,
        "expiration_at_ms": bought and bought.ends_at,
        "id": _event_id(),
        "is_family_share": False,
        "metadata": None,
        "offer_code": None,
        "original_app_user_id": customer.ids[0],
        "original_transaction_id": bought and bought.transaction,
        "period_type": bought and bought.period_type,
        "presented_offering_id": "default",
        "price": price,
        "price_in_purchased_currency": price,
        "product_id": bought and bought.product,
        "purchased_at_ms": bought and bought.period_began,
        "renewal_number": (bought and bought.renewals) or None,
        "store": act.store,
        "subscriber_attributes": {},
        "takehome_percentage": 0.7,
        "tax_percentage": 0.0,
        "transaction_id": bought and bought.transaction,
        "type": kind,
    } | more
