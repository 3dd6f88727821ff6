"""The garbage collector of a process that serves or works for long."""

from __future__ import annotations

import gc

# Objects made and not yet released, before the young ones are searched for cycles; Python's default is 700, which the
# requests in flight exceed again and again with what they release by themselves.
MOST_YOUNG = 10_000


def pause() -> None:
    """Collect no garbage until `settle`: what is imported and built stays, and is not scanned for it."""
    gc.disable()


def settle() -> None:
    """Collect again, rarely, and without the objects that exist now, since scanning them would block the event loop.

    Nor are they scanned now: hardly any is garbage, and to look for it takes 50 ms.
    """
    gc.freeze()
    gc.set_threshold(MOST_YOUNG, *gc.get_threshold()[1:])
    gc.enable()
