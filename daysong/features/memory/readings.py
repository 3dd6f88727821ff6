"""Rows of `readings`: what a model was asked to read, counted for the limits of a day (UTC)."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from daysong.features.memory import rules
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.ids import ReadingId, UserId
from daysong.kernel.limits import budgets
from daysong.kernel.settings import Settings

Kind = Literal["entry", "highlight"]
MOST_A_DAY = {"entry": rules.READINGS_PER_DAY, "highlight": rules.HIGHLIGHTS_PER_DAY}


async def begin(
    db: Transaction, owner: UserId, kind: Kind, subject: str, version: int | None, now: datetime
) -> ReadingId | None:
    """Insert a reading; None when the account has no more of that kind today. The account's lock is held."""
    used = await db.fetchval(
        "select count(*) from readings where user_id = $1 and kind = $2 and begun_at >= $3",
        owner, kind, rules.midnight(now),
    )  # fmt: skip
    if used >= MOST_A_DAY[kind]:
        return None
    reading_id = ReadingId.new(now)
    await db.execute(
        "insert into readings (id, user_id, kind, subject, version, begun_at) values ($1, $2, $3, $4, $5, $6)",
        reading_id, owner, kind, subject, version, now,
    )  # fmt: skip
    return reading_id


async def end(db: Transaction, settings: Settings, reading_id: str, now: datetime) -> bool:
    """Mark a reading as done, and release what was reserved for it; return whether it was not done yet."""
    await budgets.release(db, settings, reading_id)
    ended = await db.fetchval(
        "update readings set done_at = $2 where id = $1 and done_at is null returning true", reading_id, now
    )
    return ended is not None


async def undo(db: Transaction, settings: Settings, reading_id: str) -> None:
    """Delete a reading that did not take place, and release what was reserved for it."""
    await budgets.release(db, settings, reading_id)
    await db.execute("delete from readings where id = $1 and done_at is null", reading_id)
