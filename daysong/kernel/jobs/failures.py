"""Why a job failed, where that is not an error of the job itself; and the text that is stored of a failure."""

from __future__ import annotations

from daysong.kernel import logs
from daysong.kernel.errors import DaysongError


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
