"""Accounts: a user with a subscription; both are created when the user is first seen."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.subscriptions.quotas import minutes, usage
from daysong.features.users import store as users
from daysong.features.users import tombstones
from daysong.features.users.store import Account, ClerkUpdate
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, mutation
from daysong.kernel.ids import UserId

ShortText = Annotated[str, msgspec.Meta(max_length=500)]


class EnsuredUser(Result):
    """The account of a user."""

    user_id: str


class CreateUser(Args):
    """A Clerk user."""

    clerk_id: IdText
    email: ShortText | UnsetType = UNSET
    name: ShortText | UnsetType = UNSET
    tags: Annotated[list[ShortText], msgspec.Meta(max_length=100)] | UnsetType = UNSET


async def of_caller(ctx: MutationContext, *, allow_suspended: bool = False) -> UserId:
    """Lock and return the caller's account, created with a plan if needed.

    Unauthorized for an anonymous caller, a deleted account, and a suspended one unless `allow_suspended`.
    """
    account = await users.of_caller(ctx, allow_suspended=allow_suspended)
    return await _complete(ctx, ctx.caller.signed_in, ctx.caller.email, account)


async def of_clerk_user(ctx: MutationContext, clerk_id: str, *, email: str | None, name: str | None) -> UserId:
    """Lock and return the account of a Clerk user, created with a plan or updated. Unauthorized when it is deleted."""
    return await _complete(ctx, clerk_id, email, await users.upsert(ctx, clerk_id, email=email, name=name))


async def apply_clerk_update(ctx: MutationContext, update: ClerkUpdate) -> tuple[Account | None, str]:
    """Apply a change of a Clerk user, unless a newer one is known; return the account and the outcome."""
    account, outcome = await users.apply_clerk_update(ctx, update)
    if account is not None:
        await _complete(ctx, update.clerk_id, update.email, account)
    return account, outcome


async def _complete(ctx: MutationContext, clerk_id: str, email: str | None, account: Account) -> UserId:
    if not account.has_plan:
        await usage.open_free_plan(ctx.db, account.user_id, ctx.now)
    if account.is_new or account.email_is_new:
        await _inherit_usage(ctx, clerk_id, email, account)
    return account.user_id


async def _inherit_usage(ctx: MutationContext, clerk_id: str, email: str | None, account: Account) -> None:
    """Charge the usage of the person's deleted accounts in its period: deleting one does not refill the quota."""
    inherited = await tombstones.inherit(ctx, clerk_id, email)
    if inherited is None:
        return
    charged_at = ctx.now
    # A new account continues the period of the deleted one. Any other account counts the usage in its own period.
    if account.is_new and await ctx.db.fetchval(
        "update subscriptions set last_reset_at = $2 where user_id = $1 and counted_at is null returning true",
        account.user_id, inherited.since,
    ):  # fmt: skip
        charged_at = inherited.since
    await usage.carry_over(ctx.db, account.user_id, inherited.used, charged_at, inherited.account_hashes)
    if inherited.talked:
        await minutes.carry_over(ctx.db, account.user_id, inherited.talked, charged_at, inherited.account_hashes)


@mutation
async def ensure_current_user(ctx: MutationContext, args: NoArgs) -> EnsuredUser:  # noqa: ARG001
    """Ensure that the caller has an account with a plan, and update its e-mail and name from the token."""
    return EnsuredUser(user_id=await of_caller(ctx))


@mutation
async def create_user(ctx: MutationContext, args: CreateUser) -> EnsuredUser:
    """Create or update the account of a Clerk user. Unauthorized when it is deleted."""
    user_id = await of_clerk_user(ctx, args.clerk_id, email=args.email or None, name=args.name or None)
    if args.tags is not UNSET:
        await ctx.db.execute(
            "update users set tags = $2, updated_at = $3 where id = $1 and tags <> $2", user_id, args.tags, ctx.now
        )
    return EnsuredUser(user_id=user_id)
