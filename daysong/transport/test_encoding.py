"""Encoding of results as JSON."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import NoArgs, Result, query
from daysong.kernel.functions.registry import Registry, module
from daysong.kernel.values import Format
from daysong.transport import encoding

pytestmark = pytest.mark.anyio


class Word(Result):
    """A part of a result."""

    text: str
    place: int


@query
async def words(ctx: QueryContext, args: NoArgs) -> list[Word]:
    """Return all words."""
    return []


@query
async def anything(ctx: QueryContext, args: NoArgs) -> Any:
    """Return any value."""


REGISTRY = Registry([module("texts", public=(words, anything))])
FORMS: tuple[Format, ...] = ("json", "convex_encoded_json")


@pytest.mark.parametrize("handler", [words, anything])
async def test_g41_a_large_result_is_encoded_like_a_small_one(handler: Any) -> None:
    """In every format; a value that cannot be encoded fails in both paths."""
    function = REGISTRY.of(handler)
    value = [Word("a", number) for number in range(5_000)]
    for form in FORMS:
        assert await encoding.encode(function, value, form) == encoding.encode_now(function, value, form)
    assert msgspec.json.decode(await encoding.encode(function, value))[7] == {"text": "a", "place": 7.0}
    for count in (1, 5_000):
        with pytest.raises(TypeError):
            await encoding.encode(function, [object()] * count)


def test_a_result_over_the_size_limit_is_refused() -> None:
    with pytest.raises(encoding.ResultTooLarge):
        encoding.check_size(b"1234", 3)
