"""Why a job failed, where that is not an error of the job itself; and the text that is stored of a failure."""

from __future__ import annotations

from collections.abc import Callable

from daysong.kernel import logs
from daysong.kernel.errors import DaysongError, VendorError
from daysong.kernel.functions.registry import Function
from daysong.kernel.limits.errors import Deferred, VendorDown


class KilledTooOften(DaysongError):
    """The worker died several times in a row while running the job."""


class UnknownFunction(DaysongError):
    """This release has no function of the job's name; a worker of another release may."""


class AttemptsExhausted(DaysongError):
    """All attempts have failed; only `on_exhausted` is left to run."""


def text_of(error: Exception) -> str | None:
    """Return what is stored of an error; None for one that adds nothing to the error before.

    The text of our own errors is safe to store; others may quote people, so only type and place are kept.
    """
    if isinstance(error, AttemptsExhausted):
        return None
    return (f"{type(error).__name__}: {error}" if isinstance(error, DaysongError) else logs.describe(error))[:500]


def deferral(function: Function | None, error: Exception, outage: Callable[[str], float | None]) -> Deferred | None:
    """Return the deferral of a job that waits in a vendor's line, or for a vendor that is down: it uses up no attempt.

    None for any other failure. An ambiguous one is deferred too: a job that must not repeat its order ends itself.
    `outage` returns the seconds after which to ask a vendor again.
    """
    if isinstance(error, Deferred) and not isinstance(error, VendorDown):
        return error
    if function is None or not isinstance(error, VendorError) or not function.retry.outlasts_outages:
        return None
    if isinstance(error, VendorDown):
        return error
    if function.retry.attempts == 1 or error.permanent or (pause := outage(error.vendor)) is None:
        return None
    return Deferred(error.vendor, max(pause, error.retry_after or 0.0))
