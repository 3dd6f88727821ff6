"""How many bytes a process holds for its clients, all together: what came and is not processed, and what is to go out.

A client is refused when its process is full, or when its own address holds its share. What is small is never refused,
so that a full process still answers; how many can be small at a time is limited by the number of connections.
"""

from __future__ import annotations

from prometheus_client import Gauge

SMALL = 16 * 1024
HELD = Gauge("daysong_held_bytes", "Bytes held for clients: received and not processed, or not sent yet", ["what"])


class Budget:
    """Bytes held by all, of at most `most`; by one address of at most `share`."""

    def __init__(self, most: int, share: int) -> None:
        self.most = most
        self.share = share
        self.held = 0
        self.of: dict[str, int] = {}

    def fit(self, size: int) -> None:
        """Have room for something of that size, twice at one address."""
        self.share = max(self.share, 2 * size)
        self.most = max(self.most, 2 * self.share)

    @property
    def full(self) -> bool:
        """Whether nothing large is to be taken on now."""
        return self.held >= self.most

    def crowded(self, address: str) -> bool:
        """Whether that address holds its share, or all do together."""
        return self.full or self.of.get(address, 0) >= self.share


class Hold:
    """What is held for one client. `set` it as it changes, to 0 at the end."""

    __slots__ = ("_budget", "address", "size")

    def __init__(self, budget: Budget, address: str) -> None:
        self._budget = budget
        self.address = address
        self.size = 0

    def set(self, size: int) -> bool:
        """Hold so many bytes from now on; False if they are too many, and something is to be given up."""
        more, self.size = size - self.size, size
        budget, address = self._budget, self.address
        if more:
            budget.held += more
            own = budget.of.get(address, 0) + more
            if own:
                budget.of[address] = own
            else:
                budget.of.pop(address, None)
        return size <= SMALL or more <= 0 or (budget.held <= budget.most and budget.of[address] <= budget.share)


# Memory is a process's own, and so are these.
UNREAD = Budget(most=32 * 2**20, share=12 * 2**20)
UNSENT = Budget(most=32 * 2**20, share=8 * 2**20)
HELD.labels("unread").set_function(lambda: UNREAD.held)
HELD.labels("unsent").set_function(lambda: UNSENT.held)
