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
from daysong.kernel.errors import DaysongError

log = logs.get_logger("http")


class Refused(DaysongError):
    """A request is turned away: `code` is for programs and stays as it is, `message` is for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def answer(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response[Any]:
    """The response that says no."""
    return Response(
        {"code": code, "message": message}, status_code=status, media_type=MediaType.JSON, headers=headers or {}
    )


def _refused(_: Request[Any, Any, Any], error: Refused) -> Response[Any]:
    return answer(error.status, error.code, error.message)


def _by_litestar(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    status = HTTPStatus(error.status_code)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed", error=logs.describe(error.__cause__ or error))
        return answer(status, _code(status), status.phrase, error.headers)
    # Its phrase is another in later versions of Python.
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return answer(status, "PayloadTooLarge", "The body is too large", error.headers)
    return answer(status, _code(status), error.detail, error.headers)


def _unexpected(_: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    log.error("request failed", error=logs.describe(error))
    return answer(
        HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerError", f"[Request ID: {logs.request_id()}] Server Error"
    )


def _code(status: HTTPStatus) -> str:
    return re.sub(r"\W", "", status.phrase)


HANDLERS: ExceptionHandlersMap = {Refused: _refused, HTTPException: _by_litestar, Exception: _unexpected}
