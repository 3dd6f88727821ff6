"""Begins the export of traces, where the environment asks for it by OpenTelemetry's own variables (`OTEL_…`)."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version

from daysong.kernel import logs
from daysong.kernel.monitoring import tracing

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
MODULES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
INSTALL = "pip install 'daysong[otel]'"

log = logs.get_logger("traces")


@contextmanager
def exporting(environ: Mapping[str, str]) -> Iterator[None]:
    """Send the spans that are made inside, if the environment asks for it. Not to be forked: a thread sends them."""
    if (problem := start(environ)) is not None:
        log.warning("traces are off", why=problem)
    try:
        yield
    finally:
        tracing.stop()


def start(environ: Mapping[str, str]) -> str | None:
    """Make spans from now on if the environment asks for it; return why not, if it does and that is not possible."""
    if tracing.is_on() or not is_wanted(environ):
        return None
    if environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf") != "http/protobuf":
        return "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf"
    if not is_installed():
        return f"no traces without the extra: {INSTALL}"
    from daysong.kernel.monitoring.opentelemetry_spans import OpenTelemetry  # noqa: PLC0415

    tracing.use(OpenTelemetry(version("daysong")))
    return None


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the environment names a collector, and does not switch traces off."""
    is_off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not is_off and any(environ.get(name) for name in ENDPOINTS)


def is_installed() -> bool:
    """Whether the packages of the extra are there. None of them is loaded, but for their parent packages."""
    try:
        return all(importlib.util.find_spec(name) is not None for name in MODULES)
    except ModuleNotFoundError:
        return False
