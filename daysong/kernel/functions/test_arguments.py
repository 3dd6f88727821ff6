"""Arguments from JSON: every form a client sends, and bounds on what a stranger does."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel import values
from daysong.kernel.functions.arguments import (
    LARGEST,
    MAX_VALUES,
    ArgumentsTooLarge,
    BadArguments,
    Reader,
    replace_lone_surrogates,
)
from daysong.kernel.functions.declarations import Args


class Inner(Args):
    """A part."""

    tempo: float = 1.0


class Asked(Args):
    """Of every kind that JSON has."""

    text: str = ""
    count: int | None = None
    days: list[int] = msgspec.field(default_factory=list)
    sure: bool = False
    inner: Inner | msgspec.UnsetType = msgspec.UNSET


class Anything(Args):
    """Any value."""

    value: Any


plain, anything = Reader(Asked), Reader(Anything)


@pytest.mark.parametrize("form", ["%s", "[%s]", " [ %s ] ", "\n%s\t"])
def test_arguments_come_bare_or_in_an_array(form: str) -> None:
    """JS sends an array of one object, Python the object."""
    assert plain.decode((form % '{"text":"a","days":[1,2]}').encode()) == Asked(text="a", days=[1, 2])


def test_no_arguments_are_an_empty_object() -> None:
    assert plain.decode(b"[]") == plain.decode(b"{}") == Asked()


@pytest.mark.parametrize("raw", ["null", "1", '"x"', "[1]", "[{},{}]", "[[]]", "true", "[null]"])
def test_what_is_no_object_is_refused(raw: str) -> None:
    with pytest.raises(BadArguments, match="must be an object"):
        plain.decode(raw.encode())


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('{"count":5}', Asked(count=5)),
        ('{"count":5.0}', Asked(count=5)),
        ('{"count":5e2}', Asked(count=500)),
        ('{"count":{"$integer":"BwAAAAAAAAA="}}', Asked(count=7)),
        ('{"days":[1.0,2,{"$integer":"BwAAAAAAAAA="}]}', Asked(days=[1, 2, 7])),
        ('{"inner":{"tempo":3}}', Asked(inner=Inner(tempo=3.0))),
        ('{"text":"$5 and {\\"$integer\\":1}"}', Asked(text='$5 and {"$integer":1}')),
        ('{"text":"1234567890123456 digits"}', Asked(text="1234567890123456 digits")),
        ('{"text":"\\\\u0000 is no NUL"}', Asked(text="\\u0000 is no NUL")),
        ('{"text":"%s","count":5.0}' % ("," * 50_000), Asked(text="," * 50_000, count=5)),
        ('{"count":9007199254740992}', Asked(count=2**53)),
    ],
)
def test_g70_every_form_of_a_value_fits_its_type(raw: str, expected: Asked) -> None:
    """Whole floats and 64-bit integers are integers, as they were when all was walked in Python."""
    assert plain.decode(raw.encode()) == expected


def test_infinity_fits_a_float() -> None:
    raw = b'{"inner":{"tempo":{"$float":"AAAAAAAA8H8="}}}'
    assert plain.decode(raw).inner == Inner(tempo=math.inf)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ('{"count":9007199254740995}', "got `float`"),
        ('{"days":[%s]}' % ("9" * 30), "got `float`"),
        ('{"text":"a\\u0000"}', r"NUL character - at `\$\.text"),
        ('{"text":5}', "Expected `str`"),
        ('{"other":1}', "unknown field `other`"),
        ('{"\\u0000":1}', "cannot be a field name"),
        ('{"count":{"$odd":1}}', "no value encoding"),
        ('{"count":1e999}', "out of range"),
        ('{"count":{"$integer":"x"}}', "not base64"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_field(raw: str, why: str) -> None:
    with pytest.raises((msgspec.ValidationError, BadArguments), match=why):
        plain.decode(raw.encode())


def test_g70_arguments_larger_than_declared_are_refused_before_they_are_decoded() -> None:
    """Broken ones, too: nothing of them was looked at."""
    with pytest.raises(ArgumentsTooLarge, match=f"at most {LARGEST} bytes"):
        plain.decode(b"[" * (LARGEST + 1))
    larger = Reader(Asked, largest=2 * LARGEST)
    assert len(larger.decode(b'{"text":"%s"}' % (b"x" * LARGEST)).text) == LARGEST


@pytest.mark.parametrize("filler", ["{},", "[],", "1,", '"",', '{"a":1},'])
def test_g70_the_slow_path_takes_a_bounded_number_of_values(filler: str) -> None:
    """What is to be walked in Python is counted before."""
    raw = '{"count":5.0,"days":[%s1]}' % (filler * MAX_VALUES)
    with pytest.raises(BadArguments, match=f"more than {MAX_VALUES} values"):
        plain.decode(raw.encode())
    with pytest.raises(BadArguments, match=f"more than {MAX_VALUES} values"):
        anything.decode(b'{"value":[%s1]}' % (filler.encode() * MAX_VALUES))
    assert anything.decode(json.dumps({"value": [1.0] * 900}).encode()).value == [1] * 900


@pytest.mark.parametrize("depth", [values.MAX_NESTING + 1, 900, 100_000])
def test_g70_depth_is_bounded(depth: int) -> None:
    with pytest.raises(BadArguments, match=r"nested deeper|more than"):
        anything.decode(b'{"value":%s%s}' % (b"[" * depth, b"]" * depth))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=20,
)


@given(json_values)
def test_values_of_any_type_are_what_they_were(value: Any) -> None:
    """As `values` has them."""
    raw = msgspec.json.encode({"value": values.encode(value)})
    decoded = values.decode(msgspec.json.decode(raw))
    try:
        expected = values.for_arguments(decoded)["value"]
    except values.UnstorableText:
        return
    assert repr(anything.decode(raw).value) == repr(expected)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "text": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
            "count": st.integers(-(2**53), 2**53),
            "days": st.lists(st.integers(-(2**53), 2**53), max_size=5),
            "sure": st.booleans(),
        },
    ),
    st.booleans(),
)
def test_both_paths_agree(said: dict[str, Any], floats: bool) -> None:
    """Arguments decoded at once are those that the slow path makes of them."""
    raw = msgspec.json.encode(values.encode(said) if floats else said)
    assert plain.decode(raw) == plain.convert(values.decode(msgspec.json.decode(raw)))


@given(
    st.text(st.characters(codec=None), max_size=30)
    | st.lists(st.sampled_from(["\ud83d", "\ude00", "\\", "u", "d83d", "a", '"', "\U0001f600"]), max_size=12).map(
        "".join
    )
)
def test_g42_half_a_pair_becomes_the_replacement_character(text: str) -> None:
    """Whole pairs, backslashes and everything else stay."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")  # two halves are a pair
    expected = "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in text)
    assert msgspec.json.decode(replace_lone_surrogates(json.dumps(text).encode())) == expected


def test_g42_a_text_of_nothing_but_halves_is_text() -> None:
    """Though not all of them become the same character."""
    for half in (rb"\ud83d", rb"\uDC00"):
        text = msgspec.json.decode(replace_lone_surrogates(b'"%s"' % (half * 5_000)))
        assert len(text) == 5_000
        assert text.startswith("\ufffd" * 1_000)
