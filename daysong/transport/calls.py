"""Calling a function for a client, over whichever way it came, and telling the end in words the clients know.

A failure is reported to the client as a message, with data when it is an expected one. The texts of Convex's own
kinds of refusal (not found, wrong kind, wrong arguments) go out as they are: clients look at how they begin.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from prometheus_client import Histogram

from daysong.kernel import logs
from daysong.kernel.database.transactions import LOST
from daysong.kernel.errors import (
    ArgumentValidationError,
    DatabaseUnavailable,
    ExpectedError,
    FunctionNotFound,
    TooBusy,
    VendorError,
    WrongFunctionKind,
)
from daysong.kernel.functions.arguments import BadArguments
from daysong.kernel.functions.context import Caller, Notes
from daysong.kernel.functions.declarations import Kind
from daysong.kernel.functions.registry import Function
from daysong.kernel.functions.runtime import Runtime

log = logs.get_logger("calls")

# JSON as it came from a client, or decoded values.
Args = msgspec.Raw | Mapping[str, Any]

SECONDS = Histogram(
    "daysong_function_seconds",
    "How long functions called by clients ran, by how they ended",
    ["function", "kind", "outcome"],
)

# Written by us for the caller, about the call alone: they stay readable in production.
PLAIN = (ArgumentValidationError, FunctionNotFound, WrongFunctionKind)
UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Success:
    """The function returned `value`, not encoded yet, and wrote `log_lines`."""

    value: Any
    function: Function
    log_lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """The function failed, or is not to be called so. `data` is there when the failure is an expected one.

    function   the one that was found, if one was
    outcome    a word for logs: `refused`, an expected error's code, `unavailable`, or `failed`
    malformed  of a request whose arguments are no object of values: the reason, for programs
    """

    message: str
    data: Any
    function: Function | None
    outcome: str
    log_lines: Sequence[str] = ()
    malformed: str | None = None

    @property
    def passing(self) -> bool:
        """Whether nothing was done because the database is away or too busy: the same call may succeed later."""
        return self.outcome == UNAVAILABLE


def typed(function: Function, args: Args) -> Any:
    """The arguments of `function`, from JSON as a client sent it or from decoded values."""
    return function.decode(bytes(args)) if isinstance(args, msgspec.Raw) else function.parse(args)


def refuse_component(component: str | None) -> None:
    """BadArguments for a function of a component: there are none here."""
    if component:
        raise BadArguments("BadComponentPath", "There are no components here")


async def call(
    runtime: Runtime, path: str, args: Args, caller: Caller, *, kind: Kind | None = None, viewer: str = ""
) -> Success | Failure:  # fmt: skip
    """Run the function under `path`; every failure is an answer. `viewer` is the mark of the caller's address."""
    function: Function | None = None
    started = time.perf_counter()
    notes = Notes()
    ended: Success | Failure
    try:
        function = runtime.registry.find(path, caller, kind)
        if runtime.gate is not None:
            await runtime.gate(function, caller, viewer)
        value = await runtime.call(function, typed(function, args), caller, notes)
        ended = Success(value, function, notes.log_lines)
    except Exception as error:  # noqa: BLE001 - whatever happened is the caller's answer
        ended = failure(error, function, production=runtime.settings.production, log_lines=notes.log_lines)
    measure(ended, started)
    return ended


def measure(ended: Success | Failure, started: float) -> None:
    """Count a call that began at `started`, by `time.perf_counter`."""
    if ended.function is not None:
        outcome = "success" if isinstance(ended, Success) else "expected" if ended.data is not None else ended.outcome
        _seconds(ended.function.identifier, ended.function.kind.value, outcome).observe(time.perf_counter() - started)


@cache
def _seconds(function: str, kind: str, outcome: str) -> Histogram:
    return SECONDS.labels(function, kind, outcome)


def failure(error: Exception, function: Function | None, *, production: bool, log_lines: Sequence[str] = ()) -> Failure:
    """Return what the client sees of `error`. An unexpected one is logged; production hides its text."""
    if isinstance(error, PLAIN):
        malformed = error.code if isinstance(error, BadArguments) else None
        return Failure(str(error), None, function, "refused", log_lines, malformed)
    if isinstance(error, TooBusy | DatabaseUnavailable) or (
        isinstance(error, LOST) and function is not None and function.kind is Kind.QUERY
    ):
        log.warning("database unavailable", error=logs.describe(error))
        text = str(error) if isinstance(error, TooBusy) else "The database is not available. Please try again."
        return Failure(text, None, function, UNAVAILABLE, log_lines)
    told = f"[Request ID: {logs.request_id()}] Server Error"
    if isinstance(error, ExpectedError):
        return Failure(f"{told}\nUncaught Error: {error.message}", error.data, function, error.code, log_lines)
    log.error(
        "function failed",
        function=function.identifier if function else None,
        error=logs.describe(error),
        **({"vendor": error.vendor, "code": error.code} if isinstance(error, VendorError) else {}),
    )
    message = told if production else f"{told}\nUncaught Error: {error}"
    return Failure(message, None, function, "failed", log_lines)
