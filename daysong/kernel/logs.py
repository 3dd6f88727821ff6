"""Structured logs. One request id runs from a request through its jobs to every vendor call.

What a person wrote, sang or owns (diary, lyrics, phone, e-mail, tokens, secrets) is never passed to a logger.
"""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any

import structlog

_request_id: ContextVar[str] = ContextVar("request_id", default="")


def new_request_id() -> str:
    """16 hexadecimal digits, as they appear in error messages and logs."""
    return secrets.token_hex(8)


def request_id() -> str:
    """The id of the request or job being served, or an empty string outside of one."""
    return _request_id.get()


@contextmanager
def request_scope(identifier: str) -> Iterator[None]:
    """Everything logged inside carries `identifier`."""
    token = _request_id.set(identifier)
    try:
        with structlog.contextvars.bound_contextvars(request_id=identifier):
            yield
    finally:
        _request_id.reset(token)


def configure(*, readable: bool, quiet: bool = False) -> None:
    """Set up logging for a process: lines for people in development, JSON lines otherwise.

    `quiet` leaves out what is not at least a warning.
    """
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=False) if readable else structlog.processors.JSONRenderer()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.ExceptionRenderer(_describe_info), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if quiet else logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _Formatter(logging.Formatter):
    """For what libraries log: an exception is described, as in our own lines."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return _describe_info(ei)


def _describe_info(exc_info: tuple[type[BaseException], BaseException, TracebackType | None]) -> str:
    return describe(exc_info[1])


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger that writes structured lines; `name` says which part speaks."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(part=name)
    return logger


def describe(error: BaseException) -> str:
    """What failed and where, without the exception's text, which may quote what a person wrote."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    where = " < ".join(
        f"{frame.name} ({frame.filename.rsplit('/', 1)[-1]}:{frame.lineno})" for frame in reversed(frames)
    )
    return f"{type(error).__name__} in {where}" if where else type(error).__name__
