"""Lanes: shares of a worker's slots, so that what waits for one vendor keeps nothing else waiting.

A mutation runs in the quick lane: it waits for PostgreSQL alone. An action names its lane on its decorator. Of one
account at most a part of a lane's slots run at the same time, over all workers.
"""

from __future__ import annotations

import enum


class Lane(enum.Enum):
    """A share of the slots; the value is the name of its entrypoint in the queue."""

    QUICK = "daysong"  # webhooks and crons
    SONGS = "daysong songs"  # OpenAI, Suno
    CALLS = "daysong calls"  # VAPI
    FILES = "daysong files"  # stored files
    ACCOUNTS = "daysong accounts"  # RevenueCat, Clerk


# In percent. Each lane has its slots for itself: those that are free stay free for its own jobs.
SHARES = {Lane.QUICK: 25, Lane.SONGS: 35, Lane.CALLS: 15, Lane.FILES: 10, Lane.ACCOUNTS: 15}
# The part of its lane, in percent, that one account may have.
PART = 25


def slots(lane: Lane, at_once: int) -> int:
    """How many jobs of a lane run at once in a worker that runs `at_once`."""
    return max(1, at_once * SHARES[lane] // 100)


def slots_of_account(lane: Lane, at_once: int) -> int:
    """How many of these may be of one account."""
    return max(1, slots(lane, at_once) * PART // 100)
