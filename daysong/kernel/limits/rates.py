"""A rate: so many in so many seconds. The arithmetic is GCRA's, which needs one timestamp for each rate and key.

The timestamp `next_at` says until when all that was allowed so far is paid for by time passed. Each request moves it on
by `interval`, and may go as soon as `next_at` is no more than `slack` ahead of now. So `burst` requests may go at once
after a rest, and then one in each interval.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"(\d{1,9})\s*/\s*(\d{1,6})?\s*(s|m|h|d)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Rate:
    """At most `most` in `seconds`.

    A vendor counts in any window of that length, so a strict rate allows a burst of only a fifth and stays within it
    whatever the window. Any other allows all at once, and again as time passes.
    """

    most: int
    seconds: float
    strict: bool = False

    @property
    def burst(self) -> int:
        """How many may go at once after a rest."""
        return max(1, self.most // 5) if self.strict else self.most

    @property
    def interval(self) -> float:
        """Seconds that each request pays with."""
        return self.seconds / max(1, self.most - self.burst) if self.strict else self.seconds / self.most

    @property
    def slack(self) -> float:
        """How far ahead of now, in seconds, `next_at` may be for a request to go."""
        return (self.burst - 1) * self.interval

    def __str__(self) -> str:
        return f"{self.most}/{self.seconds:g}s"


def parse(text: str, *, strict: bool) -> Rate | None:
    """A rate as settings have it: `20/10s`, `480/1m`, `60/h`; ValueError when it is none, None for `off`."""
    if text.strip().lower() == "off":
        return None
    found = _FORM.fullmatch(text.strip().lower())
    if found is None or int(found[1]) < 1 or int(found[2] or 1) < 1:
        raise ValueError(text)
    return Rate(int(found[1]), float(int(found[2] or 1) * _UNITS[found[3]]), strict)
