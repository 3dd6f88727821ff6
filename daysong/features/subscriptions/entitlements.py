"""What a customer has bought, as far as RevenueCat has told us: pure, no database and no clock.

There is a line for each product of an environment and store, which nothing said of another product ends, except a
change from the one to the other. Of several lines, the best plan counts.

    access = now < max(expires_at, grace_until), and nothing else grants or takes it
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from math import inf
from typing import Any

import asyncpg
import msgspec

from daysong.features.subscriptions.rules import (
    FREE_PRODUCT,
    RANK,
    Counted,
    Quota,
    Span,
    Standing,
    Status,
    Tier,
    platform_of,
    quota,
)
from daysong.kernel.functions.declarations import Result
from daysong.kernel.time.clock import to_ms
from daysong.vendors.revenuecat.events import BillingEvent

READS = ("subscriptions", "usage_charges", "usage_refunds", "users", "mailbox_usage")


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A product that was bought in a store: a subscription, or a purchase without an end.

    period      when the billing period began that this speaks of (ms)
    tier        the plan the product stands for; None when nobody has said which
    expires_at  None for never
    renews      whether it goes on by itself when the period ends, as far as anybody knows
    trouble     the last payment failed
    resumes_at  it is to pause, until then
    origin      what the store calls the subscription through all its renewals, changes of product included
    becomes     the product it is to change to: buying that one ends this one
    """

    period: int
    product: str
    tier: Tier | None
    expires_at: datetime | None
    grace_until: datetime | None = None
    renews: bool = True
    trouble: bool = False
    resumes_at: datetime | None = None
    origin: str | None = None
    becomes: str | None = None

    @property
    def until(self) -> datetime | None:
        """When access ends; None for never."""
        if self.expires_at is None or self.grace_until is None:
            return self.expires_at
        return max(self.expires_at, self.grace_until)

    def gives_access(self, now: datetime) -> bool:
        """Whether it is good at `now`."""
        return self.until is None or now < self.until


Lines = dict[str, Line]


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What RevenueCat answered when it was asked last, and the events since, in the order they were made."""

    answered: Lines = {}
    events: tuple[BillingEvent, ...] = ()


class Holdings(msgspec.Struct, frozen=True):
    """Everything a customer has: `lines` is how it stands, `told` is how we know.

    verified_at  when RevenueCat was asked last (ms)
    """

    lines: Lines = {}
    told: Told = Told()
    verified_at: int | None = None


NOTHING = Holdings()


class Summary(msgspec.Struct, frozen=True):
    """How a customer stands at a moment; `tier` is what they may use, so free once everything has ended."""

    tier: Tier
    product_id: str
    status: Status
    platform: str | None = None
    expires_at: datetime | None = None
    grace_until: datetime | None = None


def line_name(environment: str, store: str, product: str) -> str:
    """The name of a product's line."""
    return "/".join((environment, store.replace("/", "_"), product))


def grant_name(store: str, transaction: str | None) -> str:
    """The name of a temporary grant's line; `store` as `store_of` has it."""
    return f"{store}/grant {transaction}"


def is_grant(name: str) -> bool:
    """Whether the line is a temporary grant's."""
    return name.removeprefix(store_of(name)).startswith("/grant ")


def ended(line: Line, now: datetime) -> Line:
    """The line, ended at that moment if it was good then."""
    if not line.gives_access(now):
        return line
    return msgspec.structs.replace(line, expires_at=now, grace_until=None, renews=False, becomes=None)


def store_of(name: str) -> str:
    """The environment and store of a line."""
    return "/".join(name.split("/", 2)[:2])


def plans(lines: Lines) -> Iterator[tuple[str, Line, Tier]]:
    """The lines that are, or were, worth a plan."""
    for name, line in lines.items():
        if line.tier is not None and line.tier != "free":
            yield name, line, line.tier


def unmapped(lines: Lines, now: datetime) -> set[str]:
    """The products that give access at RevenueCat and are in no map of plans, so that they grant nothing here."""
    return {line.product for line in lines.values() if line.tier is None and line.product and line.gives_access(now)}


def spans(lines: Lines) -> tuple[Span, ...]:
    """Which tiers are had until when."""
    return tuple(Span(tier, line.until) for _, line, tier in plans(lines))


def summary(lines: Lines, now: datetime) -> Summary:
    """How things stand: by the best plan that is good now, else by the one that ended last."""

    def merit(each: tuple[str, Line, Tier]) -> tuple[int, float, str]:
        name, line, tier = each
        good = RANK[tier] if line.gives_access(now) else 0
        # Names break ties, so that the answer does not depend on any order.
        return good, inf if line.until is None else line.until.timestamp(), name

    best = max(plans(lines), key=merit, default=None)
    if best is None:
        return Summary("free", FREE_PRODUCT, "active")
    name, line, tier = best
    status: Status = "active"
    if not line.gives_access(now):
        status = "expired"
    elif line.expires_at is not None and line.expires_at <= now:
        status = "in_grace"
    elif not line.renews:
        status = "canceled"
    return Summary(
        tier="free" if status == "expired" else tier,
        product_id=line.product,
        status=status,
        platform=platform_of(name.split("/")[1]),
        expires_at=line.expires_at,
        grace_until=line.grace_until,
    )


def status_columns(since: str) -> str:
    """What to select of `subscriptions s`; `since` stands for `now - LONGEST_PERIOD`."""
    return f"""s.id as subscription_id, s.lines as subscription_lines, s.custom_music_limit, s.last_reset_at,
           s.counted_since, s.counted_until, s.counted_at,
           array(select c.charged_at from usage_charges c
                 where c.user_id = s.user_id and c.charged_at > {since}
                   and not exists (select from usage_refunds r where r.charge_id = c.id)) as charges,
           (select count(*) from mailbox_usage f
            where f.mailbox_hash = (select mailbox_hash from users where id = s.user_id) and f.charged_at > {since}
              and not exists (select from usage_charges c where c.id = f.charge_id and c.user_id = s.user_id)
           ) as shared"""  # noqa: S608


class SubscriptionStatus(Result):
    """A subscription as the apps show it; times in ms."""

    tier: Tier
    status: Status
    music_generations_used: float
    music_limit: float
    period_start: float
    period_end: float
    is_active: bool
    remaining_quota: float


class SubscriptionOfProfile(SubscriptionStatus):
    """A subscription in its person's profile: with its product."""

    product_id: str


def lines_of(value: Any) -> Lines:
    """Lines as the database keeps them."""
    return msgspec.convert(value, Lines)


def standing_of(row: asyncpg.Record) -> Standing:
    """What decides about the quota of a row with `status_columns`."""
    counted = None
    if row["counted_at"] is not None:
        counted = Counted(row["counted_since"], row["counted_until"], row["counted_at"])
    return Standing(
        spans=spans(lines_of(row["subscription_lines"])),
        custom_music_limit=row["custom_music_limit"],
        last_reset_at=row["last_reset_at"],
        counted=counted,
    )


def quota_of_row(row: asyncpg.Record, now: datetime) -> Quota:
    """What is used and left, of a row with `status_columns`."""
    return quota(standing_of(row), row["charges"], now, shared=row["shared"])


def status_of(row: asyncpg.Record, now: datetime) -> SubscriptionOfProfile | None:
    """How things stand, of a row with `status_columns`; None where the join found no subscription."""
    if row["subscription_id"] is None:
        return None
    counts, stands = quota_of_row(row, now), summary(lines_of(row["subscription_lines"]), now)
    return SubscriptionOfProfile(
        tier=counts.tier,
        product_id=stands.product_id,
        status=stands.status,
        music_generations_used=counts.used,
        music_limit=counts.limit,
        period_start=to_ms(counts.period_start),
        period_end=to_ms(counts.period_end),
        is_active=stands.status != "expired",
        remaining_quota=counts.remaining,
    )
