"""Whether a call may be made now, by its settings, the hour, its number and its account."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from daysong.features.phone_calls.numbers import ownership
from daysong.features.phone_calls.numbers.numbers import country_of
from daysong.features.phone_calls.rules import (
    MOST_DIALS_OF_A_PERSON,
    REASONS,
    UNKNOWN_TIMEZONE,
    Number,
    country_forbids,
    hour_forbids,
    is_late,
    number_forbids,
)
from daysong.features.phone_calls.schedule.calendar import is_known
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.settings import Settings

MIDDAY = 12 * 60
NEEDS_COUNTRY = "needs_country"


async def denial_reason(
    ctx: MutationContext, row: Any, number: Number, *, country: str | None, cap: str | None
) -> str | None:
    """Return why a call may not be made, as a code of `rules.REASONS`; None when it may.

    NEEDS_COUNTRY when the decision needs the `country` of our line, and it is not known yet (None). `cap` names
    the daily cap that is reached.
    """
    agreed = row["consent"] == "granted"
    code = _settings_forbid(row, ctx.now, ctx.settings)
    # A number another account has proved is not called for this one. The reason is one that any unproved number may
    # get, so that it reveals nothing of the other account.
    if code is None and not agreed and await ownership.is_anothers(ctx.db, row["user_id"], row["phone_e164"]):
        code = "no_consent"
    code = code or number_forbids(number, agreed=agreed, now=ctx.now, timezone=row["timezone"])
    if code is None and await _dials_today(ctx, row["user_id"]) >= MOST_DIALS_OF_A_PERSON:
        code = "too_many_calls"
    if code is None and cap is not None:
        code = "daily_limit"
    if code is not None or agreed:
        return code
    countries = ctx.settings.vapi.countries
    if countries is None:
        if country is None:
            return NEEDS_COUNTRY
        countries = (country,)
    return country_forbids(country_of(row["phone_e164"]), countries)


def _settings_forbid(row: Any, now: datetime, settings: Settings) -> str | None:
    """Return why the settings or the hour forbid a call; None when they do not."""
    if not settings.offers("phone"):
        return "not_configured"
    if row["deleted_at"] is not None or not row["active"] or row["lost_at"] is not None:
        return "switched_off"
    if row["suspension"] is not None:
        return "suspended"
    if row["consent"] == "refused":
        return "refused"
    if not is_known(row["timezone"]):
        return UNKNOWN_TIMEZONE
    if row["paused_reason"] is not None:
        return row["paused_reason"] if row["paused_reason"] in REASONS else "no_consent"
    if is_late(row["scheduled_for"], now, timedelta(minutes=settings.vapi.latest_minutes)):
        return "missed"
    # The user chooses the hour of a test call. Without consent the number may be another person's: quiet hours apply.
    if row["kind"] == "test" and row["consent"] == "granted":
        return None
    chosen = row["local_minutes"] if row["kind"] == "scheduled" else MIDDAY
    return "quiet_hours" if hour_forbids(now, row["timezone"], chosen) else None


async def _dials_today(ctx: MutationContext, user_id: str) -> int:
    """Return how often this account was called on the current day (UTC)."""
    start = ctx.now.replace(hour=0, minute=0, second=0, microsecond=0)
    count: int = await ctx.db.fetchval(
        "select count(*) from call_jobs where user_id = $1 and scheduled_for >= $2 and asked_at >= $3",
        user_id, start - timedelta(days=1), start,
    )  # fmt: skip
    return count
