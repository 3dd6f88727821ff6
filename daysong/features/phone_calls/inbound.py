"""Incoming calls: a caller is identified by a number with consent, and gets their own assistant."""

from __future__ import annotations

from typing import Any

from daysong.features.phone_calls import money
from daysong.features.phone_calls.numbers.numbers import caller_keys
from daysong.features.phone_calls.schedule.calendar import local_datetime
from daysong.features.phone_calls.sessions import CALLER_SQL
from daysong.features.phone_calls.talk.assistant import (
    Talk,
    assistant_for,
    day_limit_message,
    no_minutes_message,
    unknown_caller_message,
)
from daysong.features.subscriptions.quotas import minutes
from daysong.features.users import store as users
from daysong.kernel import logs
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import Args, mutation

log = logs.get_logger("calls")


class IncomingCall(Args):
    """An incoming call: its id at VAPI, the caller's number as sent by the network (None when withheld), our line."""

    vapi_call_id: str | None
    number: str | None
    line: str | None = None


@mutation
async def answer_call(ctx: MutationContext, args: IncomingCall) -> dict[str, Any]:
    """Return VAPI's instructions: the caller's assistant, or a sentence to speak before hanging up.

    The minutes and the cost are reserved once under the call's id at VAPI, which may ask twice. The report settles
    them; without one, the reaper does.
    """
    row = None
    keys = caller_keys(args.number, args.line)
    if keys and args.vapi_call_id is not None:
        owner = await ctx.db.fetchval(CALLER_SQL, list(keys))
        if owner is not None and await users.lock_account(ctx.db, owner):
            row = await ctx.db.fetchrow(
                """select s.user_id, s.language, s.timezone, u.name
                   from call_settings s join users u on u.id = s.user_id
                   where s.user_id = $1 and u.suspension is null
                         and s.consent = 'granted' and s.number_key = any($2)""",
                owner, list(keys),
            )  # fmt: skip
    log.info("incoming call", known=row is not None)
    if row is None or args.vapi_call_id is None:
        return {"error": unknown_caller_message("en")}
    vapi = ctx.settings.vapi
    seconds = await minutes.reserve(
        ctx.db, row["user_id"], vapi.minutes, ctx.now, longest=vapi.max_call_minutes * 60,
        vapi_call_id=args.vapi_call_id,
    )  # fmt: skip
    if seconds is None:
        log.info("incoming call refused", reason="no_minutes")
        return {"error": no_minutes_message(row["language"])}
    # Last, since it locks the day's counters.
    cap = await money.reserve_answered_call(ctx, row["user_id"], args.vapi_call_id)
    if cap is not None:
        await minutes.settle(ctx.db, 0, ctx.now, vapi_call_id=args.vapi_call_id)
        log.info("incoming call refused", reason="daily_limit", cap=cap)
        return {"error": day_limit_message(row["language"])}
    talk = Talk(
        job_id=None,
        user_id=row["user_id"],
        name=row["name"],
        language=row["language"],
        local_now=local_datetime(ctx.now, row["timezone"]),
        first_call=False,
        inbound=True,
        seconds=seconds,
    )
    return {"assistant": assistant_for(talk, vapi, ctx.settings.site_url)}
