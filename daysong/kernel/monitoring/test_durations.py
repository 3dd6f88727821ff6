from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.registry import REGISTRY

from daysong.kernel.monitoring.durations import Durations


def test_durations_are_exposed_as_a_histogram_of_the_library() -> None:
    """Same buckets, counts and sums; a value on a bound is within it."""
    ours = Durations("daysong_tested_seconds", "Tested", ["route"])
    REGISTRY.unregister(ours)
    registry = CollectorRegistry()
    theirs = Histogram("daysong_tested_seconds", "Tested", ["route"], registry=registry)
    for seconds in (0.001, 0.005, 0.0051, 0.3, 10.0, 99.0):
        ours.observe(("/api",), seconds)
        theirs.labels("/api").observe(seconds)
    own = CollectorRegistry()
    own.register(ours)
    expected = [line for line in generate_latest(registry).splitlines() if b"_created" not in line]
    assert generate_latest(own).splitlines() == expected
