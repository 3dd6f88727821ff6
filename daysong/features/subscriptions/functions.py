"""The functions of `billing` and `usage`: plans, the caller's subscription, and the quota."""

from __future__ import annotations

from typing import Literal

import asyncpg
from msgspec import UNSET, UnsetType

from daysong.features.subscriptions import accounts, revenuecat_billing
from daysong.features.subscriptions.entitlements import (
    MAX,
    READS,
    SubscriptionStatus,
    holds_until,
    quota_of_row,
    status_columns,
    status_of,
)
from daysong.features.subscriptions.quotas import minutes, usage
from daysong.features.subscriptions.revenuecat_billing import OneUser, UserNotFound
from daysong.features.subscriptions.rules import LONGEST_PERIOD, PLANS, SONGS_OF_A_VIDEO, Quota, Tier
from daysong.features.users import store as users
from daysong.features.users.callers import IS_CALLER
from daysong.kernel.errors import Unauthorized
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import NoArgs, Result, action, mutation, query
from daysong.kernel.ids import UserId
from daysong.kernel.time.clock import to_ms

LIMIT_REACHED = "You have used all your songs of this period."


class PlanOffered(Result):
    """A plan as it is sold; `price` is in US dollars."""

    tier: Tier
    music_limit: float
    period_days: float | None
    price: float


_OFFERED = [
    PlanOffered(tier=tier, music_limit=float(plan.sold_songs), period_days=float(plan.sold_days), price=plan.price)
    for tier, plan in PLANS.items()
]
_OFFERED_FREE = [plan for plan in _OFFERED if plan.tier == "free"]


class CurrentUsage(Result):
    """Songs and call minutes used and left in a period; `period_start` and `period_end` in ms.

    Minutes reserved for a call in progress count as used.
    """

    tier: Tier
    music_generations_used: float
    music_limit: float
    remaining_quota: float
    period_start: float
    period_end: float
    minutes_used: float
    minutes_limit: float


class Allowance(Result):
    """Whether a song can be made, with the quota."""

    can_generate: bool
    tier: Tier
    current_usage: float
    limit: float
    remaining_quota: float


class CheckedAllowance(Allowance):
    """An allowance; `reconciled` when RevenueCat was asked within the last 15 minutes."""

    reconciled: bool


class Snapshot(Allowance):
    """An allowance with its period (ms)."""

    period_start: float
    period_end: float


class Recorded(Result):
    """Whether a song was charged or refunded, with the quota after it."""

    success: bool
    current_usage: float
    limit: float
    remaining_quota: float
    tier: Tier
    code: Literal["USAGE_LIMIT_REACHED"] | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class OpenedSubscription(Result):
    """The subscription of an account."""

    subscription_id: str


CURRENT_SQL = f"""select {status_columns("$2")} from users u left join subscriptions s on s.user_id = u.id
                  where {IS_CALLER}"""  # noqa: S608 - constants
WITH_TALK_SQL = f"""select {status_columns("$2")}, {minutes.talk_columns("$2")}
                    from users u left join subscriptions s on s.user_id = u.id
                    where {IS_CALLER}"""  # noqa: S608 - constants


async def _current(ctx: QueryContext, sql: str = CURRENT_SQL) -> asyncpg.Record | None:
    """Return the caller's subscription; None for an anonymous caller, and one without an account."""
    if ctx.caller.subject is None:
        return None
    row = await ctx.db.fetchrow(sql, ctx.caller.subject, ctx.now - LONGEST_PERIOD)
    if row is None or row["subscription_id"] is None:
        ctx.holds_until(MAX)
        return None
    holds = holds_until if sql is CURRENT_SQL else minutes.talk_holds_until
    ctx.holds_until(lambda: holds(row, ctx.now))
    return row


def _snapshot(quota: Quota) -> Snapshot:
    return Snapshot(
        can_generate=quota.remaining > 0,
        tier=quota.tier,
        current_usage=quota.used,
        limit=quota.limit,
        remaining_quota=quota.remaining,
        period_start=to_ms(quota.period_start),
        period_end=to_ms(quota.period_end),
    )


@query
async def get_plans(ctx: QueryContext, args: NoArgs) -> list[PlanOffered]:  # noqa: ARG001
    """Return all plans, in ascending order; the free one alone while the part `billing` is off."""
    return _OFFERED if ctx.settings.offers("billing") else _OFFERED_FREE


@query(reads=READS)
async def get_current_user_status(ctx: QueryContext, args: NoArgs) -> SubscriptionStatus | None:  # noqa: ARG001
    """Return the status of the caller's subscription; None for an anonymous caller."""
    row = await _current(ctx)
    found = None if row is None else status_of(row, ctx.now)
    if found is None:
        return None
    return SubscriptionStatus(**{name: getattr(found, name) for name in SubscriptionStatus.__struct_fields__})


@mutation
async def create_free_subscription(ctx: MutationContext, args: OneUser) -> OpenedSubscription:
    """Ensure that an account has a subscription, and return its id; an existing one is not changed."""
    if not await users.lock_account(ctx.db, args.user_id):
        raise UserNotFound
    await usage.open_free_plan(ctx.db, UserId(args.user_id), ctx.now)
    return OpenedSubscription(
        subscription_id=await ctx.db.fetchval("select id from subscriptions where user_id = $1", args.user_id)
    )


@query(reads=(*READS, *minutes.READS))
async def get_current_user_usage(ctx: QueryContext, args: NoArgs) -> CurrentUsage | None:  # noqa: ARG001
    """Return the songs and call minutes of the caller; None for an anonymous caller."""
    row = await _current(ctx, WITH_TALK_SQL)
    if row is None:
        return None
    quota = quota_of_row(row, ctx.now)
    talk = minutes.talk_quota_of_row(row, ctx.settings.vapi.minutes, ctx.now)
    return CurrentUsage(
        tier=quota.tier,
        music_generations_used=quota.used,
        music_limit=quota.limit,
        remaining_quota=quota.remaining,
        period_start=to_ms(quota.period_start),
        period_end=to_ms(quota.period_end),
        minutes_used=minutes.in_minutes(talk.used),
        minutes_limit=minutes.in_minutes(talk.limit),
    )


@query(reads=READS)
async def can_current_user_generate_music(ctx: QueryContext, args: NoArgs) -> Allowance:  # noqa: ARG001
    """Return whether the caller can make a song; an anonymous caller cannot."""
    row = await _current(ctx)
    if row is None:
        return Allowance(can_generate=False, tier="free", current_usage=0, limit=0, remaining_quota=0)
    return _allowance(_snapshot(quota_of_row(row, ctx.now)))


def _allowance(found: Snapshot) -> Allowance:
    return Allowance(**{name: getattr(found, name) for name in Allowance.__struct_fields__})


@query(reads=READS)
async def get_usage_snapshot(ctx: QueryContext, args: OneUser) -> Snapshot | None:
    """Return the song quota of an account; None when there is no such account."""
    row = await ctx.db.fetchrow(usage.QUOTA_SQL, args.user_id, ctx.now - LONGEST_PERIOD)
    return None if row is None else _snapshot(quota_of_row(row, ctx.now))


@action
async def check_usage_with_reconciliation(ctx: ActionContext, args: NoArgs) -> CheckedAllowance:
    """Return the caller's allowance, after asking RevenueCat when the last answer is older than 15 minutes.

    Errors: Unauthorized for an anonymous caller, UserNotFound without an account.
    """
    if ctx.caller.subject is None:
        raise Unauthorized
    person = await ctx.run_query(revenuecat_billing.current_person, args)
    if person is None:
        raise UserNotFound
    fresh = await revenuecat_billing.refresh_if_stale(ctx, person)
    allowed = await ctx.run_query(can_current_user_generate_music, args)
    return CheckedAllowance(reconciled=fresh, **{name: getattr(allowed, name) for name in Allowance.__struct_fields__})


@mutation
async def record_current_user_music_generation(ctx: MutationContext, args: NoArgs) -> Recorded:  # noqa: ARG001
    """Charge the caller for a song, if one is left."""
    return await _record(ctx, await accounts.of_caller(ctx))


@mutation
async def record_music_generation(ctx: MutationContext, args: OneUser) -> Recorded:
    """Charge an account for a song, if one is left."""
    return await _record(ctx, await _existing(ctx, args))


@mutation
async def record_video_generation(ctx: MutationContext, args: OneUser) -> Recorded:
    """Charge an account for a video, if enough songs are left."""
    return await _record(ctx, await _existing(ctx, args), SONGS_OF_A_VIDEO)


@mutation
async def decrement_video_generation(ctx: MutationContext, args: OneUser) -> Recorded:
    """Refund the video that was recorded last. `success` is false when there is none to refund.

    The charge of a video in progress is not refunded.
    """
    user_id = await _existing(ctx, args)
    released = await usage.release(ctx.db, user_id, "decremented", ctx.now, amount=SONGS_OF_A_VIDEO)
    return await _recorded(ctx, user_id, success=released)


async def _record(ctx: MutationContext, user_id: UserId, amount: int = 1) -> Recorded:
    charged = await usage.charge(ctx.db, user_id, ctx.now, held=False, amount=amount)
    if charged is not None:
        return await _recorded(ctx, user_id, success=True)
    return await _recorded(ctx, user_id, success=False, code="USAGE_LIMIT_REACHED", reason=LIMIT_REACHED)


@mutation
async def decrement_music_generation(ctx: MutationContext, args: OneUser) -> Recorded:
    """Refund the song that was recorded last. `success` is false when there is none to refund.

    The charge of a song in progress is not refunded.
    """
    user_id = await _existing(ctx, args)
    released = await usage.release(ctx.db, user_id, "decremented", ctx.now)
    return await _recorded(ctx, user_id, success=released)


async def _existing(ctx: MutationContext, args: OneUser) -> UserId:
    if not await ctx.db.fetchval("select true from subscriptions where user_id = $1", args.user_id):
        raise UserNotFound
    return UserId(args.user_id)


async def _recorded(
    ctx: MutationContext,
    user_id: UserId,
    *,
    success: bool,
    code: Literal["USAGE_LIMIT_REACHED"] | UnsetType = UNSET,
    reason: str | UnsetType = UNSET,
) -> Recorded:
    quota = await usage.quota_of(ctx.db, user_id, ctx.now)
    return Recorded(
        success=success, code=code, reason=reason, current_usage=quota.used, limit=quota.limit,
        remaining_quota=quota.remaining, tier=quota.tier,
    )  # fmt: skip
