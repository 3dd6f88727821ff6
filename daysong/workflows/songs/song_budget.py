"""The money for a song: reserved before it is begun, paid when Suno is asked, and what is left of it released."""

from __future__ import annotations

from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import NoArgs, action, query
from daysong.kernel.limits import budgets
from daysong.kernel.limits.budgets import ACCOUNT, NOTHING_LIMITS, Answer, Budget
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.limits.prices import Purchase

OWN_LIMIT = "You have reached today's limit of songs. Your entry is saved; a song can be made of it tomorrow."
COMMON_LIMIT = "So many songs were made today that no more can be made until tomorrow. Your entry is saved."


def reason_of(cap: str) -> str:
    """Why no song is begun, for the person who wanted one."""
    return OWN_LIMIT if cap == ACCOUNT else COMMON_LIMIT


async def reserve_song(ctx: ActionContext, owner: str | None = None) -> Answer:
    """Reserve the money for a song of that account, or of the caller's."""
    budget = ctx.vendor(Budget)
    if not budget.enabled:
        return NOTHING_LIMITS
    return await budget.reserve(Purchase.SONG, owner or await ctx.run_query(account_of_caller, NoArgs()))


async def cancel(ctx: ActionContext, answer: Answer) -> None:
    """No song was begun with that money."""
    await ctx.vendor(Budget).cancel(answer.reservation)


async def pay_suno(ctx: MutationContext, generation_id: str) -> None:
    """Suno is about to be asked: that is what it is paid for, whatever comes of it."""
    owner = await ctx.db.fetchval("select user_id from generations where id = $1", generation_id)
    await budgets.pay(
        ctx.db, ctx.settings, "suno", "song", ctx.settings.costs.suno_song,
        account=owner, subject=generation_id, now=ctx.now,
    )  # fmt: skip


async def take_back_from_suno(ctx: MutationContext, generation_id: str) -> None:
    """Suno has refused, and takes nothing for that."""
    await budgets.take_back(ctx.db, ctx.settings, "suno", ctx.settings.costs.suno_song, subject=generation_id)


@query(reads=("users",))
async def account_of_caller(ctx: QueryContext, args: NoArgs) -> str | None:  # noqa: ARG001
    """The caller's account; None before there is one."""
    found: str | None = await ctx.db.fetchval(
        "select id from users where clerk_id = $1 and deleted_at is null", ctx.caller.subject
    )
    return found


@action(lane=Lane.QUICK)
async def count_costs(ctx: ActionContext, args: NoArgs) -> None:  # noqa: ARG001
    """Make the counters of today's costs exact, and raise an alarm where 80 % of a cap are used."""
    await ctx.vendor(Budget).recount()
