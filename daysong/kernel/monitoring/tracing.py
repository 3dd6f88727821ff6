"""Traces by OpenTelemetry: spans from a request through its jobs to vendors, their webhooks and what follows.

Off, at the cost of a comparison per call, unless the environment names a collector and the extra `daysong[otel]` is
installed; see `trace_export.py`.

A span has only attributes of ATTRIBUTES, and its name is a constant, a vendor or a function of the registry. So no text
of a user, no id of a person, no path and no message of an error gets into a trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Protocol

Role = Literal["internal", "server", "client", "consumer"]

# The attributes of spans. `request` is the request id of log lines and error messages.
ATTRIBUTES: Mapping[str, str] = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "error": "error.type",
    "function": "daysong.function",
    "kind": "daysong.function.kind",
    "outcome": "daysong.outcome",
    "vendor": "daysong.vendor",
    "attempt": "daysong.job.attempt",
    "request": "daysong.request_id",
}
LONGEST = 100  # characters of a value

# The parent of a span that belongs to the current one.
CURRENT = "current"

Value = str | int | float | None


class Span(Protocol):
    """A span that is open inside `with`."""

    def __enter__(self) -> object: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Tracer(Protocol):
    """Makes spans; see the functions of this module."""

    def span(self, name: str, role: Role, parent: str | None, attributes: Mapping[str, Value]) -> Span: ...
    def annotate(self, name: str | None, attributes: Mapping[str, Value], *, failed: bool) -> None: ...
    def current(self) -> str | None: ...
    def stop(self) -> None: ...


class _Off:
    __slots__ = ()

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        return


OFF = _Off()
_tracer: Tracer | None = None


def span(name: str, role: Role = "internal", *, parent: str | None = CURRENT, **attributes: Value) -> Span:
    """Return a span for `with`. `parent` is a `traceparent`; None begins a new trace.

    An exception that leaves it is named by its type; one that is not an ExpectedError marks it as failed.
    """
    return OFF if _tracer is None else _tracer.span(name, role, parent, attributes)


def annotate(name: str | None = None, *, failed: bool = False, **attributes: Value) -> None:
    """Add attributes to the current span, rename it, or mark it as failed."""
    if _tracer is not None:
        _tracer.annotate(name, attributes, failed=failed)


def current() -> str | None:
    """Return the current span as a W3C `traceparent`; None outside of a trace."""
    return None if _tracer is None else _tracer.current()


def is_on() -> bool:
    """Whether spans are made."""
    return _tracer is not None


def use(tracer: Tracer) -> None:
    """Make spans by this tracer from now on."""
    global _tracer  # noqa: PLW0603 - like logging, of the process
    _tracer = tracer


def stop() -> None:
    """Make no more spans, and send those that are waiting."""
    global _tracer
    stopped, _tracer = _tracer, None
    if stopped is not None:
        stopped.stop()
