"""`daysong webhooks`: the vendors' events, those that could not be handled, and handling one anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from daysong.app import App
from daysong.kernel import inbox
from daysong.kernel.errors import DaysongError

Tell = Callable[[str], None]
FIELDS = (
    "id",
    "vendor",
    "type",
    "event_id",
    "status",
    "received_at",
    "handled_at",
    "outcome",
    "failures",
    "last_error",
)


async def list_events(
    app: App, tell: Tell, *, vendor: str | None, status: str | None, limit: int, as_json: bool = False
) -> None:
    """One line for each of the newest events, and why it failed if it did; or all as one JSON array."""
    for option, value, known in (("--status", status, inbox.STATUSES), ("--vendor", vendor, inbox.VENDORS)):
        if value is not None and value not in known:
            raise DaysongError(f"{option} must be one of {', '.join(known)}.")
    rows = await inbox.listed(app.database.pool, vendor=vendor, status=status, limit=limit)
    if as_json:
        tell(json.dumps([{name: row[name] for name in FIELDS} for row in rows], default=str, indent=2))
        return
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
