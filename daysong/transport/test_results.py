"""Encoding by result type gives the same JSON as the exact encoder."""

from __future__ import annotations

import math
import types
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from daysong.kernel.functions import results
from daysong.kernel.functions.declarations import Result
from daysong.kernel.functions.registry import Function, Registry
from daysong.kernel.functions.results import ResultEncoder
from daysong.kernel.ids import DiaryId
from daysong.kernel.values import Format, Int64, StoredJson
from daysong.surface import SURFACE

FORMS: tuple[Format, ...] = ("json", "convex_encoded_json")
PUBLIC = {function.identifier: function for function in Registry(SURFACE) if function.public}

numbers = st.one_of(
    st.floats(), st.integers(), st.sampled_from([-0.0, 0, 0.0, 1e308, 5e-324, 2**53 + 1, -(2**63), 10**30])
)
# Those that need no conversion.
plain_numbers = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: str(number) != "-0.0")
SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    None: st.none(),
    type(None): st.none(),
    msgspec.UnsetType: st.just(msgspec.UNSET),
    bool: st.booleans(),
    # Compact, so that it is the same to the byte.
    StoredJson: st.sampled_from(['{"words":[{"at":1.5,"word":"é"}]}', "[]", '"x"']).map(StoredJson),
    Any: st.one_of(numbers, st.binary(max_size=4), st.text(max_size=4), st.just({"at": -0.0})),
}


class Word(Result):
    """A part of a result."""

    text: str
    place: float
    sung_at: float | msgspec.UnsetType = msgspec.UNSET


class Mixed(Result):
    """A type with every kind of field, also itself."""

    number: Int64 = Int64(2**60)
    data: bytes = b"\0"
    more: Any = None
    inner: Mixed | None = None
    lines: list[Any] | None = None


def anything(kind: Any, number: st.SearchStrategy[float] = numbers) -> st.SearchStrategy[Any]:
    """Values of a result type, with these numbers where it has numbers."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in {typing.Union, types.UnionType}:
        return st.one_of([anything(one, number) for one in inner])
    if origin is list or (origin is tuple and inner[1:] == (...,)):
        return st.lists(anything(inner[0], number), max_size=3).map(origin)
    if origin is dict:
        return st.dictionaries(anything(inner[0], number), anything(inner[1], number), max_size=3)
    if origin is typing.Literal:
        return st.sampled_from(inner)
    if kind in SIMPLE:
        return SIMPLE[kind]
    if kind in {int, float}:
        return number
    if issubclass(kind, str):
        return st.text(st.characters(codec="utf-8"), max_size=5).map(kind)
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: anything(hints[name], number) for name in kind.__struct_fields__})


def outcome(encode: Any, *args: Any) -> Any:
    """Return the result of a call, or the type of its error."""
    try:
        return encode(*args)
    except Exception as error:  # noqa: BLE001 - compared with the other encoder
        return type(error)


@pytest.mark.parametrize("name", PUBLIC)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_public_function_is_encoded_as_by_the_exact_encoder(name: str, data: st.DataObject) -> None:
    """To the byte, in both formats: NaN, -0.0, integers as floats, those beyond 2^53, NUL; and without such numbers."""
    function: Function = PUBLIC[name]
    value = data.draw(anything(function.result_type, data.draw(st.sampled_from([numbers, plain_numbers]))))
    for form in FORMS:
        encoded = outcome(function.encoder.encode, value, form)
        assert encoded == outcome(results.exactly, value, form)


def test_every_public_function_has_an_encoding_plan() -> None:
    """None of them takes the slow path, unless it is listed here with a reason."""
    assert [name for name, function in PUBLIC.items() if not function.encoder.is_planned] == []


@pytest.mark.parametrize("kind", [Any, bytes, list[Any], Int64, dict[str, Int64] | None, dict[int, str], set[str]])
def test_a_type_with_unknown_parts_has_no_encoding_plan(kind: Any) -> None:
    """Its results are encoded by the exact encoder."""
    encoder = ResultEncoder(kind)
    assert not encoder.is_planned
    assert encoder.encode([b"\0", Int64(7)], "convex_encoded_json") == (
        b'[{"$bytes":"AA=="},{"$integer":"BwAAAAAAAAA="}]'
    )


@pytest.mark.parametrize("form", FORMS)
def test_only_parts_of_unknown_type_use_the_exact_encoder(form: Format) -> None:
    value = Mixed(more=[Int64(7), -0.0, 5, b"\xff"], inner=Mixed(lines=[5, Word("a", 1)]), lines=[{"at": math.nan}])
    encoder = ResultEncoder(Mixed)
    assert encoder.is_planned
    assert encoder.encode(value, form) == results.exactly(value, form)


@settings(max_examples=50, deadline=None)
@given(value=anything(dict[str, list[Word] | Word | float] | tuple[float, ...]), form=st.sampled_from(FORMS))
def test_numbers_are_converted_at_every_depth_of_a_type(value: Any, form: Format) -> None:
    encoder = ResultEncoder(dict[str, list[Word] | Word | float] | tuple[float, ...])
    assert encoder.is_planned
    assert outcome(encoder.encode, value, form) == outcome(results.exactly, value, form)


class LongWord(Word):
    """A part of a result with more numbers than what it is a kind of."""

    lengths: list[int] | None = None


class Numberless(Result):
    """A part of a result that can hold no numbers."""

    text: str


NUMBERS: list[Any] = [
    -0.0,
    math.nan,
    math.inf,
    -math.inf,
    5,
    -5,
    2**60,
    Int64(7),
    0.0,
    -1.5,
    2.5,
    True,
    None,
    "5",
]
UNIONS = Word | LongWord | Numberless | list[str] | list[float] | dict[str, str] | dict[str, float] | StoredJson | None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", NUMBERS, ids=repr)
def test_no_number_is_sent_without_a_look(number: Any, form: Format) -> None:
    """Wherever it stands: in a subclass, in a list or object of a union, alone, in a dict in place of a struct."""
    for kind, value in (
        (float, number),
        (list[float], [1.5, number]),
        (tuple[float, ...], (1.5, number)),
        (dict[str, float], {"a": 1.5, "b": number}),
        (Word, Word("a", number)),
        (Word, Word("a", 1.5, number)),
        (Word, {"text": "a", "place": number}),
        (list[Word | None], [None, Word("a", 1.5), Word("b", 1.5, number)]),
        (dict[str, list[Word]], {"a": [], "b": [Word("b", number)]}),
        (UNIONS, LongWord("a", number)),
        (UNIONS, LongWord("a", 1.5, lengths=[number])),
        (UNIONS, Word("a", number)),
        (UNIONS, [1.5, number]),
        (UNIONS, {"a": 1.5, "b": number}),
        (list[str] | float, number),
        (Numberless | float, number),
        (StoredJson | float, number),
    ):
        assert outcome(ResultEncoder(kind).encode, value, form) == outcome(results.exactly, value, form), kind


@pytest.mark.parametrize("form", FORMS)
def test_typed_ids_and_omitted_fields_are_encoded_with_plain_numbers(form: Format) -> None:
    value = [Word(DiaryId("diary_1"), 1.5, UNSET), Word("é\0", 0.0, 1e300)]
    assert ResultEncoder(list[Word]).encode(value, form) == results.exactly(value, form)
    assert results.exactly(value, form) == (
        b'[{"text":"diary_1","place":1.5},{"text":"\xc3\xa9\\u0000","place":0.0,"sungAt":1e300}]'
    )


@pytest.mark.parametrize(
    ("value", "large"),
    [
        (None, False),
        ("x" * 10_000_000, False),
        ([1.0] * results.FEW, False),
        ([1.0] * (results.FEW + 1), True),
        ([Word("a", number) for number in range(results.FEW // 2)], True),
        ({"words": [{"at": 1.0}] * 500}, False),
        ({"words": [{"at": [1.0, 2.0, 3.0, 4.0]}] * 500}, True),
    ],
)
def test_a_result_is_large_by_its_number_of_values(value: Any, large: bool) -> None:
    assert ResultEncoder(Any).is_large(value) == large


@pytest.mark.parametrize(
    ("kind", "value", "large"),
    [
        (None, None, False),
        (Word, Word("a", 1), False),
        (list[float], [1.0] * results.FEW, False),
        (list[float], [1.0] * (results.FEW + 1), True),
        (list[Word] | None, [Word("a", 1)] * 10, False),
        (list[Word] | None, [Word("a", 1)] * 700, True),
        (list[list[Word]], [[Word("a", 1)] * 70] * 10, True),
        (dict[str, list[float]], {"at": [1.0] * 3000}, True),
    ],
)
def test_a_result_with_a_plan_is_large_by_its_number_of_values(kind: Any, value: Any, large: bool) -> None:
    encoder = ResultEncoder(kind)
    assert encoder.is_planned
    assert encoder.is_large(value) == large


class Timed(Result):
    """A result with stored JSON."""

    words: StoredJson | UnsetType = UNSET
    duration: float = 1.5


def test_stored_json_is_the_same_value_on_both_paths() -> None:
    """Copied as it is where the type is known, decoded where it is not."""

    song = Timed(words=StoredJson('{"alignedWords": [{"startS": 1.0, "word": "é\\u0041"}], "hootCer": 0.25}'))
    quick, exact = ResultEncoder(list[Timed]).encode([song, Timed()], "json"), results.exactly([song, Timed()], "json")
    words = {"alignedWords": [{"startS": 1.0, "word": "éA"}], "hootCer": 0.25}
    assert msgspec.json.decode(quick) == [{"words": words, "duration": 1.5}, {"duration": 1.5}]
    assert msgspec.json.decode(exact) == msgspec.json.decode(quick)
