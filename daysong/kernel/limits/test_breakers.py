"""When a vendor is left alone, and when it is asked again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel.limits.breakers import (
    CLOSED,
    OPEN,
    TRYING,
    Breaker,
    Policy,
    State,
    admit,
    after_failure,
    after_success,
)
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.time.clock import MovableClock

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
POLICY = Policy()
SECOND = timedelta(seconds=1)

STEPS = st.lists(
    st.tuples(st.sampled_from(["answers", "fails", "given up"]), st.integers(-30, 200)), min_size=1, max_size=60
)


@given(STEPS)
def test_a_breaker_never_stays_open_for_long(steps: list[tuple[str, int]]) -> None:
    """Whatever happened, also with the clock put back: a request is let through within the longest pause.

    While it is closed all are, and it opens only after five failures in a row within a minute.
    """
    state, now = State(), NOW
    failures: list[datetime] = []
    for outcome, seconds in steps:
        now += seconds * SECOND
        admission = admit(state, now, POLICY)
        assert (admission.wait is None) or state.opened_at is not None
        if admission.wait is not None:
            assert timedelta(0) < admission.wait <= POLICY.longest_pause
            # Nothing is sent, so nothing changes.
            assert admission.state == state
            continue
        state = admission.state
        was_open = state.opened_at is not None
        assert admission.trial is was_open
        if outcome == "answers":
            state, failures = after_success(), []
        elif outcome == "fails":
            failures.append(now)
            state = after_failure(state, now, POLICY, trial=admission.trial)
            recent = failures[-5:]
            if not was_open:
                assert (state.opened_at is not None) == (len(recent) == 5 and recent[-1] - recent[0] <= POLICY.within)
            if state.opened_at is not None:
                failures = []
                assert POLICY.first_pause <= state.pause <= POLICY.longest_pause
        else:
            state = state._replace(trying_since=None)
    later = now + POLICY.longest_pause + POLICY.trial
    assert admit(state, later, POLICY).wait is None


def test_a_breaker_opens_tries_one_request_and_closes() -> None:
    """The pause doubles with each failed trial; others wait while one is tried; one given up decides nothing."""
    clock = MovableClock(NOW)
    breaker = Breaker("acme", clock)
    late = breaker.begin()
    for _ in range(5):
        assert breaker.state == CLOSED
        breaker.begin().failed()
    late.failed()
    for pause in (5, 10, 20, 40, 80, 120, 120):
        assert (breaker.state, breaker.wait()) == (OPEN, pause)
        with pytest.raises(Deferred) as waits:
            breaker.begin()
        assert (waits.value.retry_after, waits.value.permanent, waits.value.ambiguous) == (pause, False, False)
        clock.forward(timedelta(seconds=pause))
        given_up = breaker.begin()
        assert (breaker.state, breaker.wait()) == (TRYING, 5)
        given_up.end()
        breaker.begin().failed()
    clock.forward(timedelta(minutes=2))
    trial = breaker.begin()
    trial.succeeded()
    trial.end()
    assert (breaker.state, breaker.outage()) == (CLOSED, None)
    for _ in range(4):
        breaker.begin().failed()
    breaker.begin().succeeded()
    breaker.begin().failed()
    assert breaker.state == CLOSED


def test_failures_far_apart_open_no_breaker() -> None:
    """Five within a minute do; the fifth of a slow series does not."""
    clock = MovableClock(NOW)
    breaker = Breaker("acme", clock)
    for _ in range(20):
        breaker.begin().failed()
        clock.forward(timedelta(seconds=16))
    assert breaker.state == CLOSED
