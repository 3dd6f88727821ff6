"""What mutations have answered, so that one that is asked for again is not run again.

A client asks again when it does not know whether it was heard: with the same session and the same number. What it was
answered stands in a row that the mutation's own transaction writes, so it is there if and only if the mutation
happened. Two runs at once, here or in two processes, contend for the row's key: one is undone, and finds the other's.

The row is looked for before that transaction begins, which only inserts it. So a mutation may fail because another run
of the same request has just done the same (the entry to delete is gone): a run that fails looks for the row once more
before it reports the failure.

Only the first caller gets the answer. For any other caller, and for the same person under another sign-in (signed out
meanwhile, say), the request is refused: it is not run a second time, since one client's entry must not end up
in another's diary, and the answer is not handed out. The caller is kept as a keyed hash, and
ids of sessions must be UUIDs, which no other client guesses.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple

from daysong.kernel.database.transactions import Reader
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import Caller, MutationContext


class AnsweredToAnother(DaysongError):
    """This request was answered for another caller, or to the same person under another sign-in."""


class AnsweredMeanwhile(DaysongError):
    """The request was answered by another run while this one was on its way; this one is undone."""


class Request(NamedTuple):
    """What a request is known again by: the client's session, its number there, and a mark of who asked."""

    session_id: str
    number: int
    caller: bytes


class Answer(NamedTuple):
    """What a mutation answered: its result in its form on the wire, its log lines, and the commit's timestamp."""

    result: str
    log_lines: list[str]
    ts: int


def mark(caller: Caller, key: str) -> bytes:
    """What tells one caller from another without saying who they are."""
    who = f"{'admin' if caller.is_admin else 'person'} {caller.token_identifier or caller.subject or ''}"
    return hmac.digest(key.encode(), f"answered {who}".encode(), "sha256")[:16]


async def find(db: Reader, request: Request) -> Answer | None:
    """What the request was answered, if it was; AnsweredToAnother when that was not this caller's.

    Not for use in a mutation's transaction.
    """
    row = await db.fetchrow(
        "select caller, result, log_lines, ts from answered_mutations where session_id = $1 and request_id = $2",
        request.session_id, request.number,
    )  # fmt: skip
    if row is None:
        return None
    if not hmac.compare_digest(row["caller"], request.caller):
        raise AnsweredToAnother("This request was already made under another sign-in.")
    return Answer(row["result"], list(row["log_lines"] or ()), row["ts"])


async def record(ctx: MutationContext, request: Request, answer: Answer) -> int:
    """Keep the answer until it is over (workflows/retention.py), or the account is erased; return the transaction's id.

    AnsweredMeanwhile when there is one already.
    """
    transaction = await ctx.db.fetchval(
        """insert into answered_mutations
             (session_id, request_id, caller, user_id, result, log_lines, ts, answered_at)
           values ($1, $2, $3, case when $4::text is not null then (select id from users where clerk_id = $4) end,
                   $5, $6, $7, $8)
           on conflict do nothing returning pg_current_xact_id()::text""",
        request.session_id, request.number, request.caller, ctx.caller.subject, answer.result,
        answer.log_lines or None,        answer.ts, ctx.now,
    )  # fmt: skip
    if transaction is None:
        raise AnsweredMeanwhile("the same request was answered by another run")
    return int(transaction)
