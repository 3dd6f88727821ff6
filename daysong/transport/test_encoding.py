"""How results become JSON."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from daysong.kernel.functions.declarations import Result
from daysong.transport import encoding

pytestmark = pytest.mark.anyio


class Word(Result):
    """A part of a result."""

    text: str
    place: int


@pytest.mark.parametrize(
    ("value", "large"),
    [
        (None, False),
        ("x" * 10_000_000, False),
        ([1.0] * encoding.FEW, False),
        ([1.0] * (encoding.FEW + 1), True),
        ([Word("a", number) for number in range(encoding.FEW // 2)], True),
        ({"words": [{"at": 1.0}] * 500}, False),
        ({"words": [{"at": [1.0, 2.0, 3.0, 4.0]}] * 500}, True),
    ],
)
def test_a_result_is_large_by_how_many_values_it_has(value: Any, large: bool) -> None:
    assert encoding.is_large(value) == large


async def test_g41_a_large_result_is_what_a_small_one_would_be() -> None:
    """In every form; and what has none fails as ever."""
    words = [Word("a", number) for number in range(5_000)]
    for form in ("json", "convex_encoded_json"):
        assert await encoding.encoded(words, form) == encoding.at_once(words, form)
    assert msgspec.json.decode(await encoding.encoded(words))[7] == {"text": "a", "place": 7.0}
    with pytest.raises(TypeError):
        await encoding.encoded([object()] * 5_000)


def test_a_result_that_no_client_takes_is_refused() -> None:
    with pytest.raises(encoding.ResultTooLarge):
        encoding.within(b"1234", 3)
