"""Somebody rings us up: who has agreed to calls from a number is known by it, and talks to their own assistant."""

from __future__ import annotations

from typing import Any

from daysong.features.phone_calls.assistant import Talk, assistant_for, refusal
from daysong.features.phone_calls.calendar import there
from daysong.features.phone_calls.numbers import caller_keys
from daysong.features.phone_calls.sessions import CALLER_SQL
from daysong.kernel import logs
from daysong.kernel.context import QueryContext
from daysong.kernel.registry import Args, Room

room = Room("integrations/vapi/integration")
log = logs.get_logger("calls")


class Ringing(Args):
    """The number somebody calls from, as the network writes it, or None when it is withheld; and the line they call."""

    number: str | None
    line: str | None = None


@room.query()
async def answer_call(ctx: QueryContext, args: Ringing) -> dict[str, Any]:
    """What VAPI is to do with the call: the caller's assistant, or a sentence that is spoken before it hangs up."""
    row = None
    if keys := caller_keys(args.number, args.line):
        row = await ctx.db.fetchrow(
            f"""select s.user_id, s.language, s.timezone, u.name
                from call_settings s join users u on u.id = s.user_id
                where u.deleted_at is null and u.suspension is null and s.user_id = ({CALLER_SQL})""",  # noqa: S608 - a constant
            list(keys),
        )
    log.info("somebody rings", known=row is not None)
    if row is None:
        return {"error": refusal("en")}
    talk = Talk(
        job_id=None,
        user_id=row["user_id"],
        name=row["name"],
        language=row["language"],
        local_now=there(ctx.now, row["timezone"]),
        first_call=False,
        inbound=True,
    )
    return {"assistant": assistant_for(talk, ctx.settings.vapi, ctx.settings.site_url)}
