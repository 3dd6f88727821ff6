"""The devices of a person that show notifications, and which kinds they want."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.push_notifications import store
from daysong.features.push_notifications.rules import LONGEST_TOKEN, InvalidPushToken, Platform
from daysong.features.subscriptions import accounts
from daysong.features.users.callers import CALLERS_ID, IS_CALLER
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, NoArgs, Result, mutation, query
from daysong.kernel.time.clock import to_ms
from daysong.vendors.expo.client import is_token

TokenText = Annotated[str, msgspec.Meta(max_length=LONGEST_TOKEN)]


class RegisterPushToken(Args):
    """The Expo push token of this device, and its system."""

    token: TokenText
    platform: Platform


class OnePushToken(Args):
    """An Expo push token."""

    token: TokenText


class PushToken(Result):
    """A device of the caller; times in ms since the epoch."""

    id: str = msgspec.field(name="_id")
    token: str
    platform: Platform
    created_at: float
    updated_at: float


class Preferences(Result):
    """Which notifications the caller wants; all of them at first.

    music_ready, video_ready  a song or a video is ready
    music_failed              a song could not be made, and why
    call_missed               two calls in a row were missed
    """

    music_ready: bool = True
    music_failed: bool = True
    video_ready: bool = True
    call_missed: bool = True


class SetPreferences(Args):
    """The kinds to switch on or off; others are kept."""

    music_ready: bool | UnsetType = UNSET
    music_failed: bool | UnsetType = UNSET
    video_ready: bool | UnsetType = UNSET
    call_missed: bool | UnsetType = UNSET


TOKENS_SQL = f"""
    select id, token, platform, created_at, updated_at from push_tokens
    where user_id = {CALLERS_ID} order by updated_at desc, id desc"""  # noqa: S608 - a constant
PREFERENCES_SQL = f"""
    select coalesce(p.music_ready, true), coalesce(p.music_failed, true), coalesce(p.video_ready, true),
           coalesce(p.call_missed, true)
    from users u left join push_settings p on p.user_id = u.id where {IS_CALLER}"""  # noqa: S608 - a constant


@mutation
async def register_push_token(ctx: MutationContext, args: RegisterPushToken) -> None:
    """Let this device show the caller's notifications. Apps call it on every start; the same token is kept once.

    A token is the device's own secret: one that another account holds moves to the caller's. A person has at most 20,
    the 21st takes the place of the one registered longest ago; at most 10 a day may be new to the account.
    Errors: InvalidPushToken, TooManyPushTokens.
    """
    if not is_token(args.token):
        raise InvalidPushToken
    owner = await accounts.of_caller(ctx)
    await store.register(ctx, owner, args.token, args.platform)


@mutation
async def unregister_push_token(ctx: MutationContext, args: OnePushToken) -> None:
    """Forget a device of the caller's, as at sign-out; gone already, or another's, is fine and changes nothing."""
    owner = await accounts.of_caller(ctx)
    await ctx.db.execute("delete from push_tokens where token = $1 and user_id = $2", args.token, owner)


@query(reads=("push_tokens", "users"))
async def get_my_push_tokens(ctx: QueryContext, args: NoArgs) -> list[PushToken]:  # noqa: ARG001
    """Return the caller's devices, the one registered last first; an empty list to an anonymous caller."""
    if ctx.caller.subject is None:
        return []
    rows = await ctx.db.fetch(TOKENS_SQL, ctx.caller.subject)
    return [
        PushToken(
            id=row["id"],
            token=row["token"],
            platform=row["platform"],
            created_at=to_ms(row["created_at"]),
            updated_at=to_ms(row["updated_at"]),
        )
        for row in rows
    ]


@query(reads=("push_settings", "users"))
async def get_preferences(ctx: QueryContext, args: NoArgs) -> Preferences | None:  # noqa: ARG001
    """Return which notifications the caller wants; null for an anonymous caller, and without an account."""
    if ctx.caller.subject is None:
        return None
    row = await ctx.db.fetchrow(PREFERENCES_SQL, ctx.caller.subject)
    return None if row is None else Preferences(*row)


@mutation
async def set_preferences(ctx: MutationContext, args: SetPreferences) -> Preferences:
    """Switch kinds of notifications on or off, and return all of them. Holds for what was not sent yet."""
    owner = await accounts.of_caller(ctx)
    wanted = [value if value is not UNSET else None for value in msgspec.structs.astuple(args)]
    row = await ctx.db.fetchrow(
        """insert into push_settings as p (user_id, music_ready, music_failed, video_ready, call_missed, updated_at)
           values ($1, coalesce($2, true), coalesce($3, true), coalesce($4, true), coalesce($5, true), $6)
           on conflict (user_id) do update set
             music_ready = coalesce($2, p.music_ready), music_failed = coalesce($3, p.music_failed),
             video_ready = coalesce($4, p.video_ready), call_missed = coalesce($5, p.call_missed), updated_at = $6
           returning music_ready, music_failed, video_ready, call_missed""",
        owner, *wanted, ctx.now,
    )  # fmt: skip
    assert row is not None  # noqa: S101 - inserted or updated
    return Preferences(*row)
