"""`daysong webhooks`: the vendors' events, those that could not be handled, and handling one anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from daysong.app import App
from daysong.kernel.errors import DaysongError
from daysong.transport.webhooks import inbox

Tell = Callable[[str], None]


async def list_events(app: App, tell: Tell, *, vendor: str | None, status: str | None, limit: int) -> None:
    """One line for each of the newest events, and why it failed if it did."""
    if status is not None and status not in inbox.STATUSES:
        raise DaysongError(f"--status must be one of {', '.join(inbox.STATUSES)}.")
    rows = await inbox.listed(app.database.pool, vendor=vendor, status=status, limit=limit)
    for row in rows:
        received = row["received_at"].isoformat(timespec="seconds")
        tell(f"{row['id']}  {row['status']:8}  {received}  {row['vendor']} {row['type']}{_ending(row)}")
        if row["status"] != "handled" and row["last_error"]:
            tell(f"    {row['failures']} failures, the last: {row['last_error']}")
    if not rows:
        tell("none")


def _ending(row: Mapping[str, Any]) -> str:
    return f"  ({row['outcome']})" if row["outcome"] else ""


async def show_event(app: App, tell: Tell, event_id: str) -> None:
    """All of one event, as JSON. What the vendor sent may be private."""
    row = await inbox.one(app.database.pool, event_id)
    told: dict[str, Any] = {}
    for name, value in row.items():
        if value is None or name == "body":
            continue
        told[name] = value.isoformat() if isinstance(value, datetime) else value
    try:
        told["body"] = msgspec.json.decode(row["body"])
    except msgspec.DecodeError:
        told["body"] = row["body"]
    tell(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())


async def replay_event(app: App, tell: Tell, event_id: str) -> None:
    """Give one event to its handler anew."""
    tell("queued again" if await inbox.replay(app.runtime, event_id) else "a job is at it already")
