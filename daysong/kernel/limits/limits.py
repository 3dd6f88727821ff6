"""The limits of an app, built from its settings."""

from __future__ import annotations

from daysong.kernel.database.transactions import Database
from daysong.kernel.limits.buckets import Buckets
from daysong.kernel.limits.lines import Line
from daysong.kernel.limits.store import RateStore
from daysong.kernel.settings import Settings


class Limits:
    """The inbound buckets and vendor lines of an app; off in test mode unless settings enable limits."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings.limits
        self.store = RateStore(database)
        self.buckets = Buckets(self._settings.rates if self._settings.enabled else {}, self.store)
        self._lines: dict[str, Line] = {}

    def line(self, vendor: str) -> Line | None:
        """Return the line for a vendor; None when its rate is not limited."""
        rate = self._settings.rates.get(vendor) if self._settings.enabled else None
        if rate is None:
            return None
        if vendor not in self._lines:
            self._lines[vendor] = Line(vendor, rate, self.store)
        return self._lines[vendor]
