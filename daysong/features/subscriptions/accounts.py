"""An account is a user with a plan: both are made together, on first sight of a signed-in person."""

from __future__ import annotations

from daysong.features.subscriptions import usage
from daysong.features.users import store as users
from daysong.kernel.context import MutationContext
from daysong.kernel.ids import UserId
from daysong.kernel.registry import NoArgs, Result, Room

room = Room("users")


class EnsuredUser(Result):
    """Who the caller is to us."""

    user_id: str


async def of_caller(ctx: MutationContext) -> UserId:
    """The caller's account, complete with a plan; Unauthorized when nobody is signed in or the account is deleted."""
    user_id = await users.of_caller(ctx.db, ctx.caller, ctx.now)
    await usage.open_free_plan(ctx.db, user_id, ctx.now)
    return user_id


@room.mutation(public=True)
async def ensure_current_user(ctx: MutationContext, args: NoArgs) -> EnsuredUser:  # noqa: ARG001
    """Make sure the signed-in person has an account with a plan, and that its e-mail and name are up to date."""
    return EnsuredUser(user_id=await of_caller(ctx))
