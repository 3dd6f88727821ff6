"""Account deletion: the account is closed at once, then its data is erased by a job.

    deleteAccount, or Clerk's user.deleted   one transaction: closed, generations canceled, a tombstone, a job
    eraseAccount                             the job: rows, children first, then files, the Clerk user, the account
    resumeErasures                           a cron: schedules stalled erasures again

The closed account's row marks the erasure as unfinished, and is deleted last. Every step looks for what is left, so the
job may be killed at any point, rerun, and run concurrently. The tables follow from the schema
(features/users/owned_tables.py); events and jobs that mention a row are deleted before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
from prometheus_client import Counter

from daysong.features.invitations import store as invitations
from daysong.features.music import generations, video_rows
from daysong.features.music.rules import LIVE
from daysong.features.music.video_rules import LIVE as LIVE_VIDEOS
from daysong.features.phone_calls import calls
from daysong.features.subscriptions import accounts
from daysong.features.subscriptions.quotas import minutes, usage
from daysong.features.users import owned_tables, tombstones
from daysong.features.users import store as users
from daysong.features.users.owned_tables import Table
from daysong.features.users.tombstones import Usage
from daysong.kernel import logs
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, Retry, action, mutation, query
from daysong.kernel.ids import ErasureId, UserId
from daysong.kernel.monitoring.counting import count, rows_of
from daysong.vendors.clerk.client import ClerkUsers
from daysong.vendors.storage import FileStore
from daysong.vendors.vapi.client import Telephone

log = logs.get_logger("accounts")

ERASED = Counter("daysong_erasures", "Accounts whose last row was erased")

# Rows per transaction: a few dozen milliseconds.
AT_ONCE = 500
# A longer erasure continues in another job, so that none outlasts a deployment by much.
TRANSACTIONS_PER_RUN = 400
ERASURE_RETRY = Retry(attempts=40, first=timedelta(seconds=5), longest=timedelta(hours=1))
STALLED_AFTER = timedelta(minutes=10)
RESUMED_AT_ONCE = 100

FILES = "files"
# VAPI has the transcripts of these as well.
CALLS = ("call_jobs", "call_sessions")
CALL_SETTINGS = "call_settings"
CALLS_AT_ONCE = 50


class DeletedAccount(Result):
    """The account is closed. `clerk_id` is the user the app should sign out."""

    success: bool
    clerk_id: str


class OneErasure(Args):
    """The id of an erasure, and the number of its run."""

    erasure_id: IdText
    run: str = "1"


class OneTable(Args):
    """A table in an erasure; `only` has the ids of rows whose files or VAPI calls are deleted already."""

    erasure_id: IdText
    table: str
    only: list[str] | None = None


class CallAtVapi(Result):
    """A row about a call, and the call's id at VAPI, if any."""

    id: str
    vapi_call_id: str | None


class ErasureState(Result):
    """The account to erase, and its tables in the order of deletion."""

    user_id: str
    clerk_id: str
    clerk_gone: bool
    tables: list[str]


@mutation
async def delete_account(ctx: MutationContext, args: NoArgs) -> DeletedAccount:  # noqa: ARG001
    """Close the caller's account at once, and schedule the erasure of its data. This cannot be undone."""
    user_id = await accounts.of_caller(ctx, allow_suspended=True)
    await close(ctx, user_id)
    return DeletedAccount(success=True, clerk_id=ctx.caller.signed_in)


async def close(ctx: MutationContext, user_id: UserId, *, clerk_gone: bool = False) -> None:
    """Close an account; part of the caller's transaction. `clerk_gone`: Clerk has already deleted the user.

    Usage is not refunded, not even for the songs and videos canceled here: their vendors may have been
    requested.
    """
    await usage.open_free_plan(ctx.db, user_id, ctx.now)
    quota = await usage.quota_of(ctx.db, user_id, ctx.now)
    talk = await minutes.talk_quota_of(ctx.db, user_id, ctx.settings.vapi.minutes, ctx.now)
    erasure_id = ErasureId.new()
    # Profile data is not needed any more; the rest is erased by the job.
    closed = await ctx.db.fetchrow(
        """with before as (select id, email from users where id = $1 and deleted_at is null for update)
           update users set deleted_at = $2, updated_at = $2, erasure_id = $3, email = null, name = null, tags = '{}',
             mailbox_hash = null,
             verified_phones = '{}', clerk_gone = clerk_gone or $4
           from before where users.id = before.id returning clerk_id, before.email""",
        user_id, ctx.now, erasure_id, clerk_gone,
    )  # fmt: skip
    if closed is None:
        return
    account_hash = await tombstones.account_hash(ctx.db, ctx.settings, closed["clerk_id"])
    await usage.keep_mailbox_usage(ctx.db, user_id, account_hash)
    await minutes.keep_mailbox_usage(ctx.db, user_id, account_hash)
    await tombstones.record(
        ctx, closed["clerk_id"], closed["email"], Usage(quota.own, quota.period_start, quota.period_end, talk.own)
    )
    if closed["email"] is not None:
        await invitations.erase(ctx.db, closed["email"])
    canceled = await ctx.db.execute(
        """update generations set status = 'canceled', updated_at = $2
           where user_id = $1 and status = any($3)""",
        user_id, ctx.now, LIVE,
    )  # fmt: skip
    count(generations.SONGS.labels("canceled", "account_deleted"), rows_of(canceled))
    canceled = await ctx.db.execute(
        """update music_videos set status = 'canceled', updated_at = $2
           where user_id = $1 and status = any($3)""",
        user_id, ctx.now, LIVE_VIDEOS,
    )  # fmt: skip
    count(video_rows.VIDEOS.labels("canceled", "account_deleted"), rows_of(canceled))
    await calls.stop_all(ctx, user_id)
    await _schedule_run(ctx, erasure_id, "1")


async def close_for_clerk(ctx: MutationContext, clerk_id: str) -> str:
    """Delete the account of a user whom Clerk has deleted; return the outcome."""
    row = await users.locked(ctx.db, clerk_id)
    if row is None:
        if await tombstones.deleted_at(ctx, clerk_id) is not None:
            return "deleted before"
        # Later events and tokens of this user must not create an account.
        await tombstones.record(ctx, clerk_id, None, None)
        return "unknown user"
    if row["deleted_at"] is not None:
        await ctx.db.execute("update users set clerk_gone = true where id = $1 and not clerk_gone", row["id"])
        return "deleted before"
    await close(ctx, UserId(row["id"]), clerk_gone=True)
    return "erasure begun"


@action(retry=ERASURE_RETRY)
async def erase_account(ctx: ActionContext, args: OneErasure) -> None:
    """Erase all data of a closed account. A job; idempotent, and safe to be killed at any point."""
    left = TRANSACTIONS_PER_RUN
    while state := await ctx.run_query(erasure, args):
        left, vapi_failed = await _erase_tables(ctx, args, state.tables, left)
        if not left:
            await ctx.run_mutation(schedule_next_run, args)
            return
        if vapi_failed is not None:
            raise vapi_failed
        if not state.clerk_gone:
            await ctx.vendor(ClerkUsers).delete_user(state.clerk_id)
        if await ctx.run_mutation(erase_user, args):
            log.info("account erased", erasure=args.erasure_id)
            return
        left -= 1


async def _erase_tables(
    ctx: ActionContext, args: OneErasure, tables: Sequence[str], left: int
) -> tuple[int, VendorError | None]:
    """Erase tables in at most `left` transactions; return how many are left, and VAPI's error, if any."""
    vapi_failed: VendorError | None = None
    for table in tables:
        # Settings cascade to calls that VAPI has yet to delete; no other table waits for VAPI.
        if vapi_failed is not None and table == CALL_SETTINGS:
            continue
        one = OneTable(erasure_id=args.erasure_id, table=table)
        try:
            while left and await _erase_batch(ctx, one):
                left -= 1
        except VendorError as error:
            if table not in CALLS:
                raise
            vapi_failed = error
    return left, vapi_failed


async def _erase_batch(ctx: ActionContext, one: OneTable) -> bool:
    """Erase one batch of a table; return whether there may be more."""
    # Files and VAPI calls before their rows: otherwise a kill would leave files without a row.
    if one.table == FILES:
        one = msgspec.structs.replace(one, only=await ctx.run_query(next_files, one))
        await ctx.vendor(FileStore).delete(one.only or ())
    elif one.table in CALLS:
        calls_at_vapi = await ctx.run_query(next_calls, one)
        await _delete_calls_at_vapi(ctx, [call.vapi_call_id for call in calls_at_vapi if call.vapi_call_id is not None])
        one = msgspec.structs.replace(one, only=[call.id for call in calls_at_vapi])
    return await ctx.run_mutation(erase_rows, one)


async def _delete_calls_at_vapi(ctx: ActionContext, vapi_call_ids: Sequence[str]) -> None:
    if vapi_call_ids and ctx.settings.vapi.api_key is not None:
        telephone: Telephone = ctx.vendor(Telephone)  # type: ignore[type-abstract]  # looked up by its interface
        for vapi_call_id in vapi_call_ids:
            await telephone.delete(vapi_call_id)


@query
async def erasure(ctx: QueryContext, args: OneErasure) -> ErasureState | None:
    """Return the state of an erasure; None when it is done."""
    row = await ctx.db.fetchrow(
        f"""select id, clerk_id, clerk_gone, ({owned_tables.SCHEMA_SQL}) as schema from users
            where erasure_id = $1 and deleted_at is not null""",  # noqa: S608 - a constant
        args.erasure_id,
    )
    if row is None:
        return None
    tables = [table.name for table in owned_tables.tables(row["schema"])]
    # Files last: once their tracks are deleted, no file can be added.
    tables.sort(key=lambda name: name == FILES)
    return ErasureState(user_id=row["id"], clerk_id=row["clerk_id"], clerk_gone=row["clerk_gone"], tables=tables)


@query
async def next_files(ctx: QueryContext, args: OneTable) -> list[str]:
    """Return up to 500 stored files of the account."""
    rows = await ctx.db.fetch(
        """select f.id from files f join users u on u.id = f.user_id
           where u.erasure_id = $1 limit $2""",
        args.erasure_id, AT_ONCE,
    )  # fmt: skip
    return [row["id"] for row in rows]


@query
async def next_calls(ctx: QueryContext, args: OneTable) -> list[CallAtVapi]:
    """Return up to 50 calls of the account, with VAPI's ids."""
    if args.table not in CALLS:
        return []
    rows = await ctx.db.fetch(
        f"""select c.id, c.vapi_call_id from {args.table} c join users u on u.id = c.user_id
            where u.erasure_id = $1 limit $2""",  # noqa: S608 - one of CALLS
        args.erasure_id, CALLS_AT_ONCE,
    )  # fmt: skip
    return [CallAtVapi(id=row["id"], vapi_call_id=row["vapi_call_id"]) for row in rows]


@mutation
async def erase_rows(ctx: MutationContext, args: OneTable) -> bool:
    """Erase up to 500 rows of a table, or of rows that mention them; return whether there may be more."""
    user_id = await _closed_user(ctx.db, args.erasure_id)
    if user_id is None:
        return False
    schema = await _schema(ctx.db)
    [table] = [one for one in owned_tables.tables(schema) if one.name == args.table]
    for condition in table.conditions:
        if args.only is None:
            rows = await _lock_batch(ctx.db, table, condition, user_id)
        else:
            rows = await _lock_batch(ctx.db, table, f"({condition}) and t.id = any($2)", user_id, args.only)
        if rows:
            if not await _delete_mentions(ctx.db, schema, _ids(rows)):
                await _delete(ctx.db, table, rows)
            return True
    return False


async def _delete_mentions(db: Transaction, schema: Mapping[str, Any], ids: list[str]) -> bool:
    """Erase up to 500 events, jobs and the like that mention one of the ids; False when there are none."""
    for table in owned_tables.mentioning(schema):
        for condition in table.conditions:
            # Joined id by id: with a long list, PostgreSQL would scan the whole table.
            rows = await db.fetch(
                f"""select t.ctid, {table.names} as names
                    from unnest($1::text[]) as wanted (name) join {table.name} t on {condition}
                    limit {AT_ONCE} for update of t""",  # noqa: S608 - from the catalog
                ids,
            )
            if rows:
                await _delete(db, table, rows)
                # Now, while their ids are known; few jobs mention one of them.
                await _delete_jobs(db, _ids(rows), limit=None)
                return True
    return await _delete_jobs(db, ids, limit=AT_ONCE)


async def _delete_jobs(db: Transaction, ids: list[str], *, limit: int | None) -> bool:
    done = await db.execute(
        """delete from jobs where ctid = any(array(
             select j.ctid from unnest($1::text[]) as wanted (name)
             join jobs j on mentioned(j.args) ? wanted.name limit $2 for update of j))""",
        ids, limit,
    )  # fmt: skip
    return done != "DELETE 0"


async def _lock_batch(db: Transaction, table: Table, condition: str, *args: Any) -> list[asyncpg.Record]:
    sql = f"select t.ctid, {table.names} as names from {table.name} t where {condition} limit {AT_ONCE} for update of t"  # noqa: S608
    return await db.fetch(sql, *args)


async def _delete(db: Transaction, table: Table, rows: list[asyncpg.Record]) -> None:
    # The rows are locked, so that their ctid is still valid.
    ctids = [row["ctid"] for row in rows]
    await db.execute(f"delete from {table.name} where ctid = any($1)", ctids)  # noqa: S608 - from the catalog


def _ids(rows: list[asyncpg.Record]) -> list[str]:
    return [name for row in rows for name in row["names"]]


@mutation
async def schedule_next_run(ctx: MutationContext, args: OneErasure) -> None:
    """Schedule another job for the rest of an erasure."""
    await _schedule_run(ctx, args.erasure_id, str(int(args.run) + 1) if args.run.isdigit() else f"{args.run}+")


async def _schedule_run(ctx: MutationContext, erasure_id: str, run: str) -> None:
    await ctx.schedule(erase_account, OneErasure(erasure_id=erasure_id, run=run), key=f"erase {erasure_id} {run}")


@mutation
async def erase_user(ctx: MutationContext, args: OneErasure) -> bool:
    """Erase the account's row, which is the last; False when new rows were inserted that must be erased first."""
    row = await ctx.db.fetchrow(
        "select id, clerk_id from users where erasure_id = $1 and deleted_at is not null for update", args.erasure_id
    )
    if row is None:
        return True
    schema = await _schema(ctx.db)
    conditions = [(table.name, one) for table in owned_tables.tables(schema) for one in table.conditions]
    left = " or ".join(f"exists (select from {name} t where {condition})" for name, condition in conditions)
    if await ctx.db.fetchval(f"select {left}", row["id"]):
        return False
    if await _delete_mentions(ctx.db, schema, [row["id"], row["clerk_id"]]):
        return False
    await ctx.db.execute("delete from users where id = $1", row["id"])
    count(ERASED)
    return True


async def _closed_user(db: Transaction, erasure_id: str) -> str | None:
    user_id: str | None = await db.fetchval(
        "select id from users where erasure_id = $1 and deleted_at is not null", erasure_id
    )
    return user_id


async def _schema(db: Transaction) -> Any:
    return await db.fetchval(owned_tables.SCHEMA_SQL)


@mutation
async def resume_erasures(ctx: MutationContext, args: NoArgs) -> None:  # noqa: ARG001
    """Schedule unfinished erasures that have no job again, each once a day. A cron."""
    rows = await ctx.db.fetch(
        """select erasure_id from users u
           where deleted_at < $1 and erasure_id is not null and not exists (
             select from jobs j where mentioned(j.args) ? u.erasure_id and j.finished_at is null)
           order by deleted_at limit $2""",
        ctx.now - STALLED_AFTER, RESUMED_AT_ONCE,
    )  # fmt: skip
    for row in rows:
        log.warning("erasure stalled", erasure=row["erasure_id"])
        await _schedule_run(ctx, row["erasure_id"], f"{ctx.now:%Y-%m-%d}")
