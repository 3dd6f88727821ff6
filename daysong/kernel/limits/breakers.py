"""Circuit breakers: a vendor that does not answer is left alone for a while, by this process.

A breaker opens after five failures in a row within a minute: no connection, no answer in time, or a status of 500 and
above. While it is open, requests raise VendorDown at once, so that jobs wait and use up no attempt. After a pause one
request is let through: its success closes the breaker, and its failure doubles the pause, up to two minutes.

The rule is `admit`, `after_failure` and `after_success`; they are pure.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from prometheus_client import Counter, Gauge

from daysong.kernel import logs
from daysong.kernel.limits.errors import VendorDown
from daysong.kernel.time.clock import Clock

STATE = Gauge(
    "daysong_vendor_breaker_state",
    "Breaker of a vendor: 0 closed, 1 one request is tried, 2 open: requests wait",
    ["vendor"],
)
OPENED = Counter("daysong_vendor_breaker_opened", "How often the breaker of a vendor opened", ["vendor"])
CLOSED, TRYING, OPEN = "closed", "trying", "open"
_VALUES = {CLOSED: 0, TRYING: 1, OPEN: 2}

log = logs.get_logger("limits")


class Policy(NamedTuple):
    """When a breaker opens, and for how long.

    trial  how long a request that is let through keeps others waiting at most
    """

    failures: int = 5
    within: timedelta = timedelta(minutes=1)
    first_pause: timedelta = timedelta(seconds=5)
    longest_pause: timedelta = timedelta(minutes=2)
    trial: timedelta = timedelta(minutes=3)


class State(NamedTuple):
    """A breaker.

    failures      when the latest requests failed, with no success between them
    opened_at     since when it is open; None while it is closed
    pause         for how long from then
    trying_since  when the request that is tried was let through
    """

    failures: tuple[datetime, ...] = ()
    opened_at: datetime | None = None
    pause: timedelta = timedelta(0)
    trying_since: datetime | None = None


class Admission(NamedTuple):
    """Whether a request may be sent; if not, after how long to ask again. A `trial` decides about an open breaker."""

    state: State
    wait: timedelta | None = None
    trial: bool = False


def admit(state: State, now: datetime, policy: Policy) -> Admission:
    """Return whether a request may be sent, and the state if it is."""
    opened_at, since = state.opened_at, state.trying_since
    if opened_at is None:
        return Admission(state)
    # A clock that was put back must not keep it open.
    if opened_at <= now < opened_at + state.pause:
        return Admission(state, wait=opened_at + state.pause - now)
    if since is not None and since <= now < since + policy.trial:
        return Admission(state, wait=policy.first_pause)
    return Admission(state._replace(trying_since=now), trial=True)


def after_failure(state: State, now: datetime, policy: Policy, *, trial: bool) -> State:
    """Return the state after a request failed."""
    if state.opened_at is not None:
        # Others were sent before it opened, and say nothing new.
        return _opened(now, min(state.pause * 2, policy.longest_pause)) if trial else state
    failures = (*state.failures, now)[-policy.failures :]
    if len(failures) == policy.failures and now - failures[0] <= policy.within:
        return _opened(now, policy.first_pause)
    return State(failures)


def after_success() -> State:
    """Return the state after a vendor has answered."""
    return State()


def _opened(now: datetime, pause: timedelta) -> State:
    return State((), now, pause)


class Breaker:
    """The breaker of one vendor in this process."""

    def __init__(self, vendor: str, clock: Clock, policy: Policy = Policy()) -> None:  # noqa: B008 - immutable
        self.vendor = vendor
        self._clock = clock
        self._policy = policy
        self._state = State()
        STATE.labels(vendor).set(0)

    @property
    def state(self) -> str:
        """Return `closed`, `trying` or `open`."""
        if self._state.opened_at is None:
            return CLOSED
        return OPEN if self._state.trying_since is None else TRYING

    def wait(self) -> float | None:
        """Return the seconds after which a request may be sent; None if it may be now."""
        wait = admit(self._state, self._clock.now(), self._policy).wait
        return None if wait is None else wait.total_seconds()

    def outage(self) -> float | None:
        """Return the seconds after which a job that has just failed should try again; None while it is closed."""
        return None if self._state.opened_at is None else self.wait() or 0.0

    def check(self) -> None:
        """Raise VendorDown while requests wait."""
        wait = self.wait()
        if wait is not None:
            raise VendorDown(self.vendor, wait, "it has not answered lately")

    def begin(self) -> Attempt:
        """Return the attempt of a request that is sent now. Errors: VendorDown."""
        self.check()
        admission = admit(self._state, self._clock.now(), self._policy)
        self._set(admission.state)
        return Attempt(self, trial=admission.trial)

    def settle(self, *, trial: bool, succeeded: bool | None) -> None:
        """Note the outcome of a request; None for one that was given up by us."""
        if succeeded is None:
            self._set(self._state._replace(trying_since=None) if trial else self._state)
        elif succeeded:
            self._set(after_success())
        else:
            self._set(after_failure(self._state, self._clock.now(), self._policy, trial=trial))

    def _set(self, state: State) -> None:
        before, self._state = self._state, state
        if state.opened_at is not None and before.opened_at is None:
            OPENED.labels(self.vendor).inc()
            log.error("vendor does not answer", vendor=self.vendor)
        elif state.opened_at is None and before.opened_at is not None:
            log.warning("vendor answers again", vendor=self.vendor)
        STATE.labels(self.vendor).set(_VALUES[self.state])


class Attempt:
    """A request that was let through: settled by `succeeded` or `failed`; neither is said of one given up by us."""

    def __init__(self, breaker: Breaker, *, trial: bool) -> None:
        self._breaker = breaker
        self._trial = trial
        self._settled = False

    def succeeded(self) -> None:
        """The vendor has answered."""
        self._settle(succeeded=True)

    def failed(self) -> None:
        """It has not, or with a failure of its own."""
        self._settle(succeeded=False)

    def end(self) -> None:
        """Let another request be tried if this one was given up."""
        self._settle(succeeded=None)

    def _settle(self, *, succeeded: bool | None) -> None:
        if not self._settled:
            self._settled = True
            self._breaker.settle(trial=self._trial, succeeded=succeeded)
