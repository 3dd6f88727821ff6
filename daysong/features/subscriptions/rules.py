"""Plans, products, periods and quotas; pure.

Periods are counted from the account's `last_reset_at` in whole periods of the plan, never from "now". A change of plan
does not refill the quota: charges that counted before it count until the old period or the first period of the new plan
ends, whichever comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal

Tier = Literal["free", "weekly", "monthly", "yearly"]
Status = Literal["active", "in_grace", "canceled", "expired"]

FREE_PRODUCT = "free-tier"


@dataclass(frozen=True)
class Plan:
    """A plan: the `songs` and call `minutes` of each `period`.

    It is sold as `sold_songs` in `sold_days` for `price` US dollars. CALL_MINUTES overrides the minutes.
    """

    songs: int
    minutes: int
    period: timedelta
    sold_songs: int
    sold_days: int
    price: float


# In ascending order. The 1,200 songs of a year are granted in twelfths, rounded up, every thirty days.
PLANS: dict[Tier, Plan] = {
    "free": Plan(songs=5, minutes=30, period=timedelta(days=30), sold_songs=5, sold_days=30, price=0.0),
    "weekly": Plan(songs=20, minutes=100, period=timedelta(days=7), sold_songs=20, sold_days=7, price=3.99),
    "monthly": Plan(songs=90, minutes=300, period=timedelta(days=30), sold_songs=90, sold_days=30, price=9.99),
    "yearly": Plan(
        songs=-(-1200 // 12), minutes=300, period=timedelta(days=30), sold_songs=1200, sold_days=365, price=99.99
    ),
}
# What a music video costs of the quota.
SONGS_OF_A_VIDEO = 3
RANK: dict[Tier, int] = {tier: rank for rank, tier in enumerate(PLANS)}

# Charges older than the longest period never count.
LONGEST_PERIOD = max(plan.period for plan in PLANS.values())

# The plan of each store product; REVENUECAT_PRODUCTS adds more.
PRODUCTS: dict[str, Tier] = {
    FREE_PRODUCT: "free",
    "eveokee_premium_weekly": "weekly",
    "eveokee_premium_monthly": "monthly",
    "eveokee_premium_annual": "yearly",
    "eveokee_premium:eveokee-premium-weekly": "weekly",
    "eveokee_premium:eveokee-premium-monthly": "monthly",
    "eveokee_premium:eveokee-premium-annual": "yearly",
}
# RevenueCat names a grant from its dashboard after the entitlement and a duration: rc_promo_premium_monthly.
PROMOTION = "rc_promo_"
DURATIONS = (
    "daily", "three_day", "weekly", "two_week", "monthly", "two_month", "three_month", "six_month", "yearly",
    "lifetime", "custom",
)  # fmt: skip

# Names of stores in the apps; other stores keep their own name in lower case.
PLATFORMS = {"APP_STORE": "app_store", "PLAY_STORE": "play_store", "STRIPE": "stripe", "RC_BILLING": "stripe"}


def tier_of(product: str, products: Mapping[str, Tier]) -> Tier | None:
    """Return the plan of a product; None when it is in no map.

    The map may have a promotion without its duration, and a Google Play product without its base plan.
    """
    if product in products:
        return products[product]
    if product.startswith(PROMOTION):
        # No duration ends in `_` and another one, so at most one matches.
        names = [product.removesuffix(f"_{duration}") for duration in DURATIONS if product.endswith(f"_{duration}")]
        return products.get(names[0]) if names else None
    return products.get(product.partition(":")[0])


def platform_of(store: str) -> str:
    """Return the name of a store in the apps."""
    return PLATFORMS.get(store, store.lower())


@dataclass(frozen=True)
class Span:
    """A tier, and when it ends; None for never."""

    tier: Tier
    until: datetime | None


@dataclass(frozen=True)
class CountingWindow:
    """The window of charges that counted as of `at`: made since `since`, counting until `until`."""

    since: datetime
    until: datetime
    at: datetime


@dataclass(frozen=True)
class QuotaState:
    """The inputs of a quota: paid tiers, an agreed limit, the start of the periods, and the last stored window."""

    spans: tuple[Span, ...]
    custom_music_limit: int | None
    last_reset_at: datetime
    window: CountingWindow | None = None


@dataclass(frozen=True)
class Quota:
    """Songs used and left in a period; `shared` of them were used by other accounts of the mailbox."""

    tier: Tier
    used: int
    limit: int
    period_start: datetime
    period_end: datetime
    shared: int = 0
    is_free: bool = False

    @property
    def own(self) -> int:
        """Songs used by this account."""
        return self.used - self.shared

    @property
    def remaining(self) -> int:
        """Songs left in this period; not negative after a change to a smaller plan."""
        return max(0, self.limit - self.used)


def tier_at(spans: Iterable[Span], moment: datetime) -> Tier:
    """Return the best tier at a moment; free without any."""
    current: list[Tier] = [span.tier for span in spans if span.until is None or moment < span.until]
    return max(current, key=RANK.__getitem__, default="free")


def current_period(anchor: datetime, period: timedelta, now: datetime) -> tuple[datetime, datetime]:
    """Return the start and end of the period with `now`. Periods are counted from `anchor`, so they do not drift."""
    start = anchor + (now - anchor) // period * period
    return start, start + period


# Cached, since songs, minutes and how long both hold are computed one after the other.
@lru_cache(16)
def counting_window(state: QuotaState, now: datetime) -> CountingWindow:
    """Return the window of charges that count at `now`.

    Follows the plan from the last stored window through the end of each paid tier. A caller that changes the tiers
    stores the window first, so that the change does not refill the quota.
    """
    anchor = state.last_reset_at
    before = state.window or CountingWindow(anchor, anchor, anchor)
    now = max(now, before.at)
    since, until = before.since, before.until
    ends = sorted({span.until for span in state.spans if span.until and before.at < span.until <= now})
    for begin, end in zip([before.at, *ends], [*ends, now], strict=True):
        period = PLANS[tier_at(state.spans, begin)].period
        start, finish = current_period(anchor, period, begin)
        if since < start and begin < until:
            until = min(until, finish)
        else:
            since, until = start, finish
        if end >= until:
            since, until = current_period(anchor, period, end)
    return CountingWindow(since, until, now)


def quota(
    state: QuotaState,
    charges: Iterable[datetime],
    now: datetime,
    *,
    shared: int = 0,
    grants: Iterable[tuple[datetime, int]] = (),
) -> Quota:
    """Return the songs used and left. `charges` are those not refunded.

    `grants` are songs that an operator gave, with their moment: they raise the limit of their period.

    `shared` free songs were used by other accounts of the mailbox within the longest period. They count on the free
    plan only, without a custom limit.
    """
    tier = tier_at(state.spans, now)
    window = counting_window(state, now)
    is_free = tier == "free" and state.custom_music_limit is None
    shared = shared if is_free else 0
    granted = sum(songs for granted_at, songs in grants if window.since <= granted_at < window.until)
    return Quota(
        tier=tier,
        used=sum(1 for charged_at in charges if window.since <= charged_at < window.until) + shared,
        limit=(PLANS[tier].songs if state.custom_music_limit is None else state.custom_music_limit) + granted,
        period_start=window.since,
        period_end=window.until,
        shared=shared,
        is_free=is_free,
    )


@dataclass(frozen=True)
class TalkQuota:
    """Seconds of talk used and left, in the period of the songs; `shared` of them by other accounts of the mailbox."""

    tier: Tier
    used: int
    limit: int
    period_start: datetime
    period_end: datetime
    shared: int = 0

    @property
    def is_free(self) -> bool:
        """Whether these are the free plan's minutes."""
        return self.tier == "free"

    @property
    def own(self) -> int:
        """Seconds that this account has used."""
        return self.used - self.shared

    @property
    def remaining(self) -> int:
        """Seconds left in this period; not negative after a change to a smaller plan."""
        return max(0, self.limit - self.used)


def talk_quota(
    state: QuotaState,
    talks: Iterable[tuple[datetime, int]],
    minutes: Mapping[Tier, int],
    now: datetime,
    *,
    shared: int = 0,
) -> TalkQuota:
    """Return the talk used and left.

    talks    the start of each call, and the seconds reserved for it or used by it
    minutes  of tiers whose minutes differ from their plan's
    shared   free seconds of other accounts of the mailbox within the longest period; they count on the free plan only
    """
    tier = tier_at(state.spans, now)
    window = counting_window(state, now)
    shared = shared if tier == "free" else 0
    return TalkQuota(
        tier=tier,
        used=sum(seconds for begun_at, seconds in talks if window.since <= begun_at < window.until) + shared,
        limit=60 * minutes.get(tier, PLANS[tier].minutes),
        period_start=window.since,
        period_end=window.until,
        shared=shared,
    )
