"""`daysong webhooks`: the vendors' events, those that could not be handled, and handling one anew."""

from __future__ import annotations

from typing import Any

from daysong.app import App
from daysong.commands.support.saying import Say, act, call, fields, moment, say_json, say_rows

TIMES = ("receivedAt", "handledAt")


async def list_events(app: App, say: Say, *, as_json: bool = False, **which: Any) -> None:
    """Say one line for each of the newest events, and why it failed if it did; or all as one JSON array."""
    rows = await call(app, "support/webhooks:listEvents", **which)
    say_rows(say, rows, _lines, as_json=as_json)


def _lines(event: dict[str, Any]) -> list[str]:
    ending = f"  ({event['outcome']})" if "outcome" in event else ""
    lines = [
        f"{event['id']}  {event['status']:8}  {moment(event['receivedAt'])}  {event['vendor']} {event['type']}{ending}"
    ]
    if event["status"] != "handled" and "lastError" in event:
        lines.append(f"    {event['failures']:.0f} failures, the last: {event['lastError']}")
    return lines


async def show_event(app: App, say: Say, event_id: str, *, reason: str | None = None, as_json: bool = False) -> None:
    """Say one event with its trace, its private values hidden unless a reason is given, which is recorded."""
    event = await call(app, "support/webhooks:showEvent", event_id=event_id)
    if reason is not None:
        event |= await call(app, "support/webhooks:readEvent", event_id=event_id, reason=reason)
    if as_json:
        say_json(say, event)
        return
    trace, body = event.pop("trace"), event.pop("body")
    fields(say, event, times=TIMES)
    for job in trace:
        say(f"  {job['id']}  {job['status']:7}  {job['function']}")
    say_json(say, body)


async def replay_event(app: App, say: Say, event_id: str, *, reason: str | None = None, as_json: bool = False) -> None:
    """Have one event handled anew."""
    outcome = await call(app, "support/webhooks:replayEvent", event_id=event_id, reason=reason)
    if outcome["outcome"] == "waiting" and not as_json:
        say("a job is at it already")
    else:
        act(say, outcome, "queued again", as_json=as_json)
