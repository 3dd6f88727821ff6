"""Rows of `invitations`."""

from __future__ import annotations

from daysong.features.invitations import rules
from daysong.kernel.database.transactions import Transaction


async def erase(db: Transaction, email: str) -> bool:
    """Delete the invitation of an address, however its letters are cased; return whether there was one."""
    return await db.execute("delete from invitations where email = $1", rules.form_of(email)) != "DELETE 0"
