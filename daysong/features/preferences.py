"""The settings of a user: time zone, language, and whether shares show the first name."""

from __future__ import annotations

from typing import Annotated, Any

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.phone_calls.schedule.calendar import checked_timezone
from daysong.features.phone_calls.schedule.settings import checked_language
from daysong.features.subscriptions import accounts
from daysong.features.users.callers import IS_CALLER
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, NoArgs, Result, mutation, query


class UserSettings(Result):
    """The settings of a user; the defaults are UTC, en, true.

    timezone             a name of the IANA database
    language             a BCP 47 tag
    show_name_on_shares  whether `sharing:getSharedMusic` shows the first word of the name
    """

    timezone: str
    language: str
    show_name_on_shares: bool


class UpdateSettings(Args):
    """The settings to change; others are kept."""

    timezone: Annotated[str, msgspec.Meta(max_length=64)] | UnsetType = UNSET
    language: Annotated[str, msgspec.Meta(max_length=35)] | UnsetType = UNSET
    show_name_on_shares: bool | UnsetType = UNSET


COLUMNS = "timezone, language, show_name_on_shares"


@query(reads=("users",))
async def get_settings(ctx: QueryContext, args: NoArgs) -> UserSettings | None:  # noqa: ARG001
    """Return the caller's settings; null for an anonymous caller, and without an account."""
    if ctx.caller.subject is None:
        return None
    row = await ctx.db.fetchrow(
        f"select {COLUMNS} from users u where {IS_CALLER}",  # noqa: S608 - a constant
        ctx.caller.subject,
    )
    return None if row is None else _shown(row)


@mutation
async def update_settings(ctx: MutationContext, args: UpdateSettings) -> UserSettings:
    """Change the caller's settings, and return all of them. Errors: InvalidTimezone, InvalidLanguage."""
    owner = await accounts.of_caller(ctx)
    changes: dict[str, Any] = {
        name: value for name, value in msgspec.structs.asdict(args).items() if value is not UNSET
    }
    if "timezone" in changes:
        checked_timezone(changes["timezone"])
    if "language" in changes:
        changes["language"] = checked_language(changes["language"])
    row = await ctx.db.fetchrow(
        f"""update users set timezone = coalesce($2, timezone), language = coalesce($3, language),
                show_name_on_shares = coalesce($4, show_name_on_shares), updated_at = $5
            where id = $1 returning {COLUMNS}""",  # noqa: S608 - a constant
        owner, *(changes.get(name) for name in ("timezone", "language", "show_name_on_shares")), ctx.now,
    )  # fmt: skip
    return _shown(row)


def _shown(row: asyncpg.Record) -> UserSettings:
    return UserSettings(
        timezone=row["timezone"], language=row["language"], show_name_on_shares=row["show_name_on_shares"]
    )
