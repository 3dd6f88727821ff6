"""Calling a function for a client, over whichever way it came, and telling the end in words the clients know.

A client is told of a failure by a message, and by data when the failure is an expected one. The texts of Convex's own
kinds of refusal (not found, wrong kind, wrong arguments) go out as they are: clients look at how they begin.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import Histogram

from daysong.kernel import logs, values
from daysong.kernel.clock import Clock
from daysong.kernel.context import Caller, Notes
from daysong.kernel.errors import (
    ArgumentValidationError,
    ExpectedError,
    FunctionNotFound,
    TooBusy,
    VendorError,
    WrongFunctionKind,
)
from daysong.kernel.registry import Function, Kind
from daysong.kernel.runtime import Runtime

log = logs.get_logger("calls")


class BadArguments(ArgumentValidationError):
    """What came as arguments is none; `code` says in a word why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


SECONDS = Histogram(
    "daysong_function_seconds",
    "How long functions called by clients ran, by how they ended",
    ["function", "kind", "outcome"],
)

# Written by us for whoever called, and about nothing but the call: they stay readable in production.
PLAIN = (ArgumentValidationError, FunctionNotFound, WrongFunctionKind, TooBusy)


@dataclass(frozen=True, slots=True)
class Success:
    """The function returned `value`, not encoded yet, and wrote `log_lines`."""

    value: Any
    function: Function
    log_lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """The function failed, or is not to be called so. `data` is there when the failure is an expected one.

    function  the one that was found, if one was
    outcome   a word for logs: `refused`, an expected error's code, or `failed`
    """

    message: str
    data: Any
    function: Function | None
    outcome: str
    log_lines: Sequence[str] = ()


def arguments(raw: Any, component: str | None = None) -> Any:
    """The one object of arguments, decoded: clients send it bare or as the only element of an array.

    BadArguments when it is none, and for a component, of which there are none here.
    """
    if component:
        raise BadArguments("BadComponentPath", "There are no components here")
    if isinstance(raw, list) and len(raw) <= 1:
        raw = raw[0] if raw else {}
    if not isinstance(raw, dict):
        raise BadArguments("BadArguments", "args must be an object, or an array of one object")
    try:
        decoded = values.decode(raw)
    except values.MalformedValue as error:
        raise BadArguments("BadValue", f"args: {error}") from None
    except OverflowError:
        raise BadArguments("BadValue", "args: a number is out of range") from None
    if not isinstance(decoded, dict):
        raise BadArguments("BadArguments", "args must be an object")
    return decoded


async def call(
    runtime: Runtime, path: str, args: Any, caller: Caller, *, kind: Kind | None = None, clock: Clock | None = None
) -> Success | Failure:
    """Run the function under `path` with decoded `args`; every failure is an answer, none is raised."""
    function: Function | None = None
    started = time.perf_counter()
    notes = Notes()
    ended: Success | Failure
    try:
        function = runtime.registry.find(path, caller, kind)
        value = await runtime.call(function, function.parse(args), caller, clock, notes)
        ended = Success(value, function, notes.log_lines)
    except Exception as error:  # noqa: BLE001 - whatever happened is the caller's answer
        ended = failure(error, function, production=runtime.settings.production, log_lines=notes.log_lines)
    measure(ended, started)
    return ended


def measure(ended: Success | Failure, started: float) -> None:
    """Count a call that began at `started`, by `time.perf_counter`."""
    if ended.function is not None:
        outcome = "success" if isinstance(ended, Success) else "expected" if ended.data is not None else ended.outcome
        kind = ended.function.kind.value
        SECONDS.labels(ended.function.identifier, kind, outcome).observe(time.perf_counter() - started)


def failure(error: Exception, function: Function | None, *, production: bool, log_lines: Sequence[str] = ()) -> Failure:
    """What a client is told of `error`. An unexpected one is logged, and in production keeps its text to itself."""
    if isinstance(error, PLAIN):
        return Failure(str(error), None, function, "refused", log_lines)
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
