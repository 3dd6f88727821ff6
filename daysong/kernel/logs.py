"""Structured logs. A request id is kept from a request through its jobs to every vendor request.

Private data (diaries, lyrics, phone numbers, e-mail addresses, tokens, secrets) is never passed to a logger.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import os
import random
import sys
import traceback
from collections import deque
from contextlib import suppress
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from daysong.kernel.errors import VendorError
from daysong.kernel.time.clock import SystemClock

if TYPE_CHECKING:
    from daysong.kernel.monitoring.error_reports import Reporter

# structlog imports rich, for tracebacks that are not logged here; that would take 60 ms and 5 MB.
_without_rich = sys.modules.setdefault("rich", None) is None  # type: ignore[arg-type]
import structlog  # noqa: E402

if _without_rich:
    del sys.modules["rich"]

# The id of the current request or job. `request_scope` sets it; what serves every request sets it by itself, since that
# takes a third of the time.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
# Seeded by the operating system once: asking it for each id takes longer than all else about an id.
_ids = random.Random()  # noqa: S311 - ids are no secrets
# Else all processes that are forked from one would give the same ids.
os.register_at_fork(after_in_child=_ids.seed)


def new_request_id() -> str:
    """Return a new request id: 16 hexadecimal digits, shown in error messages and logs."""
    return f"{_ids.getrandbits(64):016x}"


def request_id() -> str:
    """Return the id of the current request or job; an empty string outside of one."""
    return REQUEST_ID.get()


class request_scope:  # noqa: N801 - used like a function
    """Add `identifier` as the request id to every line logged inside: `with request_scope(identifier)`."""

    __slots__ = ("_identifier", "_token")

    def __init__(self, identifier: str) -> None:
        self._identifier = identifier

    def __enter__(self) -> None:
        self._token: Token[str] = REQUEST_ID.set(self._identifier)

    def __exit__(self, *_: object) -> None:
        REQUEST_ID.reset(self._token)


def with_request_id(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add the current request id to a line. A structlog processor."""
    if identifier := REQUEST_ID.get():
        line["request_id"] = identifier
    return line


class _StdoutLogger(structlog.WriteLogger):
    """Writes lines to stdout; lines are dropped when it is closed or full."""

    def msg(self, message: str) -> None:
        flush()
        with suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


# Lines of requests, which are encoded and written together: a write for each would cost as much as the rest of a small
# request.
_waiting: deque[dict[str, Any]] = deque()
_encode_lines = msgspec.json.Encoder().encode_lines
_MOST_WAITING = 1_000
_LONGEST_WAIT = 0.05  # seconds
_request_log = structlog.get_logger(part="http")
_writes_json = False
_clock = SystemClock()


def request(fields: dict[str, Any]) -> None:
    """Log a request that was served, as `log.info("request", **fields)` would at a tenth of its cost."""
    if not _writes_json:
        _request_log.info("request", **fields)
        return
    fields["part"] = "http"
    fields["event"] = "request"
    fields["request_id"] = REQUEST_ID.get()
    fields["level"] = "info"
    fields["timestamp"] = _clock.now()
    if not _waiting:
        asyncio.get_running_loop().call_later(_LONGEST_WAIT, flush)
    _waiting.append(fields)
    if len(_waiting) >= _MOST_WAITING:
        flush()


@atexit.register
def flush() -> None:
    """Write the lines of requests that wait."""
    if not _waiting:
        return
    lines = []
    with suppress(IndexError):  # a thread that logs may write them too
        while True:
            lines.append(_waiting.popleft())
    with suppress(OSError, ValueError):
        sys.stdout.write(_encode_lines(lines).decode())
        sys.stdout.flush()


class _QuietHandler(logging.StreamHandler[Any]):
    """Writes log records of libraries to stderr; they are dropped when it is closed."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Drop the record."""


def _stdout_logger(*_: Any) -> _StdoutLogger:
    return _StdoutLogger(sys.stdout)


def configure(*, readable: bool, quiet: bool = False, silent: bool = False, reporter: Reporter | None = None) -> None:
    """Configure logging for a process: readable lines in development, JSON lines otherwise.

    `quiet` drops everything below a warning, `silent` everything; for commands with their own output. `reporter`
    reports errors elsewhere too.
    """
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=False) if readable else structlog.processors.JSONRenderer()
    )
    global _writes_json  # noqa: PLW0603 - as structlog's configuration
    _writes_json = not (readable or quiet or silent)
    shared: list[structlog.typing.Processor] = [
        with_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.ExceptionRenderer(_describe_info),
            *([reporter] if reporter else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.CRITICAL if silent else logging.WARNING if quiet else logging.INFO
        ),
        logger_factory=_stdout_logger,
        cache_logger_on_first_use=True,
    )
    handler = _QuietHandler()
    handler.setFormatter(_Formatter("%(levelname)s %(name)s: %(message)s") if readable else _JsonFormatter())
    logging.basicConfig(level=logging.CRITICAL if silent else logging.WARNING, handlers=[handler])
    if not readable:
        # Python warnings and uncaught exceptions are logged as JSON lines too.
        logging.captureWarnings(capture=True)
        sys.excepthook = _log_uncaught


class _Formatter(logging.Formatter):
    """Formats records of libraries; exceptions are described as in our own lines."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return _describe_info(ei)


class _JsonFormatter(_Formatter):
    """Formats records of libraries as our own JSON lines, for production."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            # Further lines may contain private data, such as the text of an error.
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
    """Return a structured logger; `name` is written as the `part` of the program."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(part=name)
    return logger


def describe(error: BaseException) -> str:
    """Return the exception's type and where it was raised, without its text, which may quote private data."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    where = " < ".join(
        f"{frame.name} ({frame.filename.rsplit('/', 1)[-1]}:{frame.lineno})" for frame in reversed(frames)
    )
    what = type(error).__name__
    if isinstance(error, VendorError):
        # `detail` is our own text, `code` the vendor's.
        what = f"{what} [{error.vendor}: {error.detail}; {error.code}]"
    return f"{what} in {where}" if where else what
