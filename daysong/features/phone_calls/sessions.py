"""Rows of `call_sessions`: how a call went, and with consent its transcript.

Every function here runs in its caller's transaction and is idempotent.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import asyncpg
import msgspec

from daysong.features.phone_calls import calls
from daysong.features.phone_calls.numbers import consent
from daysong.features.phone_calls.numbers.numbers import caller_keys
from daysong.features.users import store as users
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.ids import CallSessionId
from daysong.kernel.time.clock import to_ms
from daysong.vendors.vapi.reports import Call, Message, Report

# Key in a session's metadata: the entry made of it.
DIARY_ID = "diaryId"

# Outcome: the transcript was deleted before an entry was written.
WORDS_DELETED = "words deleted"

# Outcome: no report arrived in time; a later one is still applied.
NO_REPORT = "no report"

# Outcomes while the consent is unread: the model is not requested yet, or was requested.
ANSWER_UNREAD = "answer to be read"
ANSWER_REQUESTED = "answer being read"
UNREAD = (ANSWER_UNREAD, ANSWER_REQUESTED)

Direction = Literal["outbound", "inbound"]

# The account of an incoming caller; $1 has the forms the number may have, most likely first.
CALLER_SQL = """
    select user_id from call_settings where number_key = any($1) and consent = 'granted' and lost_at is null
    order by array_position($1, number_key) limit 1"""


class CallOrigin(NamedTuple):
    """The account and number of a call.

    job     the call job of an outgoing call
    hashed  the hash of the number
    agreed  consent existed before the call
    """

    user_id: str
    job: asyncpg.Record | None
    hashed: bytes
    agreed: bool
    direction: Direction


async def find_origin(ctx: MutationContext, about: Message | Call, vapi_call_id: str) -> CallOrigin | None:
    """Lock and return a call's account, found by VAPI's id, our metadata, or number; None when there is none.

    An incoming caller is identified only by a number with consent.
    """
    job = await calls.find(ctx.db, vapi_call_id=vapi_call_id, job_id=about.job_id)
    if job is not None:
        is_open = await users.lock_account(ctx.db, job["user_id"])
        if job["vapi_call_id"] is None:
            # The message arrived before the answer to our request.
            await calls.adopt(ctx, job["id"], vapi_call_id)
        job = await ctx.db.fetchrow("select * from call_jobs where id = $1", job["id"])
        if not is_open or job is None or job["number_hash"] is None:
            return None
        return CallOrigin(job["user_id"], job, job["number_hash"], job["with_consent"], "outbound")
    keys = caller_keys(about.customer_number, about.line_number)
    if not keys:
        return None
    # The account at the beginning of the call: numbers may change meanwhile.
    user_id = await ctx.db.fetchval(
        f"""select coalesce((select user_id from call_sessions where vapi_call_id = $2), ({CALLER_SQL}))""",  # noqa: S608
        list(keys), vapi_call_id,
    )  # fmt: skip
    if user_id is None or about.user_id not in {None, user_id} or not await users.lock_account(ctx.db, user_id):
        return None
    hashed = await consent.hash_of(ctx, keys[0])
    return CallOrigin(user_id, None, hashed, agreed=True, direction=about.direction or "inbound")


async def get_or_create(ctx: MutationContext, origin: CallOrigin, vapi_call_id: str) -> asyncpg.Record:
    """Lock and return the session of a call, inserted if it is new."""
    await ctx.db.execute(
        """insert into call_sessions (id, user_id, call_job_id, vapi_call_id, direction, state, created_at, updated_at)
           values ($1, $2, $3, $4, $5, 'in-progress', $6, $6) on conflict (vapi_call_id) do nothing""",
        CallSessionId.new(ctx.now), origin.user_id, origin.job["id"] if origin.job else None, vapi_call_id,
        origin.direction, ctx.now,
    )  # fmt: skip
    row = await ctx.db.fetchrow("select * from call_sessions where vapi_call_id = $1 for update", vapi_call_id)
    assert row is not None  # noqa: S101 - inserted above, or existed
    return row


async def keep_report(
    ctx: MutationContext, session_id: str, report: Report, state: str, *, outcome: str, with_words: bool
) -> None:
    """Store a report and its outcome; the transcript only `with_words`."""
    await ctx.db.execute(
        """update call_sessions set state = $2, started_at = $3, ended_at = $4, duration_sec = $5, ended_reason = $6,
             transcript = case when words_deleted_at is null then $7::jsonb end,
             end_of_call_report = case when words_deleted_at is null then $8::jsonb end,
             outcome = $9, reported_at = $10, updated_at = $10
           where id = $1 and (reported_at is null or outcome = any($11))""",
        session_id, state, report.started_at, report.ended_at, report.seconds, report.ended_reason,
        msgspec.to_builtins(report.turns) if with_words else None, _kept(report) if with_words else None,
        outcome, ctx.now, [NO_REPORT, *UNREAD],
    )  # fmt: skip


def _kept(report: Report) -> dict[str, Any]:
    """Return the stored part of a report besides the transcript: no recording URLs, no costs."""
    kept = {
        "endedReason": report.ended_reason,
        "startedAt": None if report.started_at is None else to_ms(report.started_at),
        "endedAt": None if report.ended_at is None else to_ms(report.ended_at),
        "summary": report.summary,
        "successEvaluation": report.success,
        "structuredData": dict(report.structured) or None,
    }
    return {name: value for name, value in kept.items() if value is not None}


async def delete_words(
    ctx: MutationContext, owner: str, *, session_id: str | None = None, diary_id: str | None = None
) -> list[str]:
    """Delete the transcript of an account's session, given by its id or by the entry made of it.

    Returns VAPI's ids of the calls to delete there now. A call without a report is deleted when its report arrives,
    which has its minutes; one with an unread consent when it is read, since a refusal counts. A later report does not
    restore the transcript.
    """
    rows = await ctx.db.fetch(
        """update call_sessions set words_deleted_at = $4, transcript = null, end_of_call_report = null,
             outcome = case when outcome = 'diary to be written' then $5 else outcome end, updated_at = $4
           where user_id = $1 and words_deleted_at is null
             and (id = $2 or diary_id = $3 or id = (select call_session_id from diaries where id = $3))
           returning vapi_call_id, reported_at, outcome""",
        owner, session_id, diary_id, ctx.now, WORDS_DELETED,
    )  # fmt: skip
    return [row["vapi_call_id"] for row in rows if row["reported_at"] is not None and row["outcome"] not in UNREAD]


async def close_unreported(ctx: MutationContext, vapi_call_id: str) -> bool:
    """Close the session of a call without a report; return whether its transcript was deleted meanwhile."""
    deleted: bool | None = await ctx.db.fetchval(
        """update call_sessions set state = case when state = 'in-progress' then 'failed' else state end,
             outcome = $2, reported_at = $3, updated_at = $3
           where vapi_call_id = $1 and reported_at is null returning words_deleted_at is not null""",
        vapi_call_id, NO_REPORT, ctx.now,
    )  # fmt: skip
    return deleted or False


async def merge_metadata(ctx: MutationContext, session_id: str, more: dict[str, Any]) -> None:
    """Merge keys into a session's metadata."""
    await ctx.db.execute(
        "update call_sessions set metadata = metadata || $2, updated_at = $3 where id = $1", session_id, more, ctx.now
    )
