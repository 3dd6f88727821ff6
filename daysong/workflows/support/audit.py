"""The audit log: what operators did, and whose words they read. Rows are only added; a trigger refuses the rest.

who      the command line, the admin key, or a session of the console
account  a keyed hash of the account, since a row outlives it
target   the id of the song, call, job, event, flag or post
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from daysong.kernel.functions.context import Caller, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, given, query
from daysong.kernel.limits.marks import account_mark, account_marks
from daysong.kernel.time.clock import to_ms

DONE = "done"
MOST_ROWS = 500

# Why an operator does something: a ticket, a request of the person. Without the person's own words.
Reason = Annotated[str, msgspec.Meta(min_length=3, max_length=500, pattern=r"\S")]
Target = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=MOST_ROWS)]


class Outcome(Result):
    """What an action led to: `done`, or why nothing was changed."""

    outcome: str


class Entry(Result):
    """A row of the audit log; `at` in ms. `account` is a keyed hash."""

    id: int
    at: float
    who: str
    action: str
    outcome: str
    details: dict[str, Any]
    account: str | UnsetType = UNSET
    target: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class ListEntries(Args):
    """Which rows: of a user, of a target, of one session or the command line, of an action; older than `before`."""

    limit: Limit = 100
    before: int | UnsetType = UNSET
    user_id: IdText | UnsetType = UNSET
    account: IdText | UnsetType = UNSET
    target: Target | UnsetType = UNSET
    who: Target | UnsetType = UNSET
    action: Target | UnsetType = UNSET


def operator_of(caller: Caller) -> str:
    """Return the name of an operator for the log."""
    return caller.operator or "admin key"


async def record(
    ctx: MutationContext, action: str, *, account: str | None = None, target: str | None = None,
    reason: str | UnsetType | None = None, outcome: str = DONE, details: Mapping[str, int | float | None] | None = None,
) -> Outcome:  # fmt: skip
    """Record an action in the caller's transaction; return its outcome. `account` is the id of a user."""
    await ctx.db.execute(
        """insert into audit_log (at, who, action, account, target, reason, outcome, details)
           values ($1, $2, $3, $4, $5, $6, $7, $8)""",
        ctx.now, operator_of(ctx.caller), action,
        None if account is None else account_mark(ctx.settings.hash_key, account),
        target, (reason or "").strip() or None, outcome, dict(details or {}),
    )  # fmt: skip
    return Outcome(outcome=outcome)


@query(reads=("audit_log",))
async def list_entries(ctx: QueryContext, args: ListEntries) -> list[Entry]:
    """Return the audit log, newest first."""
    accounts = account_marks(ctx.settings.hash_keys, args.user_id) if args.user_id else None
    if args.account:
        accounts = [args.account]
    rows = await ctx.db.fetch(
        """select * from audit_log
           where ($2::bigint is null or id < $2) and ($3::text[] is null or account = any($3))
             and ($4::text is null or target = $4) and ($5::text is null or who = $5)
             and ($6::text is null or action = $6)
           order by id desc limit $1""",
        args.limit, args.before or None, accounts, args.target or None, args.who or None, args.action or None,
    )  # fmt: skip
    return [
        Entry(
            id=row["id"],
            at=to_ms(row["at"]),
            who=row["who"],
            action=row["action"],
            outcome=row["outcome"],
            details=row["details"],
            account=given(row["account"]),
            target=given(row["target"]),
            reason=given(row["reason"]),
        )
        for row in rows
    ]
