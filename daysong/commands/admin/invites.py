"""`daysong invites`: the addresses that asked to be notified."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from daysong.app import App
from daysong.commands.support.saying import OPERATOR
from daysong.features.invitations.functions import Invitation
from daysong.kernel import values
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import SYSTEM, MutationContext
from daysong.kernel.time.clock import from_ms
from daysong.workflows.support import audit

Say = Callable[[str], None]
COLUMNS = ("email", "android", "source", "entered first", "entered last")
# Spreadsheets evaluate cells that begin with one of these, and strangers chose the texts.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def export(app: App, say: Say, *, as_json: bool) -> None:
    """Say all addresses in alphabetical order: as CSV, a line each, or as one JSON array. The audit log keeps it."""
    await app.runtime.mutate(_record, "invites export", OPERATOR)
    if as_json:
        say(json.dumps([values.encode(one, "json") async for one in _all(app)], indent=2, ensure_ascii=False))
        return
    say(_line(COLUMNS))
    async for one in _all(app):
        moments = (from_ms(ms).isoformat(timespec="seconds") for ms in (one.created_at, one.updated_at))
        say(_line((one.email, "yes" if one.is_android else "no", one.source or "", *moments)))


async def remove(app: App, say: Say, email: str) -> None:
    """Delete an address. Errors: DaysongError when it is not there."""
    if not await app.call("emailNotify:removeInvitation", {"email": email}, caller=SYSTEM):
        raise DaysongError("This address is not there.")
    await app.runtime.mutate(_record, "invites remove", OPERATOR)
    say("removed")


async def _record(ctx: MutationContext, action: str) -> None:
    await audit.record(ctx, action)


async def _all(app: App) -> AsyncIterator[Invitation]:
    page: list[Invitation] = await app.call("emailNotify:exportInvitations", caller=SYSTEM)
    while page:
        for one in page:
            yield one
        page = await app.call("emailNotify:exportInvitations", {"after": page[-1].email}, caller=SYSTEM)


def _line(cells: tuple[Any, ...]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow(
        f"'{cell}" if str(cell).startswith(FORMULA) else cell for cell in cells
    )
    return written.getvalue()
