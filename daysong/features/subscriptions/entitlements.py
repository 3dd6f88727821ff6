"""What a customer is entitled to, and the subscription status that apps read.

A customer has one entitlement for each product of an environment and store. Only a change of product lets one product
end another. The entitlement with the best plan decides.

    access = now < max(expires_at, grace_until)

Everything is pure, except that `status_columns` returns SQL. A query that shows a status selects
`{status_columns("$2")}` from `subscriptions s`, with `now - LONGEST_PERIOD` as $2, passes the row to `status_of` or
`quota_of_row`, and names READS in its `reads`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import inf
from typing import Any

import asyncpg
import msgspec

from daysong.features.subscriptions.rules import (
    FREE_PRODUCT,
    RANK,
    CountingWindow,
    Quota,
    QuotaState,
    Span,
    Status,
    Tier,
    counting_window,
    platform_of,
    quota,
)
from daysong.kernel.functions.declarations import Result
from daysong.kernel.time.clock import to_ms
from daysong.vendors.revenuecat.events import BillingEvent

READS = ("subscriptions", "usage_charges", "usage_refunds", "usage_grants", "users", "mailbox_usage")

MAX = datetime.max.replace(tzinfo=UTC)

# Names in the columns `lines` of the database, where they differ.
_STORED_NAMES = {
    "period_start": "period",
    "has_billing_issue": "trouble",
    "original_transaction_id": "origin",
    "changes_to": "becomes",
}


class Entitlement(msgspec.Struct, frozen=True, omit_defaults=True, rename=_STORED_NAMES):
    """A product bought in a store: a subscription, or a purchase without an end.

    period_start             when the latest known billing period began (ms)
    tier                     the plan of the product; None when the product is in no map
    expires_at               None for never
    renews                   whether the subscription is expected to renew
    has_billing_issue        whether the last payment failed
    resumes_at               when a scheduled pause ends
    original_transaction_id  the store's id of the subscription, the same through renewals and changes of product
    changes_to               the product it will change to: buying that product ends this entitlement
    """

    period_start: int
    product: str
    tier: Tier | None
    expires_at: datetime | None
    grace_until: datetime | None = None
    renews: bool = True
    has_billing_issue: bool = False
    resumes_at: datetime | None = None
    original_transaction_id: str | None = None
    changes_to: str | None = None

    @property
    def until(self) -> datetime | None:
        """When access ends; None for never."""
        if self.expires_at is None or self.grace_until is None:
            return self.expires_at
        return max(self.expires_at, self.grace_until)

    def gives_access(self, now: datetime) -> bool:
        """Whether it gives access at `now`."""
        return self.until is None or now < self.until


# By `entitlement_key` or `grant_key`.
Entitlements = dict[str, Entitlement]


class History(msgspec.Struct, frozen=True, omit_defaults=True, rename={"snapshot": "answered"}):
    """The inputs of a customer's entitlements: RevenueCat's latest answer, and the events after it in order."""

    snapshot: Entitlements = {}
    events: tuple[BillingEvent, ...] = ()


class CustomerState(msgspec.Struct, frozen=True):
    """The entitlements of a customer, and the history they are computed from.

    verified_at  when RevenueCat was last asked (ms)
    """

    entitlements: Entitlements = {}
    history: History = History()
    verified_at: int | None = None


EMPTY = CustomerState()


class Summary(msgspec.Struct, frozen=True):
    """A customer's plan and status at a moment; `tier` is the usable plan: free once everything has ended."""

    tier: Tier
    product_id: str
    status: Status
    platform: str | None = None
    expires_at: datetime | None = None
    grace_until: datetime | None = None


def entitlement_key(environment: str, store: str, product: str) -> str:
    """Return the key of a product's entitlement."""
    return "/".join((environment, store.replace("/", "_"), product))


def grant_key(store: str, transaction: str | None) -> str:
    """Return the key of a temporary grant; `store` has the form that `store_of` returns."""
    return f"{store}/grant {transaction}"


def is_grant(key: str) -> bool:
    """Whether the key is that of a temporary grant."""
    return key.removeprefix(store_of(key)).startswith("/grant ")


def store_of(key: str) -> str:
    """Return the environment and store of a key."""
    return "/".join(key.split("/", 2)[:2])


def ended(entitlement: Entitlement, now: datetime) -> Entitlement:
    """Return the entitlement ended at `now`; unchanged when it has ended before."""
    if not entitlement.gives_access(now):
        return entitlement
    return msgspec.structs.replace(entitlement, expires_at=now, grace_until=None, renews=False, changes_to=None)


def paid(entitlements: Entitlements) -> Iterator[tuple[str, Entitlement, Tier]]:
    """Yield the entitlements to a paid plan, current or ended."""
    for key, entitlement in entitlements.items():
        if entitlement.tier is not None and entitlement.tier != "free":
            yield key, entitlement, entitlement.tier


def unmapped_products(entitlements: Entitlements, now: datetime) -> set[str]:
    """Return the products that give access at RevenueCat but grant nothing here, because no map has their plan."""
    return {
        each.product for each in entitlements.values() if each.tier is None and each.product and each.gives_access(now)
    }


def spans(entitlements: Entitlements) -> tuple[Span, ...]:
    """Return each paid tier with its end."""
    return tuple(Span(tier, entitlement.until) for _, entitlement, tier in paid(entitlements))


def summary(entitlements: Entitlements, now: datetime) -> Summary:
    """Summarize the best plan that gives access at `now`, else the one that ended last."""

    def order(each: tuple[str, Entitlement, Tier]) -> tuple[int, float, str]:
        key, entitlement, tier = each
        rank = RANK[tier] if entitlement.gives_access(now) else 0
        # Keys break ties, so that the result does not depend on the order of the dict.
        return rank, inf if entitlement.until is None else entitlement.until.timestamp(), key

    best = max(paid(entitlements), key=order, default=None)
    if best is None:
        return Summary("free", FREE_PRODUCT, "active")
    key, entitlement, tier = best
    status: Status = "active"
    if not entitlement.gives_access(now):
        status = "expired"
    elif entitlement.expires_at is not None and entitlement.expires_at <= now:
        status = "in_grace"
    elif not entitlement.renews:
        status = "canceled"
    return Summary(
        tier="free" if status == "expired" else tier,
        product_id=entitlement.product,
        status=status,
        platform=platform_of(key.split("/")[1]),
        expires_at=entitlement.expires_at,
        grace_until=entitlement.grace_until,
    )


def status_columns(since: str) -> str:
    """Return the columns to select of `subscriptions s`; `since` is the parameter with `now - LONGEST_PERIOD`."""
    return f"""s.id as subscription_id, s.lines::text as subscription_lines, s.custom_music_limit, s.last_reset_at,
           s.counted_since, s.counted_until, s.counted_at,
           array(select c.charged_at from usage_charges c, generate_series(1, c.amount)
                 where c.user_id = s.user_id and c.charged_at > {since}
                   and not exists (select from usage_refunds r where r.charge_id = c.id)) as charges,
           array(select g.granted_at from usage_grants g
                 where g.user_id = s.user_id and g.granted_at > {since} order by g.id) as granted_at,
           array(select g.amount from usage_grants g
                 where g.user_id = s.user_id and g.granted_at > {since} order by g.id) as granted,
           (select coalesce(sum(f.amount), 0)::int from mailbox_usage f
            where f.mailbox_hash = (select mailbox_hash from users where id = s.user_id) and f.charged_at > {since}
              and not exists (select from usage_charges c where c.id = f.charge_id and c.user_id = s.user_id)
           ) as shared"""  # noqa: S608


class SubscriptionStatus(Result):
    """A subscription as apps show it; times in ms."""

    tier: Tier
    status: Status
    music_generations_used: float
    music_limit: float
    period_start: float
    period_end: float
    is_active: bool
    remaining_quota: float


class SubscriptionOfProfile(SubscriptionStatus):
    """A subscription with its product, as the profile shows it."""

    product_id: str


def parse_entitlements(value: Any) -> Entitlements:
    """Convert the value of a column `lines`."""
    return msgspec.convert(value, Entitlements)


# Cached, since all that follows from a row needs them, and rows with the same plan come again.
@lru_cache(1_000)
def _entitlements(lines: str) -> Entitlements:
    return msgspec.json.decode(lines, type=Entitlements)


@lru_cache(1_000)
def _spans(lines: str) -> tuple[Span, ...]:
    return spans(_entitlements(lines))


def quota_state_of(row: asyncpg.Record) -> QuotaState:
    """Return the quota state of a row with `status_columns`."""
    window = None
    if row["counted_at"] is not None:
        window = CountingWindow(row["counted_since"], row["counted_until"], row["counted_at"])
    return QuotaState(
        spans=_spans(row["subscription_lines"]),
        custom_music_limit=row["custom_music_limit"],
        last_reset_at=row["last_reset_at"],
        window=window,
    )


def quota_of_row(row: asyncpg.Record, now: datetime, *, charged_at: tuple[datetime, ...] = ()) -> Quota:
    """Return the song quota of a row with `status_columns`; `charged_at` are charges made after it was read."""
    grants = zip(row["granted_at"], row["granted"], strict=True)
    return quota(quota_state_of(row), (*row["charges"], *charged_at), now, shared=row["shared"], grants=grants)


# Songs that other accounts of the mailbox used stop counting one by one, at moments that a row does not have.
SHARED_HOLDS = timedelta(hours=1)


def holds_until(row: asyncpg.Record, now: datetime) -> datetime:
    """Return until when the status and quotas of a row with `status_columns` are as at `now`, while no row changes."""
    entitlements = _entitlements(row["subscription_lines"])
    ends = [end for each in entitlements.values() for end in (each.expires_at, each.until) if end and end > now]
    return min([counting_window(quota_state_of(row), now).until, now + SHARED_HOLDS if row["shared"] else MAX, *ends])


def status_of(row: asyncpg.Record, now: datetime) -> SubscriptionOfProfile | None:
    """Return the status of a row with `status_columns`; None where a join found no subscription."""
    if row["subscription_id"] is None:
        return None
    songs, found = quota_of_row(row, now), summary(_entitlements(row["subscription_lines"]), now)
    return SubscriptionOfProfile(
        tier=songs.tier,
        product_id=found.product_id,
        status=found.status,
        music_generations_used=songs.used,
        music_limit=songs.limit,
        period_start=to_ms(songs.period_start),
        period_end=to_ms(songs.period_end),
        is_active=found.status != "expired",
        remaining_quota=songs.remaining,
    )
