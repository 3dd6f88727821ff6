"""Flags of an account: `is_on` for other features, and what apps see."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import UNSET, UnsetType

from daysong.features.feature_flags import rules
from daysong.features.feature_flags.rules import EVENT_EXTRACTION
from daysong.features.users.callers import IS_CALLER
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, query
from daysong.kernel.settings import Settings

__all__ = [
    "EVENT_EXTRACTION",
    "Setting",
    "decide",
    "default_of",
    "flags_of_account",
    "get_user_flags",
    "is_on",
    "may_be_on_sql",
    "setting_sql",
]

# The key that the triggers of feature_flags notify with.
CHANGES = "feature flags"


class Setting(NamedTuple):
    """What operators have set of a flag for an account: the percentage, and the list that the account is on."""

    percent: int | None
    listed: bool | None


def setting_sql(user_id: str, key: str) -> str:
    """Return SQL for the `Setting` of a flag, as a row; `user_id` and `key` are SQL expressions.

    A statement that writes can return it, so that the flag takes no round trip of its own.
    """
    return f"""row((select f.percent from feature_flags f where f.key = {key}),
                   (select a.is_on from feature_flag_accounts a where a.flag_key = {key} and a.user_id = {user_id}))"""  # noqa: S608


ACCOUNT_SQL = f"select {setting_sql('$1', '$2')}"


async def is_on(ctx: QueryContext | MutationContext, user_id: str, key: str) -> bool:
    """Return whether a flag is on for an account. One SQL statement.

    A query that calls it has `feature_flags` and `feature_flag_accounts` in its `reads`, and is a snapshot if it runs
    another statement.
    """
    if isinstance(ctx, QueryContext):
        ctx.depends_on(CHANGES)
    return decide(ctx, user_id, key, Setting(*await ctx.db.fetchval(ACCOUNT_SQL, user_id, key)))


def decide(ctx: QueryContext | MutationContext, user_id: str, key: str, setting: Setting) -> bool:
    """Return whether a flag is on for an account with that setting. That of a part that is off never is."""
    return ctx.settings.offers(rules.PARTS.get(key)) and rules.is_on(
        user_id, key, percent=setting.percent, listed=setting.listed, production=ctx.settings.production
    )


def may_be_on_sql(user_id: str, key: str, default: str) -> str:
    """Return SQL for whether a flag may be on for an account; see `setting_sql`. `default` is that of `default_of`."""
    return f"""({default} is not null
                and (coalesce((select f.percent from feature_flags f where f.key = {key}), {default}) > 0
                     or exists (select from feature_flag_accounts a
                                where a.flag_key = {key} and a.user_id = {user_id} and a.is_on)))"""  # noqa: S608


def default_of(settings: Settings, key: str) -> int | None:
    """Return the percentage of a flag without one of its own; None when its part is off, and it never is on."""
    offered = settings.offers(rules.PARTS.get(key))
    return rules.default_percent(key, production=settings.production) if offered else None


class GetUserFlags(Args):
    """Earlier clients send `user_id`; it is ignored."""

    user_id: IdText | UnsetType = UNSET


def _flags_sql(condition: str) -> str:
    return f"""
    select u.id as user_id, f.key, f.percent, a.is_on as listed
    from users u
    left join (
        select coalesce(known.key, declared.key) as key, known.percent
        from feature_flags known full join unnest($2::text[]) as declared (key) on declared.key = known.key) f on true
    left join feature_flag_accounts a on a.flag_key = f.key and a.user_id = u.id
    where {condition}
    order by f.key collate "C" limit {rules.MOST_FLAGS + len(rules.DECLARED)}"""  # noqa: S608 - constants


CALLERS_SQL = _flags_sql(IS_CALLER)
OF_ACCOUNT_SQL = _flags_sql("u.id = $1")


@query(reads=("feature_flags", "feature_flag_accounts", "users"))
async def get_user_flags(ctx: QueryContext, args: GetUserFlags) -> dict[str, bool]:  # noqa: ARG001
    """Return the caller's flags by key, and whether each is on; {} for an anonymous caller.

    They are those of the caller, whatever `user_id` says.
    """
    ctx.depends_on(CHANGES)
    if ctx.caller.subject is None:
        return {}
    return await _decided(ctx, CALLERS_SQL, ctx.caller.subject)


async def flags_of_account(ctx: QueryContext, user_id: str) -> dict[str, bool]:
    """Return the flags of an account by key, and whether each is on."""
    return await _decided(ctx, OF_ACCOUNT_SQL, user_id)


async def _decided(ctx: QueryContext, sql: str, account: str) -> dict[str, bool]:
    rows = await ctx.db.fetch(sql, account, list(rules.DECLARED))
    return {
        row["key"]: decide(ctx, row["user_id"], row["key"], Setting(row["percent"], row["listed"]))
        for row in rows
        if row["key"] is not None
    }
