"""An account is a user with a plan: both are made together, on first sight of a person."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.subscriptions import minutes, usage
from daysong.features.users import store as users
from daysong.features.users import tombstones
from daysong.features.users.store import Account, ToldByClerk
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, mutation
from daysong.kernel.ids import UserId

ShortText = Annotated[str, msgspec.Meta(max_length=500)]


class EnsuredUser(Result):
    """Who the caller is to us."""

    user_id: str


class CreateUser(Args):
    """Somebody Clerk knows."""

    clerk_id: IdText
    email: ShortText | UnsetType = UNSET
    name: ShortText | UnsetType = UNSET
    tags: Annotated[list[ShortText], msgspec.Meta(max_length=100)] | UnsetType = UNSET


async def of_caller(ctx: MutationContext, *, although_suspended: bool = False) -> UserId:
    """The caller's account, complete with a plan.

    Unauthorized when nobody is signed in, and when the account is deleted, or suspended unless that does not matter.
    """
    account = await users.of_caller(ctx, although_suspended=although_suspended)
    return await _complete(ctx, ctx.caller.signed_in, ctx.caller.email, account)


async def of_clerk_user(ctx: MutationContext, clerk_id: str, *, email: str | None, name: str | None) -> UserId:
    """That Clerk user's account, complete with a plan, made or brought up to date; Unauthorized when it is deleted."""
    return await _complete(ctx, clerk_id, email, await users.upsert(ctx, clerk_id, email=email, name=name))


async def hear(ctx: MutationContext, told: ToldByClerk) -> tuple[Account | None, str]:
    """Apply what Clerk told of somebody, unless newer things are known; the account, and in a word what came of it."""
    account, outcome = await users.hear(ctx, told)
    if account is not None:
        await _complete(ctx, told.clerk_id, told.email, account)
    return account, outcome


async def _complete(ctx: MutationContext, clerk_id: str, email: str | None, account: Account) -> UserId:
    await usage.open_free_plan(ctx.db, account.user_id, ctx.now)
    if account.is_new or account.email_is_new:
        await _go_on_with_usage(ctx, clerk_id, email, account)
    return account.user_id


async def _go_on_with_usage(ctx: MutationContext, clerk_id: str, email: str | None, account: Account) -> None:
    """Count what the person's deleted accounts have used, in the period it was used in: no refill by deleting."""
    inherited = await tombstones.inherit(ctx, clerk_id, email)
    if inherited is None:
        return
    charged_at = ctx.now
    # A new account goes on with the period; where something else decides about periods, it counts in the present one.
    if account.is_new and await ctx.db.fetchval(
        "update subscriptions set last_reset_at = $2 where user_id = $1 and counted_at is null returning true",
        account.user_id, inherited.since,
    ):  # fmt: skip
        charged_at = inherited.since
    await usage.go_on(ctx.db, account.user_id, inherited.used, charged_at, inherited.account_hashes)
    if inherited.talked:
        await minutes.take_over(ctx.db, account.user_id, inherited.talked, charged_at, inherited.account_hashes)


@mutation
async def ensure_current_user(ctx: MutationContext, args: NoArgs) -> EnsuredUser:  # noqa: ARG001
    """Make sure the signed-in person has an account with a plan, and that its e-mail and name are up to date."""
    return EnsuredUser(user_id=await of_caller(ctx))


@mutation
async def create_user(ctx: MutationContext, args: CreateUser) -> EnsuredUser:
    """An account with a plan for that Clerk user: made, or brought up to date. Unauthorized when it is deleted."""
    user_id = await of_clerk_user(ctx, args.clerk_id, email=args.email or None, name=args.name or None)
    if args.tags is not UNSET:
        await ctx.db.execute(
            "update users set tags = $2, updated_at = $3 where id = $1 and tags <> $2", user_id, args.tags, ctx.now
        )
    return EnsuredUser(user_id=user_id)
