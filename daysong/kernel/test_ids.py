from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel import ids
from daysong.kernel.ids import DiaryId, FileId, JobId, RandomId, TypedId

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KINDS = [
    kind
    for kind in vars(ids).values()
    if isinstance(kind, type) and issubclass(kind, TypedId) and kind not in {TypedId, RandomId}
]

moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - strategy's


@given(moments, st.timedeltas(timedelta(milliseconds=1), timedelta(days=10_000)))
def test_later_ids_sort_after_earlier_ones(moment: datetime, later: timedelta) -> None:
    """From one millisecond to the next, as plain text."""
    assert DiaryId.new(moment) < DiaryId.new(moment + later)


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_shows_its_kind(kind: type[TypedId]) -> None:
    """A prefix of its own, then 26 characters none of which is taken for another."""
    prefix, _, rest = kind.new(NOW).partition("_")
    assert prefix == kind.prefix
    assert len(rest) == 26
    assert not set(rest) & set("ilou") and rest.isascii() and rest == rest.lower()  # noqa: PT018 - one thought
    assert [other for other in KINDS if other.prefix == kind.prefix] == [kind]


def test_ids_of_one_moment_differ() -> None:
    """74 random bits tell them apart."""
    assert len({DiaryId.new(NOW) for _ in range(10_000)}) == 10_000


def test_ids_of_one_moment_are_in_the_order_in_which_they_were_made() -> None:
    """Also when ids of another kind and a later moment are made in between, as those of jobs are."""
    made = []
    for _ in range(100):
        made.append(DiaryId.new(NOW))
        JobId.new(NOW + timedelta(seconds=30))
    assert made == sorted(made)


def test_an_id_is_a_version_7_uuid() -> None:
    """The milliseconds, the version and the variant are where RFC 9562 has them."""
    value = 0
    for letter in DiaryId.new(NOW).partition("_")[2]:
        value = value << 5 | ids.ALPHABET.index(letter)
    assert value >> 80 == NOW.timestamp() * 1000
    assert value >> 76 & 0xF == 7
    assert value >> 62 & 0b11 == 0b10


def test_a_random_id_says_nothing_of_its_time() -> None:
    """It can be neither guessed nor dated, so that knowing it may be a permission."""
    some = [FileId.new(NOW) for _ in range(1000)]
    assert len({each[5:15] for each in some}) == 1000
    assert len({FileId.new() for _ in range(1000)}) == 1000


def test_the_id_of_a_digest_is_always_the_same() -> None:
    """The same digest gives the same id, on every machine and in every version; another gives another."""
    assert FileId.of(hashlib.sha256(b"la").digest()) == FileId.of(hashlib.sha256(b"la").digest())
    assert FileId.of(hashlib.sha256(b"la").digest()) == "file_sqs9zearxeg3j5fesx3qz69vej"
    assert len({FileId.of(hashlib.sha256(bytes([n])).digest()) for n in range(256)}) == 256
