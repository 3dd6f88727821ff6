"""The latest requests of this process to each vendor, for the console. Metrics have those of all, and for longer."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

HOUR = 3600.0  # seconds
KEPT = 500  # requests of a vendor


class Sample(NamedTuple):
    """A request: when it ended, on any steady clock; how long it took; whether the vendor failed."""

    at: float
    seconds: float
    failed: bool


class Latency(NamedTuple):
    """The requests of an hour: how many, the share that failed, and how long one in two and 19 in 20 took at most."""

    requests: int
    failed: float
    median: float
    p95: float


_samples: dict[str, deque[Sample]] = {}


def note(vendor: str, sample: Sample) -> None:
    """Keep a request."""
    _samples.setdefault(vendor, deque(maxlen=KEPT)).append(sample)


def of_vendor(vendor: str, now: float) -> Latency | None:
    """Return what the latest requests of the last hour say; None without any."""
    return summary(_samples.get(vendor, ()), now)


def summary(samples: Sequence[Sample] | deque[Sample], now: float) -> Latency | None:
    """Return the figures of the samples that are at most an hour old; None without any."""
    recent = [sample for sample in samples if now - sample.at <= HOUR]
    if not recent:
        return None
    seconds = sorted(sample.seconds for sample in recent)
    failed = sum(sample.failed for sample in recent) / len(recent)
    return Latency(len(recent), failed, _quantile(seconds, 0.5), _quantile(seconds, 0.95))


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[math.ceil(share * len(ordered)) - 1]
