"""The cost of a call: the maximum is reserved before it is dialed or answered, and its report settles it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from daysong.features.subscriptions.quotas import minutes
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.limits import budgets
from daysong.kernel.limits.budgets import NOTHING_LIMITS, Budget
from daysong.kernel.limits.counters import Answer
from daysong.kernel.limits.prices import Purchase
from daysong.vendors.vapi.reports import Report

A = TypeVar("A", bound=msgspec.Struct)


async def reserve_call(
    ctx: ActionContext, account_of: Callable[[QueryContext, A], Awaitable[str | None]], args: A
) -> Answer:
    """Reserve the cost of a call for the account that the query `account_of` returns."""
    budget = ctx.vendor(Budget)
    if not budget.enabled:
        return NOTHING_LIMITS
    return await budget.reserve(Purchase.CALL, await ctx.run_query(account_of, args))


async def reserve_answered_call(ctx: MutationContext, account: str, vapi_call_id: str) -> str | None:
    """Reserve the cost of an incoming call, once for its id at VAPI; return the cap that is reached, or None.

    The caller holds the account's lock.
    """
    answer = await budgets.reserve_within(
        ctx.db, ctx.settings, Purchase.CALL, account=account, subject=vapi_call_id, now=ctx.now
    )
    return answer.cap


async def cancel(ctx: ActionContext, answer: Answer) -> None:
    """Cancel a reservation that no call used."""
    await ctx.vendor(Budget).cancel(answer.reservation)


async def claim(ctx: MutationContext, reservation: str | None, job_id: str) -> None:
    """Attach a reservation to the call that is about to be requested."""
    await budgets.claim(ctx.db, ctx.settings, reservation, job_id, ctx.now)


async def pay(ctx: MutationContext, account: str, call_id: str, job_id: str | None, report: Report) -> None:
    """Record the cost of a call, as reported or else by its length. Replaces an estimate, once."""
    cost = report.cost
    amount = ctx.settings.costs.minutes(report.seconds or 0.0) if cost is None else round(cost * 1_000_000)
    await _pay(ctx, account, call_id, job_id, amount)


async def pay_without_report(
    ctx: MutationContext, account: str, call_id: str, job_id: str | None, seconds: float
) -> None:
    """Record the estimated cost of a call without a report, by its length; a later report corrects it."""
    await _pay(ctx, account, call_id, job_id, ctx.settings.costs.minutes(seconds), estimated=True)


async def settle_stopped(ctx: MutationContext, job_id: str) -> None:
    """Settle the minutes and cost of a call that an operator ended, by its length until now.

    One that was never answered costs nothing. A later report corrects both.
    """
    row = await ctx.db.fetchrow(
        """select j.user_id, j.hung_up_at, s.vapi_call_id, s.created_at as answered_at
           from call_jobs j left join call_sessions s on s.call_job_id = j.id
           where j.id = $1 order by s.created_at limit 1""",
        job_id,
    )
    if row is None:
        return
    seconds = 0.0
    if row["answered_at"] is not None:
        seconds = ((row["hung_up_at"] or ctx.now) - row["answered_at"]).total_seconds()
        await pay_without_report(ctx, row["user_id"], row["vapi_call_id"], job_id, seconds)
    await minutes.settle(ctx.db, seconds, ctx.now, call_job_id=job_id)
    await budgets.release(ctx.db, ctx.settings, job_id)


async def _pay(
    ctx: MutationContext, account: str, call_id: str, job_id: str | None, amount: int, *, estimated: bool = False
) -> None:
    await budgets.pay(
        ctx.db, ctx.settings, "vapi", "call", amount, account=account, subject=job_id or call_id, now=ctx.now,
        part="" if job_id is None else call_id, estimated=estimated,
    )  # fmt: skip
    await budgets.release(ctx.db, ctx.settings, job_id or call_id)
