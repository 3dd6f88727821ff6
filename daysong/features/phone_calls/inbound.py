"""Incoming calls: a caller is known by a number that has agreed to calls, and talks to their own assistant."""

from __future__ import annotations

from typing import Any

from daysong.features.phone_calls import money
from daysong.features.phone_calls.numbers.numbers import caller_keys
from daysong.features.phone_calls.schedule.calendar import there
from daysong.features.phone_calls.sessions import CALLER_SQL
from daysong.features.phone_calls.talk.assistant import Talk, assistant_for, day_limit, no_minutes, refusal
from daysong.features.subscriptions.quotas import minutes
from daysong.features.users import store as users
from daysong.kernel import logs
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import Args, mutation

log = logs.get_logger("calls")


class Ringing(Args):
    """An incoming call: its id at VAPI, the caller's number as the network writes it (None when it is withheld), and
    the line that is called.
    """

    vapi_call_id: str | None
    number: str | None
    line: str | None = None


@mutation
async def answer_call(ctx: MutationContext, args: Ringing) -> dict[str, Any]:
    """What VAPI is to do with the call: the caller's assistant, or a sentence that is spoken before it hangs up.

    The minutes and the money for the call are reserved under its id at VAPI, once: VAPI may ask twice about one.
    The call's report settles them; without one, the reaper does.
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
        return {"error": refusal("en")}
    vapi = ctx.settings.vapi
    seconds = await minutes.reserve(
        ctx.db, row["user_id"], vapi.minutes, ctx.now, longest=vapi.max_call_minutes * 60,
        vapi_call_id=args.vapi_call_id,
    )  # fmt: skip
    if seconds is None:
        log.info("incoming call refused", reason="no_minutes")
        return {"error": no_minutes(row["language"])}
    # Last, since the counters of the day are locked from here on.
    cap = await money.reserve_answered_call(ctx, row["user_id"], args.vapi_call_id)
    if cap is not None:
        await minutes.settle(ctx.db, 0, ctx.now, vapi_call_id=args.vapi_call_id)
        log.info("incoming call refused", reason="daily_limit", cap=cap)
        return {"error": day_limit(row["language"])}
    talk = Talk(
        job_id=None,
        user_id=row["user_id"],
        name=row["name"],
        language=row["language"],
        local_now=there(ctx.now, row["timezone"]),
        first_call=False,
        inbound=True,
        seconds=seconds,
    )
    return {"assistant": assistant_for(talk, vapi, ctx.settings.site_url)}
