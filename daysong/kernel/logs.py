"""Structured logs. One request id runs from a request through its jobs to every vendor call.

What a person wrote, sang or owns (diary, lyrics, phone, e-mail, tokens, secrets) is never passed to a logger.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import structlog

from daysong.kernel.errors import VendorError

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
        yield
    finally:
        _request_id.reset(token)


def with_request_id(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A line with the id of what is being served: a processor of structlog's."""
    if identifier := _request_id.get():
        line["request_id"] = identifier
    return line


class _Lines(structlog.WriteLogger):
    """Writes lines to the standard output; one that is closed, or full, costs lines and nothing else."""

    def msg(self, message: str) -> None:
        with suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


class _QuietHandler(logging.StreamHandler[Any]):
    """What libraries log, to the standard error; nothing is said about one that is closed."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Lose the line."""


def _lines(*_: Any) -> _Lines:
    return _Lines(sys.stdout)


def configure(*, readable: bool, quiet: bool = False, silent: bool = False) -> None:
    """Set up logging for a process: lines for people in development, JSON lines otherwise.

    `quiet` leaves out what is not at least a warning, `silent` everything: for commands that report by themselves.
    """
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=False) if readable else structlog.processors.JSONRenderer()
    )
    shared: list[structlog.typing.Processor] = [
        with_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.ExceptionRenderer(_describe_info), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.CRITICAL if silent else logging.WARNING if quiet else logging.INFO
        ),
        logger_factory=_lines,
        cache_logger_on_first_use=True,
    )
    handler = _QuietHandler()
    handler.setFormatter(_Formatter("%(levelname)s %(name)s: %(message)s") if readable else _JsonFormatter())
    logging.basicConfig(level=logging.CRITICAL if silent else logging.WARNING, handlers=[handler])
    if not readable:
        # Warnings of Python and its libraries, and what nobody has caught, are lines like all others.
        logging.captureWarnings(capture=True)
        sys.excepthook = _log_uncaught


class _Formatter(logging.Formatter):
    """For what libraries log: an exception is described, as in our own lines."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return _describe_info(ei)


class _JsonFormatter(_Formatter):
    """For production: what libraries log has the shape of our own lines."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            # What follows the first line is details, such as the text of an error nobody has looked at.
            "event": record.getMessage().strip().partition("\n")[0],
            "level": record.levelname.lower(),
            "part": record.name,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:  # noqa: ARG001
    logging.getLogger("process").critical("process ended by an error", exc_info=error)


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
    what = type(error).__name__
    if isinstance(error, VendorError):
        # Our own words, with the vendor's code for it.
        what = f"{what} [{error.vendor}: {error.detail}; {error.code}]"
    return f"{what} in {where}" if where else what
