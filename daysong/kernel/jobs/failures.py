"""Why a job failed, where that is not an error of the job itself; and the text that is stored of a failure."""

from __future__ import annotations

from collections.abc import Callable

from daysong.kernel import logs
from daysong.kernel.errors import DaysongError, VendorError
from daysong.kernel.functions.registry import Function
from daysong.kernel.limits.errors import Deferred


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


def outage_deferral(
    function: Function | None, error: Exception, outage: Callable[[str], float | None]
) -> Deferred | None:
    """Return the deferral of a job that failed while its vendor fails for all, so that it uses up no attempt.

    None for any other failure. An ambiguous one is deferred too: a job that must not repeat its order ends itself.
    `outage` returns the seconds after which to ask a vendor again.
    """
    if function is None or function.retry.attempts == 1 or not isinstance(error, VendorError):
        return None
    if error.permanent or (pause := outage(error.vendor)) is None:
        return None
    return Deferred(error.vendor, max(pause, error.retry_after or 0.0))
