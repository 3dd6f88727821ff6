"""An oracle for subscription tests: what a store knows of two subscribers, independent of the service.

It is given each act and returns, for any later moment, the plan of a subscriber. It also builds the webhooks that
RevenueCat would send for an act, and RevenueCat's answer when asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

MINUTE = 60_000
DAY = 86_400_000
BEST_LAST = ("free", "weekly", "monthly", "yearly")
PRODUCTS = {
    "eveokee_premium_weekly": ("weekly", 7),
    "eveokee_premium_monthly": ("monthly", 30),
    "eveokee_premium_annual": ("yearly", 365),
}
STORES = ("APP_STORE", "PLAY_STORE")
PEOPLE = ("user_alice", "user_bob")


@dataclass(frozen=True)
class Step:
    """An act `after` so many ms; fields an act does not need are ignored."""

    act: str
    after: int
    who: str = PEOPLE[0]
    store: str = STORES[0]
    product: str = "eveokee_premium_monthly"
    days: int | None = None


@dataclass(frozen=True)
class Sold:
    """A subscription of a store; times in ms."""

    product: str
    began: int
    ends: int
    paid: int
    transaction: str
    grace: int = 0
    goes_on: bool = True
    unpaid: bool = False
    planned: str | None = None

    @property
    def last(self) -> int:
        """Return when access ends."""
        return max(self.ends, self.grace)


@dataclass
class Store:
    """The subscriptions of a store, one per product and subscriber, and the events sent about them."""

    now: int
    sold: dict[tuple[str, str, str], Sold] = field(default_factory=dict)
    granted: dict[tuple[str, str], tuple[str, str, int]] = field(default_factory=dict)
    earlier: dict[tuple[str, str], list[Sold]] = field(default_factory=dict)
    told: list[dict[str, Any]] = field(default_factory=list)
    _step: Step = field(default_factory=lambda: Step("", 0))

    def tier(self, who: str, moment: int) -> str:
        """Return the best plan of a subscriber at a moment, if nothing else happens until then."""
        had = [
            PRODUCTS[sold.product][0] for (owner, *_), sold in self.sold.items() if owner == who and moment < sold.last
        ]
        had += [
            PRODUCTS[product][0]
            for (owner, _), (product, _, until) in self.granted.items()
            if owner == who and moment < until
        ]
        return max(had, key=BEST_LAST.index, default="free")

    def turning_points(self) -> list[int]:
        """Return the moments at which a subscriber's plan ends by itself."""
        return [sold.last for sold in self.sold.values()] + [until for _, _, until in self.granted.values()]

    def happens(self, step: Step) -> bool:
        """Perform an act if it is possible; return whether it was."""
        before, self.now, self._step = self.now, self.now + step.after, step
        sold = self.subscription(step)
        act = getattr(self, f"_{step.act.replace('-', '_')}")
        takes_sold = step.act not in {"purchase", "grant", "grant-ends", "noise"}
        could: bool = sold is not None and act(sold) if takes_sold else act()
        if not could:
            self.now = before
        return could

    def subscription(self, step: Step) -> Sold | None:
        """Return the subscription of a step: of its product, or, for a change to that product, the newest other one."""
        mine = [sold for (who, store, _), sold in self.sold.items() if (who, store) == (step.who, step.store)]
        changes = step.act.startswith("change")
        fitting = [sold for sold in mine if (sold.product == step.product) is not changes]
        return max(fitting or ([] if changes else mine), key=lambda sold: (sold.began, sold.product), default=None)

    @property
    def _mine(self) -> tuple[str, str]:
        return self._step.who, self._step.store

    def _announced(self, product: str) -> bool:
        """Whether a subscription is scheduled to become that product, so that it cannot be bought as well."""
        return any(sold.planned == product for (*mine, _), sold in self.sold.items() if tuple(mine) == self._mine)

    def _purchase(self) -> bool:
        if self._announced(self._step.product):
            return False
        ends = self.now + PRODUCTS[self._step.product][1] * DAY
        transaction = f"tx{len(self.told)}"
        if self._mine in self.granted and self.granted[self._mine][0] == self._step.product:
            # The store is back and has validated the temporary grant.
            transaction = self.granted.pop(self._mine)[1]
        bought = Sold(self._step.product, self.now, ends, ends, transaction)
        self._put(bought)
        self._tell("INITIAL_PURCHASE", bought)
        return True

    def _grant(self) -> bool:
        if self._mine in self.granted:
            return False
        transaction, until = f"tx{len(self.told)}", self.now + DAY
        self.granted[self._mine] = (self._step.product, transaction, until)
        self.told.append(
            {
                "app_user_id": self._step.who, "entitlement_ids": ["premium"], "event_timestamp_ms": self.now,
                "expiration_at_ms": until, "id": f"event {len(self.told)}", "product_id": self._step.product,
                "purchased_at_ms": self.now, "store": self._step.store, "transaction_id": transaction,
                "type": "TEMPORARY_ENTITLEMENT_GRANT",
            }
        )  # fmt: skip
        return True

    def _grant_ends(self) -> bool:
        """The store is back and has refused the temporary grant."""
        product, transaction, until = self.granted.get(self._mine, ("", "", 0))
        if self.now >= until:
            return False
        del self.granted[self._mine]
        refused = Sold(product, until - DAY, self.now, self.now, transaction)
        self._tell("EXPIRATION", refused, expiration_reason="UNKNOWN")
        return True

    def _renew(self, sold: Sold) -> bool:
        product = sold.planned or sold.product
        # Renewed early, the next period is added to this one.
        begins = sold.ends if self.now < sold.ends and not sold.grace else self.now
        ends = begins + PRODUCTS[product][1] * DAY
        if product != sold.product and not self._give_up(sold, product):
            return False
        renewed = Sold(product, self.now, ends, ends, sold.transaction)
        self._put(renewed)
        self._tell("RENEWAL", renewed)
        return True

    def _give_up(self, sold: Sold, product: str) -> bool:
        """End a subscription that continues as another product, if possible; return whether it was."""
        there = self.sold.get((*self._mine, product))
        if there is not None and there.last > self.now:
            return False
        del self.sold[*self._mine, sold.product]
        self.earlier.setdefault(self._mine, []).append(replace(sold, ends=min(sold.ends, self.now), grace=0))
        return True

    def _cancel(self, sold: Sold) -> bool:
        sold = self._now(replace(sold, goes_on=False))
        self._tell("CANCELLATION", sold, cancel_reason="UNSUBSCRIBE")
        return True

    def _uncancel(self, sold: Sold) -> bool:
        sold = self._now(replace(sold, goes_on=True))
        self._tell("UNCANCELLATION", sold)
        return True

    def _billing_issue(self, sold: Sold) -> bool:
        if self.now >= sold.ends or not sold.goes_on:
            return False
        grace = self.now + self._step.days * DAY if self._step.days else 0
        sold = self._now(replace(sold, ends=self.now, grace=grace, unpaid=True))
        self._tell("BILLING_ISSUE", sold, grace_period_expiration_at_ms=grace or None)
        self._tell("CANCELLATION", sold, cancel_reason="BILLING_ERROR")
        return True

    def _expire(self, sold: Sold) -> bool:
        sold = self._now(replace(sold, ends=min(sold.ends, self.now), grace=0, goes_on=False))
        self._tell("EXPIRATION", sold, expiration_reason="UNKNOWN")
        return True

    def _refund(self, sold: Sold) -> bool:
        sold = self._now(replace(sold, ends=self.now, grace=0))
        self._tell("CANCELLATION", sold, cancel_reason="CUSTOMER_SUPPORT", price=-9.99)
        return True

    def _reverse_refund(self, sold: Sold) -> bool:
        sold = self._now(replace(sold, ends=sold.paid, grace=0))
        self._tell("REFUND_REVERSED", sold)
        return True

    def _extend(self, sold: Sold) -> bool:
        if sold.grace:
            return False
        ends = sold.ends + (self._step.days or 7) * DAY
        sold = self._now(replace(sold, ends=ends, paid=ends, grace=0))
        self._tell("SUBSCRIPTION_EXTENDED", sold)
        return True

    def _change_later(self, sold: Sold) -> bool:
        there = self.sold.get((*self._mine, self._step.product))
        if there is not None or self._announced(self._step.product):
            return False
        self._tell("PRODUCT_CHANGE", sold, new_product_id=self._step.product)
        self._now(replace(sold, planned=self._step.product))
        return True

    def _change_now(self, sold: Sold) -> bool:
        there = self.sold.get((*self._mine, self._step.product))
        if self._announced(self._step.product) or (there is not None and there.last > self.now):
            return False
        self._tell("PRODUCT_CHANGE", sold, new_product_id=self._step.product)
        if self._step.store == "PLAY_STORE":
            return self._give_up(sold, self._step.product) and self._purchase()
        return self._renew(replace(sold, planned=self._step.product, ends=self.now, grace=0))

    def _pause(self, sold: Sold) -> bool:
        self._tell("SUBSCRIPTION_PAUSED", sold, auto_resume_at_ms=sold.ends + 30 * DAY)
        return True

    def _transfer(self, _: Sold) -> bool:
        other = next(each for each in PEOPLE if each != self._step.who)
        theirs = (other, self._step.store)
        has_some = any((who, store) == theirs for who, store, _ in self.sold)
        if has_some or theirs in self.granted or self._mine in self.granted:
            return False
        for product in PRODUCTS:
            if (*self._mine, product) in self.sold:
                self.sold[*theirs, product] = self.sold.pop((*self._mine, product))
        self.earlier[theirs] = self.earlier.pop(self._mine, [])
        self.told.append(
            {
                "environment": "PRODUCTION", "event_timestamp_ms": self.now, "id": f"event {len(self.told)}",
                "store": self._step.store, "type": "TRANSFER",
                "transferred_from": [self._step.who], "transferred_to": [other],
            }
        )  # fmt: skip
        return True

    def _noise(self) -> bool:
        """Send events that must not change anything."""
        yearly = Sold("eveokee_premium_annual", self.now, self.now + 365 * DAY, 0, "sandbox")
        for environment, kind in (
            ("SANDBOX", "INITIAL_PURCHASE"), ("PRODUCTION", "TEST"), ("PRODUCTION", "INVOICE_ISSUANCE"),
            ("PRODUCTION", "SOMETHING_NEW"), ("PRODUCTION", "EXPERIMENT_ENROLLMENT"),
        ):  # fmt: skip
            self._tell(kind, yearly, environment=environment)
        for old in self.earlier.get(self._mine, ()):
            # About a period long over, delivered only now.
            self._tell("EXPIRATION", old, expiration_reason="BILLING_ERROR")
            self._tell("CANCELLATION", old, cancel_reason="CUSTOMER_SUPPORT", price=-9.99)
        return True

    def _now(self, sold: Sold) -> Sold:
        """Return the current state of a subscription."""
        self.sold[*self._mine, sold.product] = sold
        return sold

    def _put(self, sold: Sold) -> None:
        if (*self._mine, sold.product) in self.sold:
            self.earlier.setdefault(self._mine, []).append(self.sold[*self._mine, sold.product])
        self._now(sold)

    def _tell(self, kind: str, sold: Sold, **more: Any) -> None:
        who, store = self._mine
        self.told.append(
            {
                "aliases": [who], "app_user_id": who, "entitlement_ids": ["premium"],
                "environment": "PRODUCTION", "event_timestamp_ms": self.now, "expiration_at_ms": sold.ends,
                "id": f"event {len(self.told)}", "original_app_user_id": who, "product_id": sold.product,
                "purchased_at_ms": sold.began, "store": store, "transaction_id": sold.transaction, "type": kind,
                "original_transaction_id": sold.transaction,
            }
            | more
        )  # fmt: skip

    def answer(self, who: str) -> list[dict[str, Any]]:
        """Return a subscriber's subscriptions as RevenueCat's API words them, but with the store's product names."""
        items = [self._item(store, sold) for (owner, store, _), sold in self.sold.items() if owner == who]
        for (owner, store), (product, transaction, until) in self.granted.items():
            if owner == who:
                items.append(self._item(store, Sold(product, until - DAY, until, until, transaction)))
        items += [
            self._item(store, old) | {"id": f"old {place}"}
            for (owner, store), sold in self.earlier.items()
            if owner == who
            for place, old in enumerate(sold)
            if old.last < self.now
        ]
        items.append(
            self._item("APP_STORE", Sold("eveokee_premium_annual", self.now, self.now + DAY, 0, "sandbox"))
            | {"environment": "sandbox"}
        )
        return items

    def _item(self, store: str, sold: Sold) -> dict[str, Any]:
        good = self.now < sold.last
        in_grace = sold.ends <= self.now < sold.grace
        status = "in_grace_period" if in_grace else "active" if good else "expired"
        return {
            "id": f"sub {store} {sold.transaction}", "product_id": sold.product, "store": store.lower(),
            "environment": "production", "gives_access": good, "status": status,
            "auto_renewal_status": "will_renew" if sold.goes_on else "will_not_renew",
            "current_period_starts_at": sold.began,
            "current_period_ends_at": sold.grace if in_grace else sold.ends,
            "ends_at": None if sold.goes_on and good else sold.ends, "starts_at": sold.began,
            "store_subscription_identifier": sold.transaction,
        }  # fmt: skip


ACTS = (
    "purchase", "renew", "cancel", "uncancel", "billing-issue", "expire", "refund", "reverse-refund", "extend",
    "change-later", "change-now", "pause", "transfer", "noise",
)  # fmt: skip


def histories(
    *, acts: tuple[str, ...] = (*ACTS, "grant", "grant-ends"), longest: int = 10
) -> st.SearchStrategy[list[Step]]:
    """Generate acts of two subscribers; the first is a purchase."""
    step = st.builds(
        Step,
        act=st.sampled_from(acts),
        after=st.one_of(st.integers(1, MINUTE), st.integers(MINUTE, DAY), st.integers(DAY, 40 * DAY)),
        who=st.sampled_from((PEOPLE[0], PEOPLE[0], PEOPLE[1])),
        store=st.sampled_from((STORES[0], STORES[0], STORES[1])),
        product=st.sampled_from(sorted(PRODUCTS)),
        days=st.one_of(st.none(), st.integers(1, 16)),
    )
    first = st.builds(Step, act=st.just("purchase"), after=st.just(1), product=st.sampled_from(sorted(PRODUCTS)))
    return st.builds(lambda first, rest: [first, *rest], first, st.lists(step, max_size=longest))
