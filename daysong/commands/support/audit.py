"""`daysong audit`: what operators did."""

from __future__ import annotations

from typing import Any

from daysong.app import App
from daysong.commands.support.people import user_of
from daysong.commands.support.saying import Say, call, moment, say_rows


async def list_entries(
    app: App, say: Say, *, person: str | None, target: str | None, limit: int, as_json: bool
) -> None:
    """Say the newest rows of the audit log."""
    user_id = None if person is None else await user_of(app, person)
    rows = await call(app, "support/audit:listEntries", user_id=user_id, target=target, limit=limit)
    say_rows(say, rows, _lines, as_json=as_json)


def _lines(row: dict[str, Any]) -> list[str]:
    what = f"{moment(row['at'])}  {row['who']}  {row['action']}  {row.get('target') or row.get('account', '')}"
    return [f"{what}  ({row['outcome']})", *([f"    {row['reason']}"] if "reason" in row else [])]
