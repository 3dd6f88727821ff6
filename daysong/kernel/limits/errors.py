"""Errors raised when a limit is reached."""

from __future__ import annotations

import math

from daysong.kernel.errors import ExpectedError, VendorError


class RateLimited(ExpectedError):
    """The caller exceeded a rate limit; `retryAfter` in the data is the number of seconds to wait."""

    code = "rate_limited"
    status = 429
    default_message = "Too many requests. Please wait a moment and try again."

    def __init__(self, retry_after: float, message: str | None = None) -> None:
        self.retry_after = max(1, math.ceil(retry_after))
        message = message or self.default_message
        super().__init__(message, data={"code": self.code, "message": message, "retryAfter": float(self.retry_after)})


class DailyLimitReached(ExpectedError):
    """The daily budget of the account or of the installation does not cover another paid request."""

    code = "daily_limit_reached"
    status = 429
    default_message = "You have reached today's limit. Please try again tomorrow."


# The error code of a request that was not sent because the line was too long.
DEFERRED = "deferred"


class Deferred(VendorError):
    """The request was not sent because the line for the vendor is long, or the vendor answered that it needs a pause.

    The worker reschedules such a job after `retry_after` seconds without counting an attempt.
    """

    def __init__(
        self, vendor: str, retry_after: float, detail: str = "the line is long", *, code: str = DEFERRED
    ) -> None:
        super().__init__(
            vendor,
            detail,
            permanent=False,
            retry_after=retry_after,
            code=code,
        )


class VendorDown(Deferred):
    """The request was not sent because the vendor has not answered lately."""
