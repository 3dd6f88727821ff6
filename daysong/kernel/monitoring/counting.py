"""Counters of what transactions do: those of one that is rolled back, or runs again, count nothing.

`count` is for code inside a mutation; `Database.mutate` adds up what was counted once it has committed. Outside of
mutations it counts at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from prometheus_client import Counter

_LABEL = re.compile(r"[A-Za-z0-9_.-]{1,40}")

_counted: ContextVar[list[tuple[Counter, int]] | None] = ContextVar("counted", default=None)


def count(counter: Counter, amount: int = 1) -> None:
    """Add to a counter when the transaction around this commits."""
    counted = _counted.get()
    if counted is None:
        counter.inc(amount)
    else:
        counted.append((counter, amount))


@contextmanager
def uncommitted() -> Iterator[list[tuple[Counter, int]]]:
    """Collect what is counted inside, for `commit`; without it nothing was counted."""
    counted: list[tuple[Counter, int]] = []
    token = _counted.set(counted)
    try:
        yield counted
    finally:
        _counted.reset(token)


def commit(counted: list[tuple[Counter, int]]) -> None:
    """Add what was collected to its counters."""
    for counter, amount in counted:
        counter.inc(amount)


def label(text: str | None) -> str:
    """Return a code as the value of a label: a short word, empty for none, and `other` for anything else."""
    return "" if not text else text if _LABEL.fullmatch(text) else "other"


def rows_of(status: str) -> int:
    """Return the number of rows in the command tag of a statement, such as `UPDATE 3`."""
    number = status.rpartition(" ")[2]
    return int(number) if number.isdigit() else 0
