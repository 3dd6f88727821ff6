"""`daysong metrics`: every series of `/metrics` as Markdown (docs/METRICS.md)."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import NamedTuple

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from daysong.kernel.monitoring.durations import Durations
from daysong.transport.metrics.processes import PROCESSES
from daysong.transport.metrics.state import GAUGES

HEAD = """# Metrics

Written by `daysong metrics > docs/METRICS.md`; a test fails when it is out of date.

`/metrics` of `daysong serve`, and of `daysong work --metrics-port`, in Prometheus's text format. A counter's name ends
with `_total`; a histogram has `_bucket`, `_count` and `_sum`, in seconds. A series is there from its first sample on.
Times of creation (`_created`), and `process_…` and `python_…` of the library, are not listed. On `serve` each series of
a process has the label `process` as well. [Operate](OPERATING.md) says how to combine instances, and has the alerts.
"""

OF_PROCESSES = """
## Of a process

Add them up over processes and instances, counters after `rate`.

"""

OF_STATE = """
## Of what the database holds

The same on every instance: combine by `max`. They are read when metrics are requested, at most every ten seconds, sizes
every ten minutes.

"""

COLUMNS = "| series | type | labels | what it says |\n|---|---|---|---|\n"
# Where series are declared.
PACKAGES = ("kernel", "vendors", "features", "workflows", "transport")


class Series(NamedTuple):
    """A series, or the several of one histogram."""

    name: str
    type: str
    labels: tuple[str, ...]
    about: str


def own_series() -> list[Series]:
    """Return what a process counts, by name."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(import_module(f"daysong.{package}").__path__, f"daysong.{package}."):
            if not module.name.rpartition(".")[2].startswith(("test_", "conftest")):
                import_module(module.name)
    return sorted(set(_declared()))


def _declared() -> Iterator[Series]:
    for collector in REGISTRY._collector_to_names:  # noqa: SLF001 - the library has no list of what is declared
        if isinstance(collector, MetricWrapperBase):
            kind = collector._type or "untyped"  # noqa: SLF001
            name = collector._name + ("_total" if kind == "counter" else "")  # noqa: SLF001
            yield Series(name, kind, tuple(collector._labelnames), collector._documentation)  # noqa: SLF001
        elif isinstance(collector, Durations):
            yield Series(collector.name, "histogram", collector.labels, collector.documentation)


def document() -> str:
    """Return all series, as Markdown."""
    processes = [Series(name, "gauge", labels, what) for name, (what, labels) in PROCESSES.items()]
    state = [Series(name, "gauge", labels, what) for name, (what, labels) in GAUGES.items()]
    own = [series for series in (*own_series(), *processes) if series.name.startswith("daysong_")]
    return "".join([HEAD, OF_PROCESSES, COLUMNS, *map(_row, own), OF_STATE, COLUMNS, *map(_row, state)])


def _row(series: Series) -> str:
    labels = ", ".join(f"`{label}`" for label in series.labels)
    return f"| `{series.name}` | {series.type} | {labels} | {series.about.rstrip('.')} |\n"
