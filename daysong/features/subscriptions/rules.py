"""Plans, periods and quotas: pure rules, no database and no clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Tier = Literal["free", "weekly", "monthly", "yearly"]


@dataclass(frozen=True)
class Plan:
    """What a tier grants: `songs` in each `period`."""

    songs: int
    period: timedelta


# A yearly plan is 1,200 songs, granted a twelfth (rounded up) every thirty days.
PLANS: dict[Tier, Plan] = {
    "free": Plan(songs=5, period=timedelta(days=30)),
    "weekly": Plan(songs=20, period=timedelta(days=7)),
    "monthly": Plan(songs=90, period=timedelta(days=30)),
    "yearly": Plan(songs=100, period=timedelta(days=30)),
}

# No period is longer, so charges older than this can be left out of any count.
LONGEST_PERIOD = max(plan.period for plan in PLANS.values())


@dataclass(frozen=True)
class Standing:
    """A subscription as it is stored."""

    tier: Tier
    custom_music_limit: int | None
    last_reset_at: datetime


@dataclass(frozen=True)
class Quota:
    """How many songs are used and left, and in which period."""

    tier: Tier
    used: int
    limit: int
    period_start: datetime
    period_end: datetime

    @property
    def remaining(self) -> int:
        """Songs left in this period; never negative, also after a change to a smaller plan."""
        return max(0, self.limit - self.used)


def current_period(anchor: datetime, period: timedelta, now: datetime) -> tuple[datetime, datetime]:
    """Start and end of the period `now` is in. Periods are counted from `anchor`, so they never drift."""
    start = anchor + (now - anchor) // period * period
    return start, start + period


def quota(standing: Standing, charges: Iterable[datetime], now: datetime) -> Quota:
    """The one answer to how much is used and left. `charges` are those not refunded."""
    plan = PLANS[standing.tier]
    start, end = current_period(standing.last_reset_at, plan.period, now)
    return Quota(
        tier=standing.tier,
        used=sum(1 for charged_at in charges if start <= charged_at < end),
        limit=plan.songs if standing.custom_music_limit is None else standing.custom_music_limit,
        period_start=start,
        period_end=end,
    )
