"""`daysong people`: find and show accounts, and what operators do with them."""

from __future__ import annotations

import sys
from typing import Any

from daysong.app import App
from daysong.commands.support.saying import OPERATOR, Say, act, call, fields, moment, say_json, say_rows
from daysong.kernel.errors import DaysongError

MOST_TYPED = 300  # characters, as FindPeople takes
LISTS = ("ledger", "songs", "calls", "devices", "flags", "costs")


def _typed(text: str) -> str:
    """Return what leads to an account; for `-` a line of standard input, which no process list or history shows."""
    if text != "-":
        return text
    if sys.stdin.isatty():
        print("Account: ", end="", file=sys.stderr, flush=True)
    if line := sys.stdin.readline(MOST_TYPED).strip():
        return line
    raise DaysongError("Standard input has no text: `-` reads a line of it.")


async def find(app: App, say: Say, text: str, *, as_json: bool) -> None:
    """Say the accounts that a text leads to."""
    rows = await call(app, "support/people:findPeople", text=_typed(text))
    say_rows(say, rows, _lines, as_json=as_json)


def _lines(person: dict[str, Any]) -> list[str]:
    about = " ".join(person[name] for name in ("email", "name") if name in person)
    return [f"{person['userId']}  {person['state']:7}  {person['clerkId']}  {about}".rstrip()]


async def show(app: App, say: Say, text: str, *, as_json: bool) -> None:
    """Say one account, found by anything that leads to it alone."""
    person = await call(app, "support/people:showPerson", user_id=await user_of(app, text))
    if as_json:
        say_json(say, person)
        return
    lists = {name: person.pop(name) for name in LISTS}
    fields(say, person, times=("createdAt", "deletedAt"))
    for row in lists["ledger"]:
        say(f"  {moment(row['at'])}  {row['kind']:6}  {row['amount']:.0f}  {row.get('reason', '')}".rstrip())
    for song in lists["songs"]:
        say(f"  {song['songId']}  {song['status']:9}  {song.get('reason', '')}".rstrip())
    for one in lists["calls"]:
        say(f"  {one['callId']}  {one['status']:9}  {one.get('outcome') or one.get('reason', '')}".rstrip())
    for device in lists["devices"]:
        say(f"  {device['id']}  {device['platform']}  {moment(device['updatedAt'])}")
    say("flags          " + ", ".join(key for key, on in lists["flags"].items() if on))
    for cost in lists["costs"]:
        say(f"  {cost['vendor']:<12} {cost['requests']:>6.0f} requests  {cost['amount'] / 1e6:>10.4f} $")


async def user_of(app: App, text: str) -> str:
    """Return the id of the one account that a text leads to. Errors: DaysongError for none or several."""
    found = await call(app, "support/people:findPeople", text=_typed(text))
    if len(found) != 1:
        several = "That is several accounts: name one by its id; `daysong people find` lists them."
        raise DaysongError(several if found else "There is no such account.")
    user_id: str = found[0]["userId"]
    return user_id


async def change(app: App, say: Say, function: str, text: str, done: str, *, as_json: bool, **arguments: Any) -> None:
    """Change the one account that a text leads to."""
    given = {"user_id": await user_of(app, text)} | arguments
    act(say, await call(app, f"support/people:{function}", **given), done, as_json=as_json)


async def set_limit(app: App, say: Say, text: str, limit: int | None, *, reason: str, as_json: bool) -> None:
    """Set the songs of each period, or those of the plan for None."""
    # Null is a value here, which `call` would leave out.
    given = {"userId": await user_of(app, text), "limit": limit, "reason": reason}
    outcome = await app.call("support/people:setSongLimit", given, caller=OPERATOR)
    act(say, {"outcome": outcome.outcome}, "set", as_json=as_json)
