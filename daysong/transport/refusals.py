"""Errors of requests that are refused before a function runs: an HTTP status, and `{code, message}` as the body."""

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

# After these errors nothing was written, or a retry is safe, as with webhooks.
UNAVAILABLE = (DatabaseUnavailable, TooBusy, *LOST)

log = logs.get_logger("http")


# The codes of all refusals except those of webhooks.
REFUSALS = frozenset({
    "AuthProviderUnavailable", "BadArguments", "BadComponentPath", "BadDeployKey", "BadFormat", "BadJsonBody",
    "BadRequest", "BadTimestamp", "BadValue", "ClockWrong", "DatabaseUnavailable", "Forbidden",
    "InternalServerError", "InvalidAuthHeader", "MethodNotAllowed", "MigrationsPending", "NotFound",
    "NotImplemented",
    "PayloadTooLarge", "RateLimited", "RequestTimeout", "ServiceUnavailable", "StorageLimitReached",
    "StorageUnavailable", "TooBusy", "TooManyQueries", "TooManyRequests", "UnsupportedMediaType",
})  # fmt: skip


class Refused(DaysongError):
    """The request is refused: `code` is stable, for programs; `message` is for people.

    `retry_after` is in seconds, when a retry may succeed.
    """

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


def unavailable() -> Refused:
    """Return the refusal when the database is unavailable or too busy; nothing was done, so clients may retry."""
    return Refused(503, "DatabaseUnavailable", "The database is not available. Please try again.", retry_after=1)


def response(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response[Any]:
    """Return the response of a refusal."""
    return Response(
        {"code": code, "message": message}, status_code=status, media_type=MediaType.JSON, headers=headers or {}
    )


def refusal(error: Exception) -> Refused:
    """Return the refusal for an error outside of a function; an unexpected error is logged."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, UNAVAILABLE):
        log.warning("database unavailable", error=logs.describe(error))
        return unavailable()
    log.error("request failed", error=logs.describe(error))
    return Refused(500, "InternalServerError", f"[Request ID: {logs.request_id()}] Server Error")


def _refused(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    refused = refusal(error)
    headers = None if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
    return response(refused.status, refused.code, refused.message, headers)


def _http_error(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    status = HTTPStatus(error.status_code)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed", error=logs.describe(error.__cause__ or error))
        return response(status, _code(status), status.phrase, error.headers)
    # The phrase of 413 differs between versions of Python.
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return response(status, "PayloadTooLarge", "The body is too large", error.headers)
    return response(status, _code(status), error.detail, error.headers)


def _code(status: HTTPStatus) -> str:
    return re.sub(r"\W", "", status.phrase)


HANDLERS: ExceptionHandlersMap = {
    HTTPException: _http_error,
    Exception: _refused,
}
