"""Rows of `call_sessions`: what a call was, and what was said in it, if that was agreed to.

Every function here is part of its caller's transaction, and safe to run again.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import asyncpg
import msgspec

from daysong.features.phone_calls import calls
from daysong.features.phone_calls.numbers.numbers import caller_keys, number_hash
from daysong.features.users import store as users
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.ids import CallSessionId
from daysong.kernel.time.clock import to_ms
from daysong.vendors.vapi.reports import Call, Message, Report

# What stands in a session's metadata of the entry that was made of it.
DIARY_ID = "diaryId"

# The outcome of one whose words were deleted before an entry was made of them.
WORDS_DELETED = "words deleted"

# The outcome of one that was given up; should its report come after all, it counts.
NO_REPORT = "no report"

# Outcomes while the consent is still to be read from the words: the model is yet to be asked, or was asked.
ANSWER_UNREAD = "answer to be read"
ANSWER_ASKED = "answer being read"
UNREAD = (ANSWER_UNREAD, ANSWER_ASKED)

Direction = Literal["outbound", "inbound"]

# The account that a caller's number ($1: what it may be, the likeliest first) belongs to.
CALLER_SQL = """
    select user_id from call_settings where number_key = any($1) and consent = 'granted' and lost_at is null
    order by array_position($1, number_key) limit 1"""


class Whose(NamedTuple):
    """Whose call it is.

    job     the call job, when we dialled
    hashed  the number, as consent knows it
    agreed  the person had agreed to be called before it
    """

    user_id: str
    job: asyncpg.Record | None
    hashed: bytes
    agreed: bool
    direction: Direction


async def whose(ctx: MutationContext, about: Message | Call, vapi_call_id: str) -> Whose | None:
    """Whose call it is, by VAPI's id, else by what our assistant was told, else by number; the account is locked.

    A caller is known only by a number that has agreed to be called. None when no account is.
    """
    job = await calls.find(ctx.db, vapi_call_id=vapi_call_id, job_id=about.job_id)
    if job is not None:
        is_open = await users.lock_account(ctx.db, job["user_id"])
        if job["vapi_call_id"] is None:
            # Sooner than the answer to our own request for it.
            await calls.adopt(ctx, job["id"], vapi_call_id)
        job = await ctx.db.fetchrow("select * from call_jobs where id = $1", job["id"])
        if not is_open or job is None or job["number_hash"] is None:
            return None
        return Whose(job["user_id"], job, job["number_hash"], job["with_consent"], "outbound")
    keys = caller_keys(about.customer_number, about.line_number)
    if not keys:
        return None
    # It stays the call of the account whose it was when it began: numbers may change meanwhile.
    user_id = await ctx.db.fetchval(
        f"""select coalesce((select user_id from call_sessions where vapi_call_id = $2), ({CALLER_SQL}))""",  # noqa: S608
        list(keys), vapi_call_id,
    )  # fmt: skip
    if user_id is None or about.user_id not in {None, user_id} or not await users.lock_account(ctx.db, user_id):
        return None
    hashed = number_hash(ctx.settings, keys[0])
    return Whose(user_id, None, hashed, agreed=True, direction=about.direction or "inbound")


async def opened(ctx: MutationContext, whose: Whose, vapi_call_id: str) -> asyncpg.Record:
    """The session of a call, made on first sight of it; locked."""
    await ctx.db.execute(
        """insert into call_sessions (id, user_id, call_job_id, vapi_call_id, direction, state, created_at, updated_at)
           values ($1, $2, $3, $4, $5, 'in-progress', $6, $6) on conflict (vapi_call_id) do nothing""",
        CallSessionId.new(ctx.now), whose.user_id, whose.job["id"] if whose.job else None, vapi_call_id,
        whose.direction, ctx.now,
    )  # fmt: skip
    row = await ctx.db.fetchrow("select * from call_sessions where vapi_call_id = $1 for update", vapi_call_id)
    assert row is not None  # noqa: S101 - it was inserted above, or was there
    return row


async def keep_report(
    ctx: MutationContext, session_id: str, report: Report, state: str, *, outcome: str, with_words: bool
) -> None:
    """How a call went; what was said in it only `with_words`. `outcome` says what becomes of it."""
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
    """What is kept of a report beside the words; not the vendor's addresses of recordings, nor its costs."""
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
    """Delete what was said in a session of an account, named by its id or by the entry made of it.

    Returns VAPI's ids of the calls to delete there now. A call without a report is deleted when its report arrives:
    deleted earlier, it would have none, and its minutes would be unknown. One whose answer about being called is
    unread is deleted when it is read: a refusal holds. No report brings the words back.
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
    """Close the session of a call whose report did not come; return whether its words were deleted meanwhile."""
    deleted: bool | None = await ctx.db.fetchval(
        """update call_sessions set state = case when state = 'in-progress' then 'failed' else state end,
             outcome = $2, reported_at = $3, updated_at = $3
           where vapi_call_id = $1 and reported_at is null returning words_deleted_at is not null""",
        vapi_call_id, NO_REPORT, ctx.now,
    )  # fmt: skip
    return deleted or False


async def merge_metadata(ctx: MutationContext, session_id: str, more: dict[str, Any]) -> None:
    """Add to a session's metadata; what is there under other names stays."""
    await ctx.db.execute(
        "update call_sessions set metadata = metadata || $2, updated_at = $3 where id = $1", session_id, more, ctx.now
    )
