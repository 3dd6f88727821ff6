"""The budget of a song: reserved before it is started, charged when Suno is requested, the rest released."""

from __future__ import annotations

from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import NoArgs, action, query
from daysong.kernel.limits import budgets
from daysong.kernel.limits.budgets import NOTHING_LIMITS, Budget
from daysong.kernel.limits.counters import ACCOUNT, Answer
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.limits.prices import Purchase

OWN_LIMIT = "You have reached today's limit of songs. Your entry is saved; a song can be made of it tomorrow."
COMMON_LIMIT = "So many songs were made today that no more can be made until tomorrow. Your entry is saved."


def reason_of(cap: str) -> str:
    """Return why no song is started, as shown to the user."""
    return OWN_LIMIT if cap == ACCOUNT else COMMON_LIMIT


async def reserve_song(ctx: ActionContext, owner: str | None = None) -> Answer:
    """Reserve the cost of a song for an account, by default the caller's."""
    return await reserve(ctx, Purchase.SONG, owner)


async def reserve(ctx: ActionContext, purchase: Purchase, owner: str | None = None) -> Answer:
    """Reserve the cost of a purchase for an account, by default the caller's."""
    budget = ctx.vendor(Budget)
    if not budget.enabled:
        return NOTHING_LIMITS
    return await budget.reserve(purchase, owner or await ctx.run_query(account_of_caller, NoArgs()))


async def cancel(ctx: ActionContext, answer: Answer) -> None:
    """Cancel a reservation that no song used."""
    await ctx.vendor(Budget).cancel(answer.reservation)


async def record_suno_cost(ctx: MutationContext, generation_id: str) -> None:
    """Record the cost of a request to Suno, which is due whatever the result."""
    owner = await ctx.db.fetchval("select user_id from generations where id = $1", generation_id)
    await budgets.pay(
        ctx.db, ctx.settings, "suno", "song", ctx.settings.costs.suno_song,
        account=owner, subject=generation_id, now=ctx.now,
    )  # fmt: skip


async def cancel_suno_cost(ctx: MutationContext, generation_id: str) -> None:
    """Cancel the cost of a request that Suno rejected, since it charges nothing for it."""
    await budgets.take_back(ctx.db, ctx.settings, "suno", ctx.settings.costs.suno_song, subject=generation_id)


@query(reads=("users",))
async def account_of_caller(ctx: QueryContext, args: NoArgs) -> str | None:  # noqa: ARG001
    """Return the id of the caller's account; None when there is none."""
    found: str | None = await ctx.db.fetchval(
        "select id from users where clerk_id = $1 and deleted_at is null", ctx.caller.subject
    )
    return found


@action(lane=Lane.QUICK)
async def count_costs(ctx: ActionContext, args: NoArgs) -> None:  # noqa: ARG001
    """Recount today's costs, and raise an alarm where 80 % of a cap are used. A cron."""
    await ctx.vendor(Budget).recount()
