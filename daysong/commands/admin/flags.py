"""`daysong flags`: feature flags. Changes are made by the functions of the console, and are in the audit log."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from daysong.app import App
from daysong.commands.support.saying import OPERATOR
from daysong.features.feature_flags import settings
from daysong.kernel import values
from daysong.kernel.functions.context import SYSTEM

Say = Callable[[str], None]


async def list_flags(app: App, say: Say, *, as_json: bool) -> None:
    """Say each flag with its percentage and lists: a line each, or as one JSON array."""
    flags: list[settings.Flag] = await app.call("featureFlags:listFlags", caller=SYSTEM)
    if as_json:
        say(json.dumps(values.encode(flags, "json"), indent=2))
        return
    for flag in flags:
        default = " (default)" if flag.is_default else ""
        say(f"{flag.key:<32} {flag.percent:>3} %{default}  allowed {flag.allowed}  denied {flag.denied}")
        for word, users in (("allow", flag.allow), ("deny", flag.deny)):
            for user in users:
                say(f"    {word} {user}")
    if not flags:
        say("none")


async def set_flag(
    app: App, say: Say, key: str, *, percent: int | None, allow: Sequence[str], deny: Sequence[str],
    unlist: Sequence[str],
) -> None:  # fmt: skip
    """Create or change a flag."""
    given: dict[str, Any] = {"key": key, "allow": list(allow), "deny": list(deny), "unlist": list(unlist)}
    given |= {} if percent is None else {"percent": percent}
    await app.call("support/publishing:changeFlag", given, caller=OPERATOR)
    say("set")


async def remove_flag(app: App, say: Say, key: str) -> None:
    """Remove a flag."""
    await app.call("support/publishing:dropFlag", {"key": key}, caller=OPERATOR)
    say("removed")
