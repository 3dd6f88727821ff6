"""Rates, by GCRA (generic cell rate algorithm), which needs one timestamp per rate and key.

The timestamp `next_at` is the theoretical arrival time of the next request. Each request moves it on by `interval`, and
is allowed when `next_at` is no more than `slack` ahead of now. So `burst` requests are allowed at once after an idle
time, and then one per interval.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"(\d{1,9})\s*/\s*(\d{1,6})?\s*(s|m|h|d)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Rate:
    """At most `most` requests in `seconds`.

    A vendor may count in any window of that length, so a strict rate allows a burst of only a fifth and stays within
    the rate in every window. Other rates allow all at once, and again as time passes.
    """

    most: int
    seconds: float
    strict: bool = False

    @property
    def burst(self) -> int:
        """How many requests are allowed at once after an idle time."""
        return max(1, self.most // 5) if self.strict else self.most

    @property
    def interval(self) -> float:
        """Seconds by which each request moves `next_at`."""
        return self.seconds / max(1, self.most - self.burst) if self.strict else self.seconds / self.most

    @property
    def slack(self) -> float:
        """How many seconds `next_at` may be ahead of now for a request to be allowed."""
        return (self.burst - 1) * self.interval

    def __str__(self) -> str:
        return f"{self.most}/{self.seconds:g}s"


def parse(text: str, *, strict: bool) -> Rate | None:
    """Parse a rate such as `20/10s`, `480/1m` or `60/h`; None for `off`, ValueError when it is invalid."""
    if text.strip().lower() == "off":
        return None
    found = _FORM.fullmatch(text.strip().lower())
    if found is None or int(found[1]) < 1 or int(found[2] or 1) < 1:
        raise ValueError(text)
    return Rate(int(found[1]), float(int(found[2] or 1) * _UNITS[found[3]]), strict)
