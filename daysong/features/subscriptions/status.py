"""How somebody's subscription stands, for every reader: `status_of(row, now)` of a row with these columns.

    status_columns("$2")         what to select, of `subscriptions s`; "$2" is the moment, `now - LONGEST_PERIOD`
    status_of(row, now)          what the apps are shown (tier, productId, status, usage, period), None without a row
    quota_of_row(row, now)       the numbers alone

A query that joins: `select u.…, {status_columns('$2')} from users u left join subscriptions s on s.user_id = u.id`. Its
`reads` must name READS.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from daysong.features.subscriptions.holdings import Lines, spans, summary
from daysong.features.subscriptions.rules import Counted, Quota, Standing, Status, Tier, quota
from daysong.kernel.functions.declarations import Result
from daysong.kernel.time.clock import to_ms

READS = ("subscriptions", "usage_charges", "usage_refunds", "users", "mailbox_usage")


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
