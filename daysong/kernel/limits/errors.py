"""What a caller or the worker gets when a limit is reached."""

from __future__ import annotations

import math

from daysong.kernel.errors import ExpectedError, VendorError


class RateLimited(ExpectedError):
    """The caller asks too often; `retryAfter` in the data says in how many seconds to ask again."""

    code = "rate_limited"
    status = 429
    default_message = "Too many requests. Please wait a moment and try again."

    def __init__(self, retry_after: float, message: str | None = None) -> None:
        self.retry_after = max(1, math.ceil(retry_after))
        message = message or self.default_message
        super().__init__(message, data={"code": self.code, "message": message, "retryAfter": float(self.retry_after)})


class DailyLimitReached(ExpectedError):
    """The day's budget, of the account or of the installation, does not allow another paid request."""

    code = "daily_limit_reached"
    status = 429
    default_message = "You have reached today's limit. Please try again tomorrow."


# The code of a request for which the line was too long.
DEFERRED = "deferred"


class Deferred(VendorError):
    """The line for a vendor is long, or the vendor has asked for a pause: nothing was sent, or it was refused.

    A job is put back for `retry_after` seconds without counting an attempt.
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
