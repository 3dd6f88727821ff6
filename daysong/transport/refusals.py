"""Requests turned away before a function ran: an HTTP status, and `{code, message}` as every client reads it."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.enums import MediaType
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap

from daysong.kernel import logs
from daysong.kernel.database.transactions import LOST
from daysong.kernel.errors import DatabaseUnavailable, DaysongError, TooBusy

# Of whatever a request needed the database for, nothing has happened; or it may be done again, as with webhooks.
UNAVAILABLE = (DatabaseUnavailable, TooBusy, *LOST)

log = logs.get_logger("http")


# The codes of all refusals but those of webhooks.
REFUSALS = frozenset({
    "AuthProviderUnavailable", "BadArguments", "BadComponentPath", "BadDeployKey", "BadFormat", "BadJsonBody",
    "BadRequest", "BadTimestamp", "BadValue", "ClockWrong", "DatabaseUnavailable", "Forbidden",
    "InternalServerError", "InvalidAuthHeader", "MethodNotAllowed", "MigrationsPending", "NotFound",
    "PayloadTooLarge", "RateLimited", "RequestTimeout", "ServiceUnavailable", "StorageUnavailable", "TooBusy",
    "TooManyQueries", "TooManyRequests",
})  # fmt: skip


class Refused(DaysongError):
    """A request is turned away: `code` is for programs and stays as it is, `message` is for people.

    `retry_after` is in seconds, where it may be sent again.
    """

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


def unavailable() -> Refused:
    """The refusal of a request for which the database is away, or too busy: nothing was done, so send it again."""
    return Refused(503, "DatabaseUnavailable", "The database is not available. Please try again.", retry_after=1)


def answer(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response[Any]:
    """The response that says no."""
    return Response(
        {"code": code, "message": message}, status_code=status, media_type=MediaType.JSON, headers=headers or {}
    )


def refusal(error: Exception) -> Refused:
    """Return what the client sees of a failure outside of a function; an unexpected one is logged."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, UNAVAILABLE):
        log.warning("database unavailable", error=logs.describe(error))
        return unavailable()
    log.error("request failed", error=logs.describe(error))
    return Refused(500, "InternalServerError", f"[Request ID: {logs.request_id()}] Server Error")


def _refused(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    told = refusal(error)
    headers = None if told.retry_after is None else {"Retry-After": str(told.retry_after)}
    return answer(told.status, told.code, told.message, headers)


def _by_litestar(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    status = HTTPStatus(error.status_code)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed", error=logs.describe(error.__cause__ or error))
        return answer(status, _code(status), status.phrase, error.headers)
    # Its phrase is another in later versions of Python.
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return answer(status, "PayloadTooLarge", "The body is too large", error.headers)
    return answer(status, _code(status), error.detail, error.headers)


def _code(status: HTTPStatus) -> str:
    return re.sub(r"\W", "", status.phrase)


HANDLERS: ExceptionHandlersMap = {
    HTTPException: _by_litestar,
    Exception: _refused,
}
