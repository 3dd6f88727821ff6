"""What operators do with accounts. Each takes the account's lock, and is in the audit log in the same transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec

from daysong.features.subscriptions.quotas import usage
from daysong.features.users import store as users
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import IdText, mutation
from daysong.kernel.ids import UserId
from daysong.workflows.accounts import account_deletion, suspended_accounts
from daysong.workflows.support import audit
from daysong.workflows.support.audit import Outcome, Reason
from daysong.workflows.support.people import OnePerson, PersonNotFound

MOST_SONGS = 1000
MOST_LIMIT = 100_000


class ChangePerson(OnePerson):
    """Whose account, and why."""

    reason: Reason


class GrantSongs(ChangePerson):
    """How many songs the account gets in its current period. What is sent twice with one `grant_id` is granted once."""

    songs: Annotated[int, msgspec.Meta(ge=1, le=MOST_SONGS)]
    grant_id: IdText | msgspec.UnsetType = msgspec.UNSET


class SetSongLimit(ChangePerson):
    """The songs of each period, whatever the plan; null for those of the plan."""

    limit: Annotated[int, msgspec.Meta(ge=0, le=MOST_LIMIT)] | None


async def _lock(ctx: MutationContext, user_id: str) -> UserId:
    if not await users.lock_account(ctx.db, user_id):
        raise PersonNotFound
    return UserId(user_id)


@mutation
async def grant_songs(ctx: MutationContext, args: GrantSongs) -> Outcome:
    """Give an account songs in its current period; the outcome `unchanged` when the grant is there already. Errors:
    PersonNotFound.
    """
    owner = await _lock(ctx, args.user_id)
    await usage.open_free_plan(ctx.db, owner, ctx.now)
    is_new = await usage.grant(ctx.db, owner, args.songs, ctx.now, args.grant_id or None)
    return await audit.record(
        ctx, "people grant songs", account=owner, reason=args.reason, details={"songs": args.songs},
        outcome=audit.DONE if is_new else "unchanged",
    )  # fmt: skip


@mutation
async def set_song_limit(ctx: MutationContext, args: SetSongLimit) -> Outcome:
    """Set or remove the limit of songs of an account; the outcome `unchanged` when it is so. Errors: PersonNotFound."""
    owner = await _lock(ctx, args.user_id)
    await usage.open_free_plan(ctx.db, owner, ctx.now)
    is_new = await ctx.db.fetchval(
        """update subscriptions set custom_music_limit = $2, updated_at = $3
           where user_id = $1 and custom_music_limit is distinct from $2 returning true""",
        owner, args.limit, ctx.now,
    )  # fmt: skip
    return await audit.record(
        ctx, "people set limit", account=owner, reason=args.reason, details={"limit": args.limit},
        outcome=audit.DONE if is_new else "unchanged",
    )  # fmt: skip


@mutation
async def block_person(ctx: MutationContext, args: ChangePerson) -> Outcome:
    """Sign a person out, and make no songs and calls for them, until they are unblocked. Errors: PersonNotFound."""
    return await _suspend(ctx, args, users.block, "people block")


@mutation
async def unblock_person(ctx: MutationContext, args: ChangePerson) -> Outcome:
    """End a block; a ban or lock at Clerk stays. Errors: PersonNotFound."""
    return await _suspend(ctx, args, users.unblock, "people unblock")


async def _suspend(
    ctx: MutationContext, args: ChangePerson, change: Callable[[MutationContext, str], Awaitable[bool]], action: str
) -> Outcome:
    """Change the block of an account, and stop what it may not have then: Clerk's word holds after a block."""
    owner = await _lock(ctx, args.user_id)
    is_new = await change(ctx, owner)
    if is_new:
        await suspended_accounts.stop(ctx, owner)
    return await audit.record(
        ctx, action, account=owner, reason=args.reason, outcome=audit.DONE if is_new else "unchanged"
    )


@mutation
async def erase_person(ctx: MutationContext, args: ChangePerson) -> Outcome:
    """Close an account at once and erase all that is in it, as its person could. Errors: PersonNotFound."""
    owner = await _lock(ctx, args.user_id)
    await account_deletion.close(ctx, owner)
    return await audit.record(ctx, "people erase", account=owner, reason=args.reason)
