"""The recorded answers of mutations, which make a client's retries idempotent.

A client retries a request that got no response, with the same session id and request number. The mutation's own
transaction inserts its answer, so the row exists if and only if the mutation committed. Concurrent runs, in one process
or two, conflict on the row's key: one is rolled back, and returns the answer of the other.

On a socket that is not its client's first, the row is looked up before the transaction begins, which only inserts it.
So a run may fail because an earlier or concurrent run of the same request has committed (the entry to delete is gone):
a failed run looks for the row before it reports the failure.

A mutation of one statement inserts the row in that statement, which fails as a whole when there is one.

Only the first caller gets the answer. For any other caller, also the same person under another sign-in, the request is
refused and not run: one client's entry must not end up in another's diary. The caller is stored as a keyed hash, and
session ids are UUIDs, which other clients cannot guess.
"""

from __future__ import annotations

import functools
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from daysong.kernel.database.transactions import Reader, Statement, Transaction
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import Caller, MutationContext
from daysong.kernel.keys import any_equal


class AnsweredToOtherCaller(DaysongError):
    """The request was answered for another caller, or for the same person under another sign-in."""


class AnsweredConcurrently(DaysongError):
    """A concurrent run has answered the request; this run is rolled back."""


class Request(NamedTuple):
    """The identity of a request: the client's session, the request's number, and the hash of the caller.

    earlier  the caller's hashes by earlier keys
    """

    session_id: str
    number: int
    caller: bytes
    earlier: tuple[bytes, ...] = ()


class Answer(NamedTuple):
    """The answer of a mutation: its encoded result, its log lines, and the commit's timestamp."""

    result: str
    log_lines: list[str]
    ts: int


def request_of(session_id: str, number: int, caller: Caller, keys: Sequence[str]) -> Request:
    """Return the identity of a request; the first of the hash `keys` is the current one."""
    current, *earlier = (_caller_hash(caller, key) for key in keys)
    return Request(session_id, number, current, tuple(earlier))


def _caller_hash(caller: Caller, key: str) -> bytes:
    identity = f"{'admin' if caller.is_admin else 'person'} {caller.token_identifier or caller.subject or ''}"
    return hmac.digest(key.encode(), f"answered {identity}".encode(), "sha256")[:16]


async def find(db: Reader, request: Request) -> Answer | None:
    """Return the recorded answer, if any. Errors: AnsweredToOtherCaller when it belongs to another caller.

    Not for use in a mutation's transaction.
    """
    row = await db.fetchrow(
        "select caller, result, log_lines, ts from answered_mutations where session_id = $1 and request_id = $2",
        request.session_id, request.number,
    )  # fmt: skip
    if row is None:
        return None
    if not any_equal([request.caller, *request.earlier], [row["caller"]]):
        raise AnsweredToOtherCaller("This request was already made under another sign-in.")
    return Answer(row["result"], list(row["log_lines"] or ()), row["ts"])


async def confirm(tx: Transaction) -> None:
    """Write something, so that the commit of this transaction follows that of an answer that was found.

    A primary that is dying may show a commit that no synchronous standby has, and that a failover undoes. Once a later
    commit has succeeded, the standby has the earlier one too.
    """
    await tx.fetchval("select pg_logical_emit_message(true, 'daysong', 'answered')")


def recorded(statement: Statement, request: Request, answer: Answer, caller: Caller, now: datetime) -> Statement:
    """Return the statement with the answer in it. It fails (UniqueViolationError) when there is one already."""
    writes = _recording(statement.writes, statement.done, len(statement.args))
    row = (request.session_id, request.number, request.caller, caller.subject, answer.result, answer.ts, now)
    return statement._replace(writes=writes, done="select from done", args=(*statement.args, *row))


@functools.cache
def _recording(writes: str, done: str, count: int) -> str:
    session, number, by, subject, result, ts, now = (f"${count + place}" for place in range(1, 8))
    return f"""{writes}, done as ({done} limit 1), answered as (
        insert into answered_mutations (session_id, request_id, caller, user_id, result, ts, answered_at)
        select {session}, {number}, {by}, (select id from users where clerk_id = {subject}), {result}, {ts}, {now}
        from done)"""  # noqa: S608 - constants


async def record(ctx: MutationContext, request: Request, answer: Answer) -> int:
    """Store the answer until retention deletes it or the account is erased; return the transaction's id.

    Errors: AnsweredConcurrently when there is one already.
    """
    transaction = await ctx.db.fetchval(
        """insert into answered_mutations
             (session_id, request_id, caller, user_id, result, log_lines, ts, answered_at)
           values ($1, $2, $3, case when $4::text is not null then (select id from users where clerk_id = $4) end,
                   $5, $6, $7, $8)
           on conflict do nothing returning pg_current_xact_id()::text""",
        request.session_id, request.number, request.caller, ctx.caller.subject, answer.result,
        answer.log_lines or None, answer.ts, ctx.now,
    )  # fmt: skip
    if transaction is None:
        raise AnsweredConcurrently("the same request was answered by another run")
    return int(transaction)
