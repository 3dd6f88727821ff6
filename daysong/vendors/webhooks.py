"""What is wrong with a request that claims to be a vendor's webhook."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from daysong.kernel.errors import DaysongError


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause the garbage collector while a body is decoded, without an await inside.

    It would run again and again while many small values are built: half a MiB of empty arrays takes 25 ms then, and 12
    without it.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class UnsignedEvent(DaysongError):
    """The sender has not proved to be the vendor; `message` says what was wrong and repeats nothing."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class MalformedEvent(DaysongError):
    """The body is no event of the vendor's; `message` names what is wrong. `code` is what the vendor is answered."""

    def __init__(self, message: str, *, code: str = "MalformedEvent") -> None:
        self.message = message
        self.code = code
        super().__init__(message)
