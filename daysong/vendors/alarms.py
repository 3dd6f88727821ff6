"""Failures that only an operator can mend: a key, credits, a model that is gone. Logged as errors, and counted."""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter

ALARMS = Counter(
    "daysong_vendor_alarms", "Requests a vendor refused until an operator mends something", ["vendor", "code"]
)


def alarm(log: Any, vendor: str, code: str, **fields: Any) -> None:
    """Log and count that a vendor refuses us by our own configuration. `code` is the vendor's, or an HTTP status."""
    ALARMS.labels(vendor, code[:64]).inc()
    log.error("vendor needs attention", vendor=vendor, code=code, **fields)
