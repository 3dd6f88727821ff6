"""Ids that show their kind and sort by time: `diary_01jd…` (TypeID form, a UUIDv7 in Crockford base 32).

Each kind is a type of its own, so that mypy catches one handed over as another.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import ClassVar, Self

from daysong.kernel.time.clock import to_ms

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26


class _Tails:
    """The random part of ids, 74 bits: drawn anew for each millisecond, counting on by random steps within it."""

    def __init__(self) -> None:
        self._millisecond = -1
        self._tail = 0

    def after(self, millisecond: int) -> int:
        """The next one for that millisecond."""
        if millisecond == self._millisecond:
            self._tail = (self._tail + 1 + secrets.randbits(40)) & (1 << 74) - 1
        else:
            # The top bit is left free to count into.
            self._millisecond, self._tail = millisecond, secrets.randbits(73)
        return self._tail


_tails = _Tails()


class TypedId(str):
    """Base of all ids: a string with its kind's prefix."""

    __slots__ = ()
    prefix: ClassVar[str]

    @classmethod
    def new(cls, now: datetime) -> Self:
        """A fresh id that sorts after those made in earlier milliseconds, and earlier in this one by this process.

        RFC 9562, version 7, with the random part counting on within a millisecond (method 2).
        """
        millisecond = int(to_ms(now)) & (1 << 48) - 1
        tail = _tails.after(millisecond)
        value = millisecond << 80 | 0x7 << 76 | tail >> 62 << 64 | 0b10 << 62 | tail & (1 << 62) - 1
        return cls(f"{cls.prefix}_{_base32(value)}")


class RandomId(TypedId):
    """An id that says nothing about its time and cannot be guessed: 130 random bits."""

    __slots__ = ()

    @classmethod
    def new(cls, now: datetime | None = None) -> Self:  # noqa: ARG003 - same call as its siblings
        """A fresh unguessable id."""
        return cls(f"{cls.prefix}_{_base32(secrets.randbits(130))}")

    @classmethod
    def of(cls, digest: bytes) -> Self:
        """The id of a digest of at least 17 bytes: always the same for the same one."""
        return cls(f"{cls.prefix}_{_base32(int.from_bytes(digest[:17], 'big') & (1 << 130) - 1)}")


def _base32(value: int) -> str:
    return "".join(ALPHABET[value >> 5 * place & 31] for place in reversed(range(LENGTH)))


class UserId(TypedId):
    """A person's account."""

    __slots__ = ()
    prefix = "user"


class SubscriptionId(TypedId):
    """A person's plan and where it stands."""

    __slots__ = ()
    prefix = "sub"


class SubscriptionLogId(TypedId):
    """A change to what somebody may use."""

    __slots__ = ()
    prefix = "sublog"


class ParkedCustomerId(TypedId):
    """A customer of RevenueCat's who is nobody here yet."""

    __slots__ = ()
    prefix = "parked"


class ChargeId(TypedId):
    """One generation taken from a quota."""

    __slots__ = ()
    prefix = "charge"


class DiaryId(TypedId):
    """A diary entry."""

    __slots__ = ()
    prefix = "diary"


class GenerationId(TypedId):
    """One try at making a song out of a diary entry."""

    __slots__ = ()
    prefix = "gen"


class MusicId(TypedId):
    """One track."""

    __slots__ = ()
    prefix = "music"


class FileId(RandomId):
    """A stored audio or image file; knowing the id is the permission to fetch it."""

    __slots__ = ()
    prefix = "file"


class ShareRowId(TypedId):
    """A share link's row (the link itself carries a short share id)."""

    __slots__ = ()
    prefix = "share"


class CallSettingsId(TypedId):
    """When somebody wants to be called, and where."""

    __slots__ = ()
    prefix = "callset"


class CallJobId(TypedId):
    """A call that was due."""

    __slots__ = ()
    prefix = "call"


class CallSessionId(TypedId):
    """What was said in a call."""

    __slots__ = ()
    prefix = "talk"


class CallMinutesId(TypedId):
    """What a call has taken of the minutes of a plan."""

    __slots__ = ()
    prefix = "minutes"


class EventId(TypedId):
    """A vendor's event in the webhook inbox."""

    __slots__ = ()
    prefix = "event"


class ErasureId(RandomId):
    """The erasure of a deleted account, which it names without telling whose that was."""

    __slots__ = ()
    prefix = "erasure"


class JobId(TypedId):
    """A scheduled run of a function."""

    __slots__ = ()
    prefix = "job"
