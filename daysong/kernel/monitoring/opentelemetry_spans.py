"""The spans of `tracing.py`, made by OpenTelemetry's SDK. Imported only when traces are on.

A thread of the SDK sends them in batches; a collector that is slow or away delays nothing, and spans beyond its queue
(`OTEL_BSP_MAX_QUEUE_SIZE`) are dropped.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, StatusCode
from opentelemetry.trace.propagation import set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from daysong.kernel.errors import ExpectedError
from daysong.kernel.monitoring.tracing import ATTRIBUTES, CURRENT, LONGEST, Role, Value

SERVICE = "daysong"
# Seconds that the end of a process waits for the collector.
PATIENCE = 5.0

_ROLES = {kind.name.lower(): kind for kind in SpanKind}
_HEADER = "traceparent"
_propagator = TraceContextTextMapPropagator()


class OpenTelemetry:
    """A tracer whose spans go to the collector that the environment names."""

    def __init__(self, service_version: str) -> None:
        about: dict[str, str | int] = {"service.version": service_version, "process.pid": os.getpid()}
        named = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in named:
            about["service.name"] = SERVICE
        self._provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(SERVICE, service_version)
        atexit.register(self.stop)

    def span(self, name: str, role: Role, parent: str | None, attributes: Mapping[str, Value]) -> _Span:
        """Return a span; one of another trace than the current has a link to the current span."""
        context, links = None, []
        if parent != CURRENT:
            context = Context() if parent is None else _propagator.extract({_HEADER: parent}, Context())
            here = trace.get_current_span().get_span_context()
            if parent is not None and here.is_valid:
                links.append(Link(here))
        made = self._tracer.start_span(
            name, context, _ROLES[role], _named(attributes), links,
            # The text of an exception may quote a user.
            record_exception=False, set_status_on_exception=False,
        )  # fmt: skip
        return _Span(made)

    def annotate(self, name: str | None, attributes: Mapping[str, Value], *, failed: bool) -> None:
        """Add to the current span."""
        here = trace.get_current_span()
        if not here.is_recording():
            return
        if name is not None:
            here.update_name(name)
        here.set_attributes(_named(attributes))
        if failed:
            here.set_status(StatusCode.ERROR)

    def current(self) -> str | None:
        """Return the `traceparent` of the current span."""
        carrier: dict[str, str] = {}
        _propagator.inject(carrier)
        return carrier.get(_HEADER)

    def stop(self) -> None:
        """Send what is waiting, and wait for it a few seconds at most."""
        atexit.unregister(self.stop)
        stopping = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        stopping.start()
        stopping.join(PATIENCE)


class _Span:
    """A span that is the current one inside `with`."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        self._token: Token[Context] = attach(set_span_in_context(self._span))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        detach(self._token)
        if kind is not None:
            self._span.set_attribute(ATTRIBUTES["error"], kind.__name__)
            if isinstance(error, Exception) and not isinstance(error, ExpectedError):
                self._span.set_status(StatusCode.ERROR)
        self._span.end()


def _named(attributes: Mapping[str, Value]) -> dict[str, str | int | float]:
    return {
        ATTRIBUTES[name]: value[:LONGEST] if isinstance(value, str) else value
        for name, value in attributes.items()
        if value is not None
    }
