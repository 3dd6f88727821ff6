"""Lanes: shares of a worker's slots, so that jobs waiting for one vendor do not block others.

Mutations run in the quick lane, since they wait only for PostgreSQL. An action names its lane in its decorator. One
account may use only part of a lane's slots at the same time, over all workers.
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
    PUSH = "daysong push"  # Expo


# In percent. Slots are not shared: free slots of a lane stay free for its own jobs.
SHARES = {Lane.QUICK: 25, Lane.SONGS: 30, Lane.CALLS: 15, Lane.FILES: 10, Lane.ACCOUNTS: 15, Lane.PUSH: 5}
# The share of a lane, in percent, that one account may use.
PART = 25


def slots(lane: Lane, at_once: int) -> int:
    """Return how many jobs of a lane a worker of `at_once` slots runs concurrently."""
    return max(1, at_once * SHARES[lane] // 100)


def slots_of_account(lane: Lane, at_once: int) -> int:
    """Return how many slots of a lane one account may use."""
    return max(1, slots(lane, at_once) * PART // 100)
