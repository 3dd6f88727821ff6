"""The internal functions that look up accounts."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, given, query
from daysong.kernel.time.clock import to_ms


class User(Result):
    """A user with an account."""

    id: str = msgspec.field(name="_id")
    creation_time: float = msgspec.field(name="_creationTime")
    clerk_id: str
    email: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET


class OneUser(Args):
    """A user."""

    user_id: IdText


class OneClerkUser(Args):
    """A Clerk user."""

    clerk_id: IdText


@query(reads=("users",))
async def get_user_by_id(ctx: QueryContext, args: OneUser) -> User | None:
    """Return a user; None without such an account, or when it is deleted."""
    row = await ctx.db.fetchrow("select * from users where id = $1 and deleted_at is null", args.user_id)
    if row is None:
        return None
    return User(
        id=row["id"],
        creation_time=to_ms(row["created_at"]),
        clerk_id=row["clerk_id"],
        email=given(row["email"]),
        name=given(row["name"]),
        tags=row["tags"] or UNSET,
    )


@query(reads=("users",))
async def get_user_id_by_clerk_id(ctx: QueryContext, args: OneClerkUser) -> str | None:
    """Return the user id of a Clerk user; None without an account, or when it is deleted."""
    user_id: str | None = await ctx.db.fetchval(
        "select id from users where clerk_id = $1 and deleted_at is null", args.clerk_id
    )
    return user_id
