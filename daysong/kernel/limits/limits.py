"""The limits of an app, built from its settings."""

from __future__ import annotations

from daysong.kernel.database.transactions import Database
from daysong.kernel.limits.breakers import Breaker
from daysong.kernel.limits.buckets import Buckets
from daysong.kernel.limits.lines import Line
from daysong.kernel.limits.store import RateStore
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import Clock, CurrentClock, SystemClock


class Limits:
    """The inbound buckets, vendor lines and breakers of an app; off in test mode unless settings enable limits."""

    def __init__(self, settings: Settings, database: Database, clock: Clock | None = None) -> None:
        self._settings = settings.limits
        self.store = RateStore(database)
        self.buckets = Buckets(self._settings.rates if self._settings.enabled else {}, self.store)
        self._lines: dict[str, Line] = {}
        self._clock = CurrentClock(clock or SystemClock())
        self.breakers: dict[str, Breaker] = {}

    def line(self, vendor: str) -> Line | None:
        """Return the line for a vendor; None when its rate is not limited."""
        rate = self._settings.rates.get(vendor) if self._settings.enabled else None
        if rate is None:
            return None
        if vendor not in self._lines:
            self._lines[vendor] = Line(vendor, rate, self.store)
        return self._lines[vendor]

    def breaker(self, vendor: str) -> Breaker | None:
        """Return the breaker of a vendor; None when limits are off."""
        if not self._settings.enabled:
            return None
        if vendor not in self.breakers:
            self.breakers[vendor] = Breaker(vendor, self._clock)
        return self.breakers[vendor]

    def outage(self, vendor: str) -> float | None:
        """Return the seconds after which to try a vendor again that does not answer; None for any other."""
        breaker = self.breakers.get(vendor)
        return None if breaker is None else breaker.outage()
