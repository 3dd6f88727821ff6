"""What operators do with flags: list, set and remove them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.feature_flags import rules
from daysong.features.feature_flags.rules import FlagAccountNotFound, FlagNotFound, OnBothLists, TooManyFlags
from daysong.kernel.database.transactions import Transaction, lock
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, given, mutation, query
from daysong.kernel.time.clock import to_ms

# Accounts that are shown of a list, and that one call may name.
MOST_SHOWN = 100
Accounts = Annotated[list[IdText], msgspec.Meta(max_length=MOST_SHOWN)]
LOCK = "feature flags"


class Flag(Result):
    """A flag as operators see it.

    percent      the share of accounts for which it is on
    is_default   whether that is the default of this environment
    allow, deny  ids of accounts on the lists, the first 100; `allowed` and `denied` count all
    """

    key: str
    percent: int
    is_default: bool
    allowed: int
    denied: int
    allow: list[str]
    deny: list[str]
    updated_at: float | UnsetType = UNSET


class OneFlag(Args):
    """Which flag."""

    key: Annotated[str, msgspec.Meta(max_length=rules.LONGEST_KEY)]


class SetFlag(OneFlag):
    """What to change of a flag; the rest stays as it is.

    Accounts are named by user id or Clerk id; `unlist` takes them off both lists.
    """

    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] | UnsetType = UNSET
    allow: Accounts = msgspec.field(default_factory=list)
    deny: Accounts = msgspec.field(default_factory=list)
    unlist: Accounts = msgspec.field(default_factory=list)


# The accounts of a list are counted and shown from the primary key, flag by flag.
LIST_SQL = f"""
    select f.key, f.percent, f.updated_at, listed.*
    from (select coalesce(known.key, declared.key) as key, known.percent, known.updated_at
          from feature_flags known full join unnest($1::text[]) as declared (key) on declared.key = known.key) f
    cross join lateral (
        select count(*) filter (where is_on) as allowed, count(*) filter (where not is_on) as denied,
               coalesce((array_agg(user_id order by user_id) filter (where is_on))[:{MOST_SHOWN}], '{{}}') as allow,
               coalesce((array_agg(user_id order by user_id) filter (where not is_on))[:{MOST_SHOWN}], '{{}}') as deny
        from feature_flag_accounts where flag_key = f.key) listed
    order by f.key collate "C" limit {rules.MOST_FLAGS + len(rules.DECLARED)}"""  # noqa: S608 - constants


@query(reads=("feature_flags", "feature_flag_accounts"))
async def list_flags(ctx: QueryContext, args: NoArgs) -> list[Flag]:  # noqa: ARG001
    """Return all flags, by key: those that were set, and those that exist from the start."""
    return [
        Flag(
            key=row["key"],
            percent=rules.default_percent(row["key"], production=ctx.settings.production)
            if row["percent"] is None
            else row["percent"],
            is_default=row["percent"] is None,
            allowed=row["allowed"],
            denied=row["denied"],
            allow=row["allow"],
            deny=row["deny"],
            updated_at=given(None if row["updated_at"] is None else to_ms(row["updated_at"])),
        )
        for row in await ctx.db.fetch(LIST_SQL, list(rules.DECLARED))
    ]


@mutation
async def set_flag(ctx: MutationContext, args: SetFlag) -> None:
    """Create a flag, or change its percentage and its lists.

    Errors: InvalidFlagKey, TooManyFlags, FlagAccountNotFound, OnBothLists.
    """
    rules.check_key(args.key)
    # Serial, so that the number of flags holds, and a flag that is being removed is gone as a whole.
    await lock(ctx.db, LOCK)
    lists = [await _accounts(ctx.db, named) for named in (args.allow, args.deny, args.unlist)]
    allow, deny, unlist = lists
    if len({*allow, *deny, *unlist}) < sum(map(len, lists)):
        raise OnBothLists
    await ctx.db.execute(
        """insert into feature_flags (key, percent, created_at, updated_at) values ($1, $2, $3, $3)
           on conflict (key) do update set percent = coalesce(excluded.percent, feature_flags.percent),
             updated_at = excluded.updated_at""",
        args.key, None if args.percent is UNSET else args.percent, ctx.now,
    )  # fmt: skip
    if await ctx.db.fetchval("select count(*) from feature_flags") > rules.MOST_FLAGS:
        raise TooManyFlags
    await ctx.db.execute(
        "delete from feature_flag_accounts where flag_key = $1 and user_id = any($2)", args.key, unlist
    )
    for users, is_on in ((allow, True), (deny, False)):
        await ctx.db.execute(
            """insert into feature_flag_accounts (flag_key, user_id, is_on, created_at)
               select $1, user_id, $3, $4 from unnest($2::text[]) as user_id
               on conflict (flag_key, user_id) do update set is_on = excluded.is_on""",
            args.key, users, is_on, ctx.now,
        )  # fmt: skip


@mutation
async def remove_flag(ctx: MutationContext, args: OneFlag) -> None:
    """Remove a flag with its lists; a flag that exists from the start returns to its default. Errors: FlagNotFound."""
    await lock(ctx.db, LOCK)
    await ctx.db.execute("delete from feature_flag_accounts where flag_key = $1", args.key)
    if await ctx.db.execute("delete from feature_flags where key = $1", args.key) == "DELETE 0":
        raise FlagNotFound


async def _accounts(db: Transaction, named: list[str]) -> list[str]:
    """Return the ids of accounts, locked against deletion. Errors: FlagAccountNotFound."""
    rows = await db.fetch(
        """select id, clerk_id from users where (id = any($1) or clerk_id = any($1)) and deleted_at is null
           order by id for key share""",
        named,
    )
    if {*named} - {row["id"] for row in rows} - {row["clerk_id"] for row in rows}:
        raise FlagAccountNotFound
    return [row["id"] for row in rows]
