"""Test mode: an emptied database, jobs run by hand, and calls at a time of one's choosing. For the admin key alone.

The routes exist only when settings turn test mode on outside of production; see `http.create`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import Scope

from daysong.kernel.functions.context import Caller
from daysong.kernel.time.clock import Clock, MovableClock, from_ms
from daysong.transport.callers.auth import Authenticator
from daysong.transport.refusals import Refused

HEADER = b"daysong-now"


@dataclass(frozen=True)
class Controls:
    """What the routes do.

    reset  empties every table
    drain  runs the jobs due by a moment (or by now), the clock moved there, and says how many ran
    """

    reset: Callable[[], Awaitable[None]]
    drain: Callable[[datetime | None], Awaitable[int]]


class Drain(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a drain."""

    until: float | None = None


def clock_for(scope: Scope, caller: Caller) -> Clock | None:
    """The clock an admin's call asks for with `Daysong-Now: <ms>`; Refused when that is no moment."""
    if not caller.is_admin:
        return None
    asked = next((value for name, value in scope["headers"] if name.lower() == HEADER), None)
    if asked is None:
        return None
    try:
        return MovableClock(_moment(float(asked)))
    except ValueError:
        raise _no_moment("Daysong-Now") from None


def handlers(authenticator: Authenticator, clock: Clock, controls: Controls) -> list[HTTPRouteHandler]:
    """/test/reset and /test/drain."""

    async def admin_only(request: Request[Any, Any, Any]) -> None:
        caller = await authenticator.caller(request.scope, clock.now())
        if not caller.is_admin:
            raise Refused(403, "BadDeployKey", "Only for the admin key.")

    @post("/test/reset", status_code=200)
    async def reset(request: Request[Any, Any, Any]) -> dict[str, Any]:
        await admin_only(request)
        await controls.reset()
        return {}

    @post("/test/drain", status_code=200)
    async def drain(request: Request[Any, Any, Any]) -> dict[str, int]:
        await admin_only(request)
        try:
            body = msgspec.json.decode(await request.body() or b"{}", type=Drain)
            until = None if body.until is None else _moment(body.until)
        except (msgspec.DecodeError, ValueError):
            raise _no_moment("until") from None
        return {"ran": await controls.drain(until)}

    return [reset, drain]


def _moment(milliseconds: float) -> datetime:
    try:
        return from_ms(milliseconds)
    except OverflowError as error:
        raise ValueError from error


def _no_moment(what: str) -> Refused:
    return Refused(400, "BadRequest", f"{what} must be a number of milliseconds since the epoch")
