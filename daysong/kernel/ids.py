"""Ids that show their kind and sort by time: `diary_01jd…` (TypeID form, a UUIDv7 in Crockford base 32).

Each kind is a type of its own, so that mypy catches one handed over as another.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import ClassVar, Self

from daysong.kernel.clock import to_ms

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26


class TypedId(str):
    """Base of all ids: a string with its kind's prefix."""

    __slots__ = ()
    prefix: ClassVar[str]

    @classmethod
    def new(cls, now: datetime) -> Self:
        """A fresh id that sorts after those made in earlier milliseconds (RFC 9562, version 7)."""
        value = (int(to_ms(now)) & (1 << 48) - 1) << 80
        value |= 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
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


class EventId(TypedId):
    """A vendor's event in the webhook inbox."""

    __slots__ = ()
    prefix = "event"


class JobId(TypedId):
    """A scheduled run of a function."""

    __slots__ = ()
    prefix = "job"
