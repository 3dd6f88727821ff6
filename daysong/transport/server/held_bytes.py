"""Budgets of the bytes that a process holds for its clients: received and not processed, or not sent yet.

A client is refused when the process is full or the client's address has used its share. Small amounts are never
refused, so that a full process still responds; the number of connections limits their sum.
"""

from __future__ import annotations

from prometheus_client import Gauge

SMALL = 16 * 1024
HELD = Gauge("daysong_held_bytes", "Bytes held for clients, received and not processed, or not sent yet", ["what"])


class Budget:
    """A budget of `most` bytes in total and `share` bytes per address."""

    def __init__(self, most: int, share: int) -> None:
        self.most = most
        self.share = share
        self.held = 0
        self.by_address: dict[str, int] = {}

    def fit(self, size: int) -> None:
        """Raise the budget so that one address can hold two items of that size."""
        self.share = max(self.share, 2 * size)
        self.most = max(self.most, 2 * self.share)

    @property
    def full(self) -> bool:
        """Whether the budget is used up."""
        return self.held >= self.most

    def crowded(self, address: str) -> bool:
        """Whether the share of that address or the whole budget is used up."""
        return self.full or self.by_address.get(address, 0) >= self.share


class Hold:
    """The bytes held for one client. Call `set` at each change, with 0 at the end."""

    __slots__ = ("_budget", "address", "size")

    def __init__(self, budget: Budget, address: str) -> None:
        self._budget = budget
        self.address = address
        self.size = 0

    def set(self, size: int) -> bool:
        """Record that `size` bytes are held; False when they exceed the budget, and the caller must release them."""
        more, self.size = size - self.size, size
        budget, address = self._budget, self.address
        if more:
            budget.held += more
            own = budget.by_address.get(address, 0) + more
            if own:
                budget.by_address[address] = own
            else:
                budget.by_address.pop(address, None)
        return size <= SMALL or more <= 0 or (budget.held <= budget.most and budget.by_address[address] <= budget.share)


# Per process, as memory is.
UNREAD = Budget(most=32 * 2**20, share=12 * 2**20)
UNSENT = Budget(most=32 * 2**20, share=8 * 2**20)
HELD.labels("unread").set_function(lambda: UNREAD.held)
HELD.labels("unsent").set_function(lambda: UNSENT.held)
