"""Test mode: reset the database, run due jobs, and call functions at a chosen time. Only for the admin key.

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
    """The implementations of the routes.

    reset  empties every table
    drain  moves the clock to a time (default: now), runs the jobs due by then, and returns their number
    """

    reset: Callable[[], Awaitable[None]]
    drain: Callable[[datetime | None], Awaitable[int]]


class Drain(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /test/drain."""

    until: float | None = None


def clock_for(scope: Scope, caller: Caller) -> Clock | None:
    """Return the clock that an admin sets with `Daysong-Now: <ms>`. Errors: Refused when that is no time."""
    if not caller.is_admin:
        return None
    header = next((value for name, value in scope["headers"] if name.lower() == HEADER), None)
    if header is None:
        return None
    try:
        return MovableClock(_parse_time(float(header)))
    except ValueError:
        raise _invalid_time("Daysong-Now") from None


def handlers(authenticator: Authenticator, clock: Clock, controls: Controls) -> list[HTTPRouteHandler]:
    """Return the routes /test/reset and /test/drain."""

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
            until = None if body.until is None else _parse_time(body.until)
        except (msgspec.DecodeError, ValueError):
            raise _invalid_time("until") from None
        return {"ran": await controls.drain(until)}

    return [reset, drain]


def _parse_time(milliseconds: float) -> datetime:
    try:
        return from_ms(milliseconds)
    except OverflowError as error:
        raise ValueError from error


def _invalid_time(what: str) -> Refused:
    return Refused(400, "BadRequest", f"{what} must be a number of milliseconds since the epoch")
