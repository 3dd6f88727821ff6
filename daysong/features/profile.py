"""The profile of an account, with the data of several rooms, read in one statement."""

from __future__ import annotations

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.phone_calls.schedule import settings as call_settings
from daysong.features.phone_calls.schedule.settings import CallSettings
from daysong.features.subscriptions.entitlements import MAX, READS, SubscriptionOfProfile, status_columns, status_of
from daysong.features.subscriptions.quotas import minutes
from daysong.features.subscriptions.rules import LONGEST_PERIOD
from daysong.features.users.callers import IS_CALLER
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import NoArgs, Result, given, query


class ProfileOfUser(Result):
    """A user's id, name and e-mail."""

    id: str = msgspec.field(name="_id")
    name: str | UnsetType = UNSET
    email: str | UnsetType = UNSET


class CallSettingsOfProfile(CallSettings, kw_only=True):
    """Call settings with the minutes of talk used in the plan's period, and the plan's limit."""

    minutes_used: float
    minutes_limit: float


class Profile(Result):
    """The profile of an account. `call_settings` is null until they are set."""

    user: ProfileOfUser
    subscription: SubscriptionOfProfile | None
    call_settings: CallSettingsOfProfile | None


PROFILE_SQL = f"""
    select u.id as account_id, u.name, u.email, {status_columns("$2")}, {minutes.talk_columns("$2")},
           {call_settings.COLUMNS}
    from users u
    left join subscriptions s on s.user_id = u.id
    left join call_settings c on c.user_id = u.id
    where {IS_CALLER}"""  # noqa: S608 - constants


@query(reads=(*READS, *minutes.READS, "call_settings"))
async def get_user_profile(ctx: QueryContext, args: NoArgs) -> Profile | None:  # noqa: ARG001
    """Return the caller's profile; null for an anonymous caller, and without an account."""
    if ctx.caller.subject is None:
        return None
    row = await ctx.db.fetchrow(PROFILE_SQL, ctx.caller.subject, ctx.now - LONGEST_PERIOD)
    has_plan = row is not None and row["subscription_id"] is not None
    ctx.holds_until((lambda: minutes.talk_holds_until(row, ctx.now)) if has_plan else MAX)
    if row is None:
        return None
    return Profile(
        user=ProfileOfUser(id=row["account_id"], name=given(row["name"]), email=given(row["email"])),
        subscription=status_of(row, ctx.now),
        call_settings=_call_settings(ctx, row),
    )


def _call_settings(ctx: QueryContext, row: asyncpg.Record) -> CallSettingsOfProfile | None:
    shown = call_settings.shown(row)
    if shown is None:
        return None
    talk = None
    if row["subscription_id"] is not None:
        talk = minutes.talk_quota_of_row(row, ctx.settings.vapi.minutes, ctx.now)
    return CallSettingsOfProfile(
        **{name: getattr(shown, name) for name in CallSettings.__struct_fields__},
        minutes_used=minutes.in_minutes(talk.used if talk else 0),
        minutes_limit=minutes.in_minutes(talk.limit if talk else 0),
    )
