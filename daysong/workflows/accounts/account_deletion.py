"""A person leaves: the account is closed at once, and everything that was theirs is erased after that.

    deleteAccount, or Clerk's user.deleted   one transaction: closed, songs in the making stopped, a tombstone, a job
    eraseAccount                             the job: rows, children first, then files, the Clerk user, the account
    resumeErasures                           a cron: erasures that stand still are taken up again

The closed account's row is the note of what is still to be done, and is the last thing to go. Every step finds by
itself what is left, so the job may be killed anywhere and run again, also twice at once. What has to go is worked out
from the schema (features/users/owned_tables.py); events and jobs that mention a row go before the row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec

from daysong.features.music.rules import LIVE
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
from daysong.vendors.clerk.client import ClerkUsers
from daysong.vendors.storage import FileStore
from daysong.vendors.vapi.client import Telephone

log = logs.get_logger("accounts")


# Rows of one kind in one transaction: a few dozen milliseconds.
AT_ONCE = 500
# A run that has done this much leaves the rest to the next one, so that none outlasts a deployment by much.
TRANSACTIONS_PER_RUN = 400
PATIENCE = Retry(attempts=40, first=timedelta(seconds=5), longest=timedelta(hours=1))
STANDING_STILL = timedelta(minutes=10)
RESUMED_AT_ONCE = 100

FILES = "files"
# What was said in a call is at VAPI as well.
CALLS = ("call_jobs", "call_sessions")
CALL_SETTINGS = "call_settings"
CALLS_AT_ONCE = 50


class DeletedAccount(Result):
    """The account is closed. `clerk_id` says whom the app should sign out."""

    success: bool
    clerk_id: str


class OneErasure(Args):
    """Which erasure, and its how manieth run this is."""

    erasure_id: IdText
    run: str = "1"


class OneTable(Args):
    """Some rows of a table, in an erasure; `only` those of which nothing is left elsewhere, if there was anything."""

    erasure_id: IdText
    table: str
    only: list[str] | None = None


class CallAtVapi(Result):
    """A row that tells of a call, and VAPI's id of it, if it has one."""

    id: str
    vapi_call_id: str | None


class Leaving(Result):
    """Whose erasure it is, and the tables to go through, in this order."""

    user_id: str
    clerk_id: str
    clerk_gone: bool
    tables: list[str]


@mutation
async def delete_account(ctx: MutationContext, args: NoArgs) -> DeletedAccount:  # noqa: ARG001
    """Close the caller's account at once, and have everything that was theirs erased. Nothing brings it back."""
    user_id = await accounts.of_caller(ctx, allow_suspended=True)
    await close(ctx, user_id)
    return DeletedAccount(success=True, clerk_id=ctx.caller.signed_in)


async def close(ctx: MutationContext, user_id: UserId, *, clerk_gone: bool = False) -> None:
    """Close an account; part of the caller's transaction. `clerk_gone` says that Clerk has deleted the person already.

    What was used stays used, also for songs that are stopped here: they may have been ordered already.
    """
    await usage.open_free_plan(ctx.db, user_id, ctx.now)
    quota = await usage.quota_of(ctx.db, user_id, ctx.now)
    talk = await minutes.talk_quota_of(ctx.db, user_id, ctx.settings.vapi.minutes, ctx.now)
    erasure_id = ErasureId.new()
    # The address is not needed any more; everything else goes with the erasure.
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
    account_hash = tombstones.clerk_hash(ctx.settings, closed["clerk_id"])
    await usage.keep_mailbox_usage(ctx.db, user_id, account_hash)
    await minutes.keep_mailbox_usage(ctx.db, user_id, account_hash)
    await tombstones.record(
        ctx, closed["clerk_id"], closed["email"], Usage(quota.own, quota.period_start, quota.period_end, talk.own)
    )
    await ctx.db.execute(
        """update generations set status = 'canceled', updated_at = $2
           where user_id = $1 and status = any($3)""",
        user_id, ctx.now, LIVE,
    )  # fmt: skip
    await calls.stop_all(ctx, user_id)
    await _schedule_run(ctx, erasure_id, "1")


async def close_for_clerk(ctx: MutationContext, clerk_id: str) -> str:
    """Delete the account of a user whom Clerk has deleted; return the outcome."""
    row = await users.locked(ctx.db, clerk_id)
    if row is None:
        if await tombstones.deleted_at(ctx, clerk_id) is not None:
            return "deleted before"
        # Whatever arrives later about this person must not make an account.
        await tombstones.record(ctx, clerk_id, None, None)
        return "unknown user"
    if row["deleted_at"] is not None:
        await ctx.db.execute("update users set clerk_gone = true where id = $1 and not clerk_gone", row["id"])
        return "deleted before"
    await close(ctx, UserId(row["id"]), clerk_gone=True)
    return "erasure begun"


@action(retry=PATIENCE)
async def erase_account(ctx: ActionContext, args: OneErasure) -> None:
    """Erase everything of a closed account. A job; safe to be killed anywhere and to run twice."""
    left = TRANSACTIONS_PER_RUN
    while leaving := await ctx.run_query(erasure, args):
        left, vapi_failed = await _erase_tables(ctx, args, leaving.tables, left)
        if not left:
            await ctx.run_mutation(go_on_later, args)
            return
        if vapi_failed is not None:
            raise vapi_failed
        if not leaving.clerk_gone:
            await ctx.vendor(ClerkUsers).delete_user(leaving.clerk_id)
        if await ctx.run_mutation(erase_user, args):
            log.info("account erased", erasure=args.erasure_id)
            return
        left -= 1


async def _erase_tables(
    ctx: ActionContext, args: OneErasure, tables: Sequence[str], left: int
) -> tuple[int, VendorError | None]:
    """Go through the tables, in at most `left` transactions; how many are left then, and why VAPI deletes no calls."""
    vapi_failed: VendorError | None = None
    for table in tables:
        # Calls that VAPI has yet to delete would go with their settings; nothing else waits for it.
        if vapi_failed is not None and table == CALL_SETTINGS:
            continue
        one = OneTable(erasure_id=args.erasure_id, table=table)
        try:
            while left and await _erase_some(ctx, one):
                left -= 1
        except VendorError as error:
            if table not in CALLS:
                raise
            vapi_failed = error
    return left, vapi_failed


async def _erase_some(ctx: ActionContext, one: OneTable) -> bool:
    """One step through a table; whether there may be more."""
    # First what a row tells of, then the row: the other way round a kill would leave files without a row.
    if one.table == FILES:
        one = msgspec.structs.replace(one, only=await ctx.run_query(some_files, one))
        await ctx.vendor(FileStore).delete(one.only or ())
    elif one.table in CALLS:
        told = await ctx.run_query(some_calls, one)
        await _forget_calls(ctx, [call.vapi_call_id for call in told if call.vapi_call_id is not None])
        one = msgspec.structs.replace(one, only=[call.id for call in told])
    return await ctx.run_mutation(erase_rows, one)


async def _forget_calls(ctx: ActionContext, vapi_call_ids: Sequence[str]) -> None:
    if vapi_call_ids and ctx.settings.vapi.api_key is not None:
        telephone: Telephone = ctx.vendor(Telephone)  # type: ignore[type-abstract]  # looked up by its interface
        for vapi_call_id in vapi_call_ids:
            await telephone.delete(vapi_call_id)


@query
async def erasure(ctx: QueryContext, args: OneErasure) -> Leaving | None:
    """What an erasure has to do; None when it is done."""
    row = await ctx.db.fetchrow(
        f"""select id, clerk_id, clerk_gone, ({owned_tables.SCHEMA_SQL}) as schema from users
            where erasure_id = $1 and deleted_at is not null""",  # noqa: S608 - a constant
        args.erasure_id,
    )
    if row is None:
        return None
    tables = [table.name for table in owned_tables.tables(row["schema"])]
    # Once nothing refers to a file any more, none can be added to what was a song of this person.
    tables.sort(key=lambda name: name == FILES)
    return Leaving(user_id=row["id"], clerk_id=row["clerk_id"], clerk_gone=row["clerk_gone"], tables=tables)


@query
async def some_files(ctx: QueryContext, args: OneTable) -> list[str]:
    """Up to 500 stored files of the person."""
    rows = await ctx.db.fetch(
        """select f.id from files f join users u on u.id = f.user_id
           where u.erasure_id = $1 limit $2""",
        args.erasure_id, AT_ONCE,
    )  # fmt: skip
    return [row["id"] for row in rows]


@query
async def some_calls(ctx: QueryContext, args: OneTable) -> list[CallAtVapi]:
    """Some calls of the person, with VAPI's ids."""
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
    """Erase up to 500 rows of one table, or of what mentions them; whether there may be more."""
    user_id = await _leaving_user(ctx.db, args.erasure_id)
    if user_id is None:
        return False
    schema = await _schema(ctx.db)
    [table] = [one for one in owned_tables.tables(schema) if one.name == args.table]
    for condition in table.conditions:
        if args.only is None:
            rows = await _some(ctx.db, table, condition, user_id)
        else:
            rows = await _some(ctx.db, table, f"({condition}) and t.id = any($2)", user_id, args.only)
        if rows:
            if not await _forget_mentions(ctx.db, schema, _names(rows)):
                await _delete(ctx.db, table, rows)
            return True
    return False


async def _forget_mentions(db: Transaction, schema: Mapping[str, Any], names: list[str]) -> bool:
    """Erase up to 500 events, jobs and the like that mention one of these; False when there are none."""
    for table in owned_tables.mentioning(schema):
        for condition in table.conditions:
            # Joined name by name: for a long list at once, PostgreSQL would read the whole table.
            rows = await db.fetch(
                f"""select t.ctid, {table.names} as names
                    from unnest($1::text[]) as wanted (name) join {table.name} t on {condition}
                    limit {AT_ONCE} for update of t""",  # noqa: S608 - from the catalog
                names,
            )
            if rows:
                await _delete(db, table, rows)
                # Before their names are gone as well: few jobs are about one of them.
                await _forget_jobs(db, _names(rows), limit=None)
                return True
    return await _forget_jobs(db, names, limit=AT_ONCE)


async def _forget_jobs(db: Transaction, names: list[str], *, limit: int | None) -> bool:
    done = await db.execute(
        """delete from jobs where ctid = any(array(
             select j.ctid from unnest($1::text[]) as wanted (name)
             join jobs j on mentioned(j.args) ? wanted.name limit $2 for update of j))""",
        names, limit,
    )  # fmt: skip
    return done != "DELETE 0"


async def _some(db: Transaction, table: Table, condition: str, *args: Any) -> list[asyncpg.Record]:
    sql = f"select t.ctid, {table.names} as names from {table.name} t where {condition} limit {AT_ONCE} for update of t"  # noqa: S608
    return await db.fetch(sql, *args)


async def _delete(db: Transaction, table: Table, rows: list[asyncpg.Record]) -> None:
    # They were locked when they were found, so that no other transaction has changed or moved them since.
    places = [row["ctid"] for row in rows]
    await db.execute(f"delete from {table.name} where ctid = any($1)", places)  # noqa: S608 - from the catalog


def _names(rows: list[asyncpg.Record]) -> list[str]:
    return [name for row in rows for name in row["names"]]


@mutation
async def go_on_later(ctx: MutationContext, args: OneErasure) -> None:
    """Leave the rest of an erasure to another job."""
    await _schedule_run(ctx, args.erasure_id, str(int(args.run) + 1) if args.run.isdigit() else f"{args.run}+")


async def _schedule_run(ctx: MutationContext, erasure_id: str, run: str) -> None:
    await ctx.schedule(erase_account, OneErasure(erasure_id=erasure_id, run=run), key=f"erase {erasure_id} {run}")


@mutation
async def erase_user(ctx: MutationContext, args: OneErasure) -> bool:
    """Erase the account's row, the last thing there is; False when something came in between and is to go first."""
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
    if await _forget_mentions(ctx.db, schema, [row["id"], row["clerk_id"]]):
        return False
    await ctx.db.execute("delete from users where id = $1", row["id"])
    return True


async def _leaving_user(db: Transaction, erasure_id: str) -> str | None:
    user_id: str | None = await db.fetchval(
        "select id from users where erasure_id = $1 and deleted_at is not null", erasure_id
    )
    return user_id


async def _schema(db: Transaction) -> Any:
    return await db.fetchval(owned_tables.SCHEMA_SQL)


@mutation
async def resume_erasures(ctx: MutationContext, args: NoArgs) -> None:  # noqa: ARG001
    """Take up erasures again that no job is left to do, once a day each."""
    rows = await ctx.db.fetch(
        """select erasure_id from users u
           where deleted_at < $1 and erasure_id is not null and not exists (
             select from jobs j where mentioned(j.args) ? u.erasure_id and j.status in ('queued', 'running'))
           order by deleted_at limit $2""",
        ctx.now - STANDING_STILL, RESUMED_AT_ONCE,
    )  # fmt: skip
    for row in rows:
        log.warning("erasure stands still", erasure=row["erasure_id"])
        await _schedule_run(ctx, row["erasure_id"], f"{ctx.now:%Y-%m-%d}")
