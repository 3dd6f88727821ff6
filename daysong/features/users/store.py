"""Rows of `users`."""

from __future__ import annotations

from datetime import datetime

from daysong.kernel.context import Caller
from daysong.kernel.database import Transaction
from daysong.kernel.errors import Unauthorized
from daysong.kernel.ids import UserId


async def upsert(db: Transaction, clerk_id: str, *, email: str | None, name: str | None, now: datetime) -> UserId:
    """The account of that Clerk user, made if it is new, brought up to date if e-mail or name changed.

    Writes only when something changed, so that ordinary calls do not contend for the row. Safe against another
    transaction making the same account: one of the two is run again and finds it. Unauthorized when it is deleted.
    """
    row = await db.fetchrow("select id, email, name, deleted_at from users where clerk_id = $1", clerk_id)
    if row is None:
        user_id = UserId.new(now)
        await db.execute(
            """insert into users (id, clerk_id, email, name, created_at, updated_at) values ($1, $2, $3, $4, $5, $5)
               on conflict (clerk_id) do nothing""",
            user_id, clerk_id, email, name, now,
        )  # fmt: skip
        return user_id
    if row["deleted_at"] is not None:
        raise Unauthorized
    if (email and email != row["email"]) or (name and name != row["name"]):
        await db.execute(
            "update users set email = coalesce($2, email), name = coalesce($3, name), updated_at = $4 where id = $1",
            row["id"], email, name, now,
        )  # fmt: skip
    return UserId(row["id"])


async def of_caller(db: Transaction, caller: Caller, now: datetime) -> UserId:
    """The signed-in caller's account, made on first sight; Unauthorized when nobody is signed in."""
    return await upsert(db, caller.signed_in, email=caller.email, name=caller.name, now=now)
