"""Rows of `invitations`."""

from __future__ import annotations

from daysong.kernel.database.transactions import Transaction


async def erase(db: Transaction, email: str) -> None:
    """Delete the invitation of an account's address, however its letters are cased."""
    await db.execute("delete from invitations where email = $1", email.strip().lower())
