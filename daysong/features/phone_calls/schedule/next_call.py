"""The query of when a user is called next."""

from __future__ import annotations

from datetime import datetime

import asyncpg
from msgspec import UNSET, UnsetType

from daysong.features.phone_calls.schedule.calendar import is_known, next_run
from daysong.features.subscriptions.entitlements import MAX, READS, status_columns
from daysong.features.subscriptions.quotas import minutes
from daysong.features.subscriptions.rules import LONGEST_PERIOD
from daysong.features.users.callers import IS_CALLER
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import NoArgs, Result, given, query
from daysong.kernel.time.clock import to_ms


class NextCall(Result):
    """When the caller's phone rings next.

    at             in ms; of paused calls, when the next one would be. Absent when the time zone no longer exists
    timezone       of the call settings
    paused_reason  why no call comes: `refused`, `no_consent`, `screened`, `misdialed` or `unknown_timezone`
    minutes_left   of talk in the plan's period
    """

    timezone: str
    minutes_left: float
    at: float | UnsetType = UNSET
    paused_reason: str | UnsetType = UNSET


NEXT_CALL_SQL = f"""
    select c.timezone, c.local_minutes, c.byday_mask, c.next_run_at, c.paused_reason,
           {status_columns("$2")}, {minutes.talk_columns("$2")}
    from users u
    join call_settings c on c.user_id = u.id and c.active
    left join subscriptions s on s.user_id = u.id
    where {IS_CALLER}"""  # noqa: S608 - constants


@query(reads=(*READS, *minutes.READS, "call_settings"))
async def get_next_call(ctx: QueryContext, args: NoArgs) -> NextCall | None:  # noqa: ARG001
    """Return when the caller is called next; null without call settings, when calls are switched off, and anonymously.

    A call that is due now, or waits for a line, is in `callJobs:getCallJobs`.
    """
    if ctx.caller.subject is None:
        return None
    row = await ctx.db.fetchrow(NEXT_CALL_SQL, ctx.caller.subject, ctx.now - LONGEST_PERIOD)
    ctx.holds_until(MAX)
    if row is None:
        return None
    at = _at(row, ctx.now)
    if at is not None and row["next_run_at"] is None:
        ctx.holds_until(at)
    talk = None
    if row["subscription_id"] is not None:
        ctx.holds_until(lambda: minutes.talk_holds_until(row, ctx.now))
        talk = minutes.talk_quota_of_row(row, ctx.settings.vapi.minutes, ctx.now)
    return NextCall(
        at=UNSET if at is None else to_ms(at),
        timezone=row["timezone"],
        paused_reason=given(row["paused_reason"]),
        minutes_left=minutes.in_minutes(talk.remaining if talk else 0),
    )


def _at(row: asyncpg.Record, now: datetime) -> datetime | None:
    if row["next_run_at"] is not None:
        due: datetime = row["next_run_at"]
        return due
    if not is_known(row["timezone"]):
        return None
    return next_run(
        after=now, timezone=row["timezone"], local_minutes=row["local_minutes"], byday_mask=row["byday_mask"]
    )
