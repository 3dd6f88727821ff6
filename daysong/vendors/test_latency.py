"""Figures of the latest requests to a vendor."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daysong.vendors import latency
from daysong.vendors.latency import HOUR, Latency, Sample, summary

SAMPLES = st.lists(st.builds(Sample, st.floats(0, 10_000), st.floats(0, 300), st.booleans()), max_size=60)


@given(SAMPLES, st.floats(0, 10_000))
def test_figures_are_of_the_last_hour(samples: list[Sample], now: float) -> None:
    """Half of its requests took no longer than the median, and 95 in 100 no longer than the other figure."""
    recent = [sample for sample in samples if now - sample.at <= HOUR]
    found = summary(samples, now)
    assert (found is None) == (not recent)
    if found is not None:
        assert found.requests == len(recent)
        assert found.failed == sum(sample.failed for sample in recent) / len(recent)
        for limit, share in ((found.median, 0.5), (found.p95, 0.95)):
            assert sum(sample.seconds <= limit for sample in recent) >= share * len(recent)
            assert sum(sample.seconds < limit for sample in recent) < share * len(recent) or limit == 0


def test_only_the_latest_requests_are_kept() -> None:
    """A vendor that is asked all the time takes no more memory."""
    for number in range(2 * latency.KEPT):
        latency.note("acme of a test", Sample(float(number), number >= latency.KEPT, failed=False))
    assert latency.of_vendor("acme of a test", 1000.0) == Latency(latency.KEPT, 0.0, 1.0, 1.0)
    assert latency.of_vendor("another of a test", 0.0) is None
