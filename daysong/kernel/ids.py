"""Typed ids, sortable by time: `diary_01jd…` (TypeID: a prefix that shows the kind, and a UUIDv7 in base 32).

Each kind is a type of its own, so that mypy rejects one passed as another.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from datetime import datetime
from typing import ClassVar, Self

from daysong.kernel.time.clock import to_ms

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26
# Of a text from a client that may be an id.
LONGEST = 64


class _Tails:
    """The random part of ids, 74 bits: new for each millisecond, incremented by random steps within it."""

    def __init__(self) -> None:
        self._millisecond = -1
        self._tail = 0

    def after(self, millisecond: int) -> int:
        """Return the next value for that millisecond."""
        if millisecond == self._millisecond:
            self._tail = (self._tail + 1 + secrets.randbits(40)) & (1 << 74) - 1
        else:
            # The top bit stays free, so that increments do not overflow.
            self._millisecond, self._tail = millisecond, secrets.randbits(73)
        return self._tail


# By prefix: an id of a later moment, such as that of a job that is due, must not begin the ids of now anew.
_tails: defaultdict[str, _Tails] = defaultdict(_Tails)


class TypedId(str):
    """Base of all ids: a string with its kind's prefix."""

    __slots__ = ()
    prefix: ClassVar[str]

    @classmethod
    def new(cls, now: datetime) -> Self:
        """Return a new id, which sorts after those of its kind of earlier milliseconds, and after this process's own.

        RFC 9562, version 7, with a monotonic random part within a millisecond (method 2).
        """
        millisecond = int(to_ms(now)) & (1 << 48) - 1
        tail = _tails[cls.prefix].after(millisecond)
        value = millisecond << 80 | 0x7 << 76 | tail >> 62 << 64 | 0b10 << 62 | tail & (1 << 62) - 1
        return cls(f"{cls.prefix}_{_base32(value)}")


class RandomId(TypedId):
    """An id without a time, which cannot be guessed: 130 random bits."""

    __slots__ = ()

    @classmethod
    def new(cls, now: datetime | None = None) -> Self:  # noqa: ARG003 - same call as its siblings
        """Return a new random id."""
        return cls(f"{cls.prefix}_{_base32(secrets.randbits(130))}")

    @classmethod
    def of(cls, digest: bytes) -> Self:
        """Return the id of a digest of at least 17 bytes; the same digest gives the same id."""
        return cls(f"{cls.prefix}_{_base32(int.from_bytes(digest[:17], 'big') & (1 << 130) - 1)}")


# Two digits at a time, in half the steps.
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_SHIFTS = range(5 * (LENGTH - 2), -1, -10)


def _base32(value: int) -> str:
    return "".join([_PAIRS[value >> shift & 1023] for shift in _SHIFTS])


class UserId(TypedId):
    """A user's account."""

    __slots__ = ()
    prefix = "user"


class SubscriptionId(TypedId):
    """A user's subscription."""

    __slots__ = ()
    prefix = "sub"


class SubscriptionLogId(TypedId):
    """A logged change of a subscription."""

    __slots__ = ()
    prefix = "sublog"


class ParkedCustomerId(TypedId):
    """A RevenueCat customer without an account here yet."""

    __slots__ = ()
    prefix = "parked"


class ChargeId(TypedId):
    """One generation charged to a quota."""

    __slots__ = ()
    prefix = "charge"


class GrantId(TypedId):
    """Songs that an operator gave to an account."""

    __slots__ = ()
    prefix = "grant"


class DiaryId(TypedId):
    """A diary entry."""

    __slots__ = ()
    prefix = "diary"


class MemoryEventId(TypedId):
    """What happened, as read from a diary entry."""

    __slots__ = ()
    prefix = "memory"


class PersonId(TypedId):
    """A person that events name."""

    __slots__ = ()
    prefix = "person"


class TagId(TypedId):
    """A tag of events."""

    __slots__ = ()
    prefix = "tag"


class ReadingId(TypedId):
    """A request to a model to read an entry or events."""

    __slots__ = ()
    prefix = "reading"


class GenerationId(TypedId):
    """One generation of a song from a diary entry."""

    __slots__ = ()
    prefix = "gen"


class MusicId(TypedId):
    """One track."""

    __slots__ = ()
    prefix = "music"


class VideoId(TypedId):
    """A video of a track."""

    __slots__ = ()
    prefix = "video"


class UserSongId(TypedId):
    """A song in a person's library, their own or another's."""

    __slots__ = ()
    prefix = "song"


class FileId(RandomId):
    """A stored file. The id is the permission to fetch it, except for private files."""

    __slots__ = ()
    prefix = "file"


class DiaryMediaId(TypedId):
    """A photo or a video of an entry."""

    __slots__ = ()
    prefix = "media"


class UploadId(RandomId):
    """An upload address, for one file."""

    __slots__ = ()
    prefix = "upload"


class ShareRowId(TypedId):
    """A share link's row (the link itself carries a short share id)."""

    __slots__ = ()
    prefix = "share"


class CallSettingsId(TypedId):
    """A user's call settings: when and at which number."""

    __slots__ = ()
    prefix = "callset"


class CallJobId(TypedId):
    """A scheduled call."""

    __slots__ = ()
    prefix = "call"


class CallSessionId(TypedId):
    """The session of a call, with its transcript."""

    __slots__ = ()
    prefix = "talk"


class CallMinutesId(TypedId):
    """The minutes of a plan that a call has used."""

    __slots__ = ()
    prefix = "minutes"


class InvitationId(TypedId):
    """An e-mail address that asked to be notified."""

    __slots__ = ()
    prefix = "invite"


class BlogPostId(TypedId):
    """A post of the blog."""

    __slots__ = ()
    prefix = "post"


class PushTokenId(TypedId):
    """A device that shows a person's notifications."""

    __slots__ = ()
    prefix = "device"


class PushOccasionId(TypedId):
    """Something to notify a person of."""

    __slots__ = ()
    prefix = "occasion"


class EventId(TypedId):
    """A vendor's event in the webhook inbox."""

    __slots__ = ()
    prefix = "event"


class ErasureId(RandomId):
    """The erasure of a deleted account; it does not identify the account."""

    __slots__ = ()
    prefix = "erasure"


class JobId(TypedId):
    """A scheduled run of a function."""

    __slots__ = ()
    prefix = "job"


def may_be_id(text: str) -> bool:
    """Whether a client's text may be an id to look up: short, and without NUL, which PostgreSQL refuses."""
    return len(text) <= LONGEST and "\0" not in text
