"""Plans, products, periods and quotas: pure rules, no database and no clock.

Periods are counted from the account's `last_reset_at`, whole periods of the plan at a time, and never begin "now". A
change of plan gives nothing back by itself: what counted a moment before it goes on counting until the old period or
the first one of the new plan ends, whichever comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Tier = Literal["free", "weekly", "monthly", "yearly"]
Status = Literal["active", "in_grace", "canceled", "expired"]

FREE_PRODUCT = "free-tier"


@dataclass(frozen=True)
class Plan:
    """What a tier grants: `songs`, and `minutes` of talk on the phone, in each `period`.

    It is sold as `sold_songs` in `sold_days` for `price` dollars. CALL_MINUTES sets other minutes.
    """

    songs: int
    minutes: int
    period: timedelta
    sold_songs: int
    sold_days: int
    price: float


# From the least to the most. A year's 1,200 songs are granted a twelfth (rounded up) every thirty days.
PLANS: dict[Tier, Plan] = {
    "free": Plan(songs=5, minutes=30, period=timedelta(days=30), sold_songs=5, sold_days=30, price=0.0),
    "weekly": Plan(songs=20, minutes=100, period=timedelta(days=7), sold_songs=20, sold_days=7, price=3.99),
    "monthly": Plan(songs=90, minutes=300, period=timedelta(days=30), sold_songs=90, sold_days=30, price=9.99),
    "yearly": Plan(
        songs=-(-1200 // 12), minutes=300, period=timedelta(days=30), sold_songs=1200, sold_days=365, price=99.99
    ),
}
RANK: dict[Tier, int] = {tier: rank for rank, tier in enumerate(PLANS)}

# No period is longer, so charges older than this can be left out of any count.
LONGEST_PERIOD = max(plan.period for plan in PLANS.values())

# Which product of a store is which plan; REVENUECAT_PRODUCTS adds to it.
PRODUCTS: dict[str, Tier] = {
    FREE_PRODUCT: "free",
    "eveokee_premium_weekly": "weekly",
    "eveokee_premium_monthly": "monthly",
    "eveokee_premium_annual": "yearly",
    "eveokee_premium:eveokee-premium-weekly": "weekly",
    "eveokee_premium:eveokee-premium-monthly": "monthly",
    "eveokee_premium:eveokee-premium-annual": "yearly",
}
# RevenueCat names a grant from its dashboard after the entitlement and one of these: rc_promo_premium_monthly.
PROMOTION = "rc_promo_"
DURATIONS = (
    "daily", "three_day", "weekly", "two_week", "monthly", "two_month", "three_month", "six_month", "yearly",
    "lifetime", "custom",
)  # fmt: skip

# What the apps call a store; any other goes by its own name in lower case.
PLATFORMS = {"APP_STORE": "app_store", "PLAY_STORE": "play_store", "STRIPE": "stripe", "RC_BILLING": "stripe"}


def tier_of(product: str, products: Mapping[str, Tier]) -> Tier | None:
    """The plan a product stands for; None when it is in no map.

    A promotion may be named without its duration, and a product of Google Play without its base plan.
    """
    if product in products:
        return products[product]
    if product.startswith(PROMOTION):
        # No duration ends in `_` and another one, so at most one of them fits.
        names = [product.removesuffix(f"_{duration}") for duration in DURATIONS if product.endswith(f"_{duration}")]
        return products.get(names[0]) if names else None
    return products.get(product.partition(":")[0])


def platform_of(store: str) -> str:
    """The store as the apps know it."""
    return PLATFORMS.get(store, store.lower())


@dataclass(frozen=True)
class Span:
    """A tier that somebody has until a moment, or for ever."""

    tier: Tier
    until: datetime | None


@dataclass(frozen=True)
class Counted:
    """As of `at`, charges counted that were made since `since`, and they were to do so until `until`."""

    since: datetime
    until: datetime
    at: datetime


@dataclass(frozen=True)
class Standing:
    """What decides about a quota: what was bought, what was agreed, and from when periods are counted."""

    spans: tuple[Span, ...]
    custom_music_limit: int | None
    last_reset_at: datetime
    counted: Counted | None = None


@dataclass(frozen=True)
class Quota:
    """How many songs are used and left, and in which period; of those used, `shared` by others of the mailbox."""

    tier: Tier
    used: int
    limit: int
    period_start: datetime
    period_end: datetime
    shared: int = 0
    is_free: bool = False

    @property
    def own(self) -> int:
        """Songs that this account has used."""
        return self.used - self.shared

    @property
    def remaining(self) -> int:
        """Songs left in this period; never negative, also after a change to a smaller plan."""
        return max(0, self.limit - self.used)


def tier_at(spans: Iterable[Span], moment: datetime) -> Tier:
    """The best tier somebody has at that moment; free without any."""
    held: list[Tier] = [span.tier for span in spans if span.until is None or moment < span.until]
    return max(held, key=RANK.__getitem__, default="free")


def current_period(anchor: datetime, period: timedelta, now: datetime) -> tuple[datetime, datetime]:
    """Start and end of the period `now` is in. Periods are counted from `anchor`, so they never drift."""
    start = anchor + (now - anchor) // period * period
    return start, start + period


def counting(standing: Standing, now: datetime) -> Counted:
    """Since when charges count at `now`, and until when they do.

    Follows the plan from where it was last written down through every end of something bought. Whoever changes what is
    bought writes the answer down first, so that the change gives nothing back.
    """
    anchor = standing.last_reset_at
    before = standing.counted or Counted(anchor, anchor, anchor)
    now = max(now, before.at)
    since, until = before.since, before.until
    ends = sorted({span.until for span in standing.spans if span.until and before.at < span.until <= now})
    for begin, end in zip([before.at, *ends], [*ends, now], strict=True):
        period = PLANS[tier_at(standing.spans, begin)].period
        start, finish = current_period(anchor, period, begin)
        if since < start and begin < until:
            until = min(until, finish)
        else:
            since, until = start, finish
        if end >= until:
            since, until = current_period(anchor, period, end)
    return Counted(since, until, now)


def quota(standing: Standing, charges: Iterable[datetime], now: datetime, *, shared: int = 0) -> Quota:
    """The one answer to how much is used and left. `charges` are those not refunded.

    `shared` free songs were used by other accounts of the mailbox within the longest period: they count where nothing
    but the free plan counts, so not for what was bought or agreed.
    """
    tier = tier_at(standing.spans, now)
    counted = counting(standing, now)
    is_free = tier == "free" and standing.custom_music_limit is None
    shared = shared if is_free else 0
    return Quota(
        tier=tier,
        used=sum(1 for charged_at in charges if counted.since <= charged_at < counted.until) + shared,
        limit=PLANS[tier].songs if standing.custom_music_limit is None else standing.custom_music_limit,
        period_start=counted.since,
        period_end=counted.until,
        shared=shared,
        is_free=is_free,
    )


@dataclass(frozen=True)
class TalkQuota:
    """How many seconds of talk are used and left, in the period in which songs are counted too.

    Of those used, `shared` by other accounts of the mailbox.
    """

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
        """Seconds left in this period; never negative, also after a change to a smaller plan."""
        return max(0, self.limit - self.used)


def talk_quota(
    standing: Standing,
    talks: Iterable[tuple[datetime, int]],
    minutes: Mapping[Tier, int],
    now: datetime,
    *,
    shared: int = 0,
) -> TalkQuota:
    """The one answer to how much talk is used and left.

    talks    when each call was begun, and the seconds that are reserved for it or that it took
    minutes  of tiers that grant others than their plan says
    shared   free seconds of other accounts of the mailbox within the longest period; they count on the free plan alone
    """
    tier = tier_at(standing.spans, now)
    counted = counting(standing, now)
    shared = shared if tier == "free" else 0
    return TalkQuota(
        tier=tier,
        used=sum(seconds for begun_at, seconds in talks if counted.since <= begun_at < counted.until) + shared,
        limit=60 * minutes.get(tier, PLANS[tier].minutes),
        period_start=counted.since,
        period_end=counted.until,
        shared=shared,
    )
