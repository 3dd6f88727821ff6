"""How the commands of operators call functions and say results: in lines, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from daysong.app import App
from daysong.kernel import values
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import Caller
from daysong.kernel.functions.registry import camel
from daysong.kernel.time.clock import from_ms
from daysong.workflows.support.audit import DONE

Say = Callable[[str], None]
# In the audit log.
OPERATOR = Caller(is_admin=True, operator="command line")


async def call(app: App, function: str, /, **arguments: Any) -> Any:
    """Call a function as the operator, and return its result as JSON has it. Arguments that are None are left out."""
    given = {camel(name): value for name, value in arguments.items() if value is not None}
    return values.encode(await app.call(function, given, caller=OPERATOR), "json")


def say_json(say: Say, value: Any) -> None:
    """Say a value as JSON, with whole numbers as such."""
    say(json.dumps(_whole(value), indent=2, ensure_ascii=False))


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def say_rows(
    say: Say, rows: Sequence[dict[str, Any]], lines: Callable[[dict[str, Any]], Iterable[str]], *, as_json: bool
) -> None:
    """Say the lines of each row, or all rows as one JSON array."""
    if as_json:
        say_json(say, rows)
        return
    for row in rows:
        for line in lines(row):
            say(line)
    if not rows:
        say("none")


def act(
    say: Say, outcome: Mapping[str, Any], done: str, *, as_json: bool, refusals: Mapping[str, str] | None = None
) -> None:
    """Say what an action led to. Errors: DaysongError for an outcome in `refusals`."""
    if as_json:
        say_json(say, dict(outcome))
    elif outcome["outcome"] in (refusals or {}):
        raise DaysongError((refusals or {})[outcome["outcome"]])
    else:
        say(done if outcome["outcome"] == DONE else f"nothing done: {outcome['outcome']}")


def fields(say: Say, row: Mapping[str, Any], times: Iterable[str] = ()) -> None:
    """Say a line for each field: nested ones as JSON, and `times` as moments."""
    for name, value in row.items():
        if name in times:
            shown = moment(value)
        elif isinstance(value, dict | list):
            shown = json.dumps(_whole(value), ensure_ascii=False)
        else:
            shown = str(_whole(value))
        say(f"{name:<14} {shown}")


def moment(milliseconds: float) -> str:
    """Return a time in ms as text."""
    return from_ms(milliseconds).isoformat(timespec="seconds")
