"""The money for a call: reserved before it is dialled, for as long as it may last, and paid by its report."""

from __future__ import annotations

from daysong.kernel.context import ActionContext, MutationContext
from daysong.kernel.limits import budgets
from daysong.kernel.limits.budgets import Answer, Budget
from daysong.kernel.limits.prices import Purchase
from daysong.vendors.vapi_reports import Report


async def reserve_call(ctx: ActionContext, account: str | None) -> Answer:
    """Reserve the money for a call of that account."""
    return await ctx.vendor(Budget).reserve(Purchase.CALL, account)


async def cancel(ctx: ActionContext, answer: Answer) -> None:
    """No call was made with that money."""
    await ctx.vendor(Budget).cancel(answer.reservation)


async def claim(ctx: MutationContext, reservation: str | None, job_id: str) -> None:
    """VAPI is about to be asked for the call the money was reserved for."""
    await budgets.claim(ctx.db, ctx.settings, reservation, job_id, ctx.now)


async def pay(ctx: MutationContext, account: str, call_id: str, job_id: str | None, report: Report) -> None:
    """Write down what a call cost: what VAPI says, else by its length. A call is paid for once."""
    told = report.cost
    amount = ctx.settings.costs.minutes(report.seconds or 0.0) if told is None else round(told * 1_000_000)
    if amount:
        await budgets.pay(
            ctx.db, ctx.settings, "vapi", "call", amount, account=account, subject=job_id or call_id, now=ctx.now,
            part="" if job_id is None else call_id,
        )  # fmt: skip
    if job_id is not None:
        await budgets.release(ctx.db, ctx.settings, job_id)
