"""Calling a function for a client, over whichever way it came, and telling the end in words the clients know.

A client is told of a failure by a message, and by data when the failure is an expected one. The texts of Convex's own
kinds of refusal (not found, wrong kind, wrong arguments) go out as they are: clients look at how they begin.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import Histogram

from daysong.kernel import logs
from daysong.kernel.clock import Clock
from daysong.kernel.context import Caller
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

SECONDS = Histogram(
    "daysong_function_seconds",
    "How long functions called by clients ran, by how they ended",
    ["function", "kind", "outcome"],
)

# Written by us for whoever called, and about nothing but the call: they stay readable in production.
PLAIN = (ArgumentValidationError, FunctionNotFound, WrongFunctionKind, TooBusy)


@dataclass(frozen=True, slots=True)
class Success:
    """The function returned `value`, not encoded yet."""

    value: Any
    function: Function


@dataclass(frozen=True, slots=True)
class Failure:
    """The function failed, or is not to be called so. `data` is there when the failure is an expected one.

    function  the one that was found, if one was
    outcome   a word for logs: `refused`, an expected error's code, or `failed`
    """

    message: str
    data: Mapping[str, Any] | None
    function: Function | None
    outcome: str


async def call(
    runtime: Runtime, path: str, args: Any, caller: Caller, *, kind: Kind | None = None, clock: Clock | None = None
) -> Success | Failure:
    """Run the function under `path` with decoded `args`; every failure is an answer, none is raised."""
    function: Function | None = None
    started = time.perf_counter()
    ended: Success | Failure
    try:
        function = runtime.registry.find(path, caller, kind)
        ended = Success(await runtime.call(function, function.parse(args), caller, clock), function)
    except Exception as error:  # noqa: BLE001 - whatever happened is the caller's answer
        ended = failure(error, function, production=runtime.settings.production)
    if function is not None:
        outcome = "success" if isinstance(ended, Success) else "expected" if ended.data is not None else ended.outcome
        SECONDS.labels(function.identifier, function.kind.value, outcome).observe(time.perf_counter() - started)
    return ended


def failure(error: Exception, function: Function | None, *, production: bool) -> Failure:
    """What a client is told of `error`. An unexpected one is logged, and in production keeps its text to itself."""
    if isinstance(error, PLAIN):
        return Failure(str(error), None, function, "refused")
    told = f"[Request ID: {logs.request_id()}] Server Error"
    if isinstance(error, ExpectedError):
        data = {"code": error.code, "message": error.message}
        return Failure(f"{told}\nUncaught Error: {error.message}", data, function, error.code)
    log.error(
        "function failed",
        function=function.identifier if function else None,
        error=logs.describe(error),
        **({"vendor": error.vendor, "code": error.code} if isinstance(error, VendorError) else {}),
    )
    return Failure(told if production else f"{told}\nUncaught Error: {error}", None, function, "failed")
