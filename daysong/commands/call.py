"""`daysong call`: one call of a function, internal ones too."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from daysong.app import App
from daysong.kernel import values
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import SYSTEM, Caller


def arguments_from(text: str) -> dict[str, Any]:
    """Return the arguments that were typed as JSON."""
    try:
        given = values.decode(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise DaysongError(f"The arguments are no JSON: {error}") from None
    if not isinstance(given, dict):
        raise DaysongError('The arguments must be a JSON object, such as \'{"content": "Rain."}\'.')
    return given


async def call(
    app: App, say: Callable[[str], None], name: str, arguments: dict[str, Any], *, acting_as: str | None
) -> None:
    """Call a function as the service itself, or as a Clerk user, and say its result as JSON."""
    caller = SYSTEM if acting_as is None else Caller(subject=acting_as, is_admin=True)
    result = await app.call(name, arguments, caller=caller)
    say(json.dumps(values.encode(result, "json"), indent=2, ensure_ascii=False))
