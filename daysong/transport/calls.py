"""Calls functions for clients, over HTTP or a socket, and turns errors into the messages that clients expect.

An expected failure carries data. The messages of Convex's own refusals (not found, wrong kind, wrong arguments) are
sent unchanged, since clients compare how they begin.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

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
from daysong.kernel.monitoring import tracing
from daysong.kernel.monitoring.durations import Durations

log = logs.get_logger("calls")

# JSON from a client, or decoded values.
Args = msgspec.Raw | Mapping[str, Any]

SECONDS = Durations(
    "daysong_function_seconds",
    "Run time of functions called by clients, by outcome",
    ["function", "kind", "outcome"],
)

# Their messages describe only the call, so production shows them too.
PUBLIC_ERRORS = (ArgumentValidationError, FunctionNotFound, WrongFunctionKind)
UNAVAILABLE = "unavailable"


class Success(msgspec.Struct, frozen=True):
    """The function returned `value`, which is not encoded, and wrote `log_lines`."""

    value: Any
    function: Function
    log_lines: Sequence[str] = ()


class Failure(msgspec.Struct, frozen=True):
    """The function failed, or the call was refused. `data` is set for an expected error.

    function   the function, if it was found
    outcome    for metrics: `refused`, an expected error's code, `unavailable`, or `failed`
    malformed  the error code, when the arguments are not an object of values
    """

    message: str
    data: Any
    function: Function | None
    outcome: str
    log_lines: Sequence[str] = ()
    malformed: str | None = None

    @property
    def is_transient(self) -> bool:
        """Whether nothing was done because the database is unavailable or too busy: a retry may succeed."""
        return self.outcome == UNAVAILABLE


def decode_args(function: Function, args: Args) -> Any:
    """Decode and validate the arguments of `function`."""
    return function.decode(bytes(args)) if isinstance(args, msgspec.Raw) else function.parse(args)


def refuse_component(component: str | None) -> None:
    """Raise BadArguments for a function of a component, since there are no components."""
    if component:
        raise BadArguments("BadComponentPath", "There are no components here")


async def call(
    runtime: Runtime, path: str, args: Args, caller: Caller, *, kind: Kind | None = None, viewer: str = ""
) -> Success | Failure:  # fmt: skip
    """Run the function named `path`; every error becomes a Failure. `viewer` is the id of the caller's address."""
    function: Function | None = None
    started = time.perf_counter()
    notes = Notes()
    result: Success | Failure
    with tracing.span("call"):
        try:
            function = runtime.registry.find(path, caller, kind)
            if runtime.gate is not None and function.kind is not Kind.QUERY:
                await runtime.gate(function, caller, viewer)
            value = await runtime.call(function, decode_args(function, args), caller, notes)
            result = Success(value, function, notes.log_lines)
        except Exception as error:  # noqa: BLE001 - every error is reported to the caller
            result = failure(error, function, production=runtime.settings.production, log_lines=notes.log_lines)
        measure(result, started)
    return result


def measure(result: Success | Failure, started: float) -> None:
    """Record the run time of a call that started at `started`, by `time.perf_counter`, and describe its span."""
    if result.function is not None:
        outcome = (
            "success" if isinstance(result, Success) else "expected" if result.data is not None else result.outcome
        )
        name, kind = result.function.identifier, result.function.kind_name
        SECONDS.observe((name, kind, outcome), time.perf_counter() - started)
        if tracing.is_on():
            failed = outcome in {UNAVAILABLE, "failed"}
            tracing.annotate(name, function=name, kind=kind, outcome=outcome, failed=failed)


def failure(error: Exception, function: Function | None, *, production: bool, log_lines: Sequence[str] = ()) -> Failure:
    """Return the failure that the client sees. An unexpected error is logged, and production hides its message."""
    if isinstance(error, PUBLIC_ERRORS):
        malformed = error.code if isinstance(error, BadArguments) else None
        return Failure(str(error), None, function, "refused", log_lines, malformed)
    if isinstance(error, TooBusy | DatabaseUnavailable) or (
        isinstance(error, LOST) and function is not None and function.kind is Kind.QUERY
    ):
        log.warning("database unavailable", error=logs.describe(error))
        text = str(error) if isinstance(error, TooBusy) else "The database is not available. Please try again."
        return Failure(text, None, function, UNAVAILABLE, log_lines)
    prefix = f"[Request ID: {logs.request_id()}] Server Error"
    if isinstance(error, ExpectedError):
        return Failure(f"{prefix}\nUncaught Error: {error.message}", error.data, function, error.code, log_lines)
    log.error(
        "function failed",
        function=function.identifier if function else None,
        error=logs.describe(error),
        **({"vendor": error.vendor, "code": error.code} if isinstance(error, VendorError) else {}),
    )
    message = prefix if production else f"{prefix}\nUncaught Error: {error}"
    return Failure(message, None, function, "failed", log_lines)
