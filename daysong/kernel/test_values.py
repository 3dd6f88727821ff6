from __future__ import annotations

import base64
import enum
import math
import struct
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel import values
from daysong.kernel.functions.declarations import Result
from daysong.kernel.ids import DiaryId
from daysong.kernel.values import Int64, MalformedValue, UnstorableText

field_names = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).filter(
    lambda name: not name.startswith("$")
)
int64s = st.integers(-(2**63), 2**63 - 1).map(Int64)
wire_values = st.recursive(
    st.none() | st.booleans() | st.floats() | int64s | st.text() | st.binary(max_size=40),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(field_names, inside, max_size=4),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equality that knows NaN and tells 0 from -0 and an Int64 from a float."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("<d", one) == struct.pack("<d", other) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return bool(one == other)


def wrapped(kind: str, raw: bytes) -> dict[str, str]:
    return {kind: base64.b64encode(raw).decode()}


def over_the_wire(value: Any) -> Any:
    return values.decode(msgspec.json.decode(msgspec.json.encode(values.encode(value))))


@given(wire_values)
def test_every_value_comes_back_as_it_was_sent(value: Any) -> None:
    """What is encoded, written as JSON, read and decoded is the same value of the same type."""
    assert same(over_the_wire(value), value)


@given(st.integers(-(2**53), 2**53))
def test_a_plain_integer_travels_as_a_float(number: int) -> None:
    """The clients know one kind of number, and one of them refuses JSON integers."""
    assert same(values.encode(number), float(number))
    assert msgspec.json.encode(values.encode(5)) == b"5.0"


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (math.inf, "000000000000f07f"),
        (-math.inf, "000000000000f0ff"),
        (-0.0, "0000000000000080"),
        (math.nan, "000000000000f87f"),
    ],
)
def test_the_four_floats_json_cannot_say_are_wrapped(value: float, raw: str) -> None:
    """NaN, the infinities and -0 travel as eight little-endian bytes, and come back as they were."""
    encoded = values.encode(value)
    assert encoded == wrapped("$float", bytes.fromhex(raw))
    assert same(values.decode(encoded), value)


@pytest.mark.parametrize("value", [0.0, 1.5, -1.0, 5e-324, 1.7976931348623157e308])
def test_ordinary_floats_are_not_wrapped(value: float) -> None:
    """Only what JSON cannot say is wrapped, at both ends of the range too."""
    assert values.encode(value) == value


@pytest.mark.parametrize("number", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_an_int64_is_kept_apart_from_numbers(number: int) -> None:
    """A 64-bit integer travels as eight bytes and stays one."""
    encoded = values.encode(Int64(number))
    assert encoded == wrapped("$integer", number.to_bytes(8, "little", signed=True))
    assert same(values.decode(encoded), Int64(number))


@pytest.mark.parametrize("raw", [b"", b"\0", bytes(range(256))])
def test_bytes_come_back(raw: bytes) -> None:
    """Bytes travel as padded base64, however many there are."""
    assert values.encode(raw) == wrapped("$bytes", raw)
    assert values.decode(wrapped("$bytes", raw)) == raw


@pytest.mark.parametrize(
    "malformed",
    [
        wrapped("$integer", bytes(7)),
        wrapped("$integer", bytes(9)),
        wrapped("$float", bytes(4)),
        wrapped("$float", struct.pack("<d", 1.5)),
        wrapped("$float", struct.pack("<d", 0.0)),
        {"$integer": "not base64!"},
        {"$bytes": "AA"},
        {"$bytes": "AA==\n"},
        {"$bytes": "é"},
        {"$bytes": None},
        {"$integer": 5},
        {"$float": {"$float": ""}},
        {"$set": []},
        {"$map": []},
        {"$undefined": None},
        {"$commitTs": None},
        {"$": 1},
        {"$bytes": "", "other": 1},
        {"other": 1, "$integer": ""},
        {"caf\u00e9": 1},
        {"tab\t": 1},
        {"x" * 1025: 1},
        10**400,
        -(10**400),
        math.inf,
        math.nan,
        (1, 2),
        b"bytes",
    ],
)
def test_what_is_no_encoding_is_refused(malformed: Any) -> None:
    """A malformed encoding, a field name no client could read, or something JSON has not: MalformedValue, anywhere."""
    for value in (malformed, [malformed], {"inside": [malformed]}):
        with pytest.raises(MalformedValue):
            values.decode(value)


def test_a_refusal_quotes_no_more_than_the_start_of_a_name() -> None:
    """What was sent is not sent back whole."""
    with pytest.raises(MalformedValue) as refused:
        values.decode({"$" + "x" * 5000: 1})
    assert len(str(refused.value)) < 100


@pytest.mark.parametrize("name", ["_id", "_creationTime", "a b", "", "~", "x" * 1024, "100%"])
def test_every_printable_name_is_a_field_name(name: str) -> None:
    """Names are short printable ASCII that does not start with a dollar sign."""
    assert values.decode({name: 1}) == {name: 1.0}


@pytest.mark.parametrize("wrap", [lambda inside: [inside], lambda inside: {"a": inside}])
def test_values_may_be_nested_64_deep(wrap: Any) -> None:
    """The limit of the clients' own server; one level more is refused, and so are ten thousand."""
    value: Any = None
    for _ in range(64):
        value = wrap(value)
    values.decode(value)
    for depth in (1, 10_000):
        deeper = value
        for _ in range(depth):
            deeper = wrap(deeper)
        with pytest.raises(MalformedValue, match="64 levels"):
            values.decode(deeper)


def test_the_readable_form_is_for_people() -> None:
    """`json` loses what JSON has not: integers and bytes become text, and so do the floats JSON cannot say."""
    value = {
        "int": Int64(-7),
        "bytes": b"\x00\xff",
        "nan": math.nan,
        "up": math.inf,
        "down": -math.inf,
        "zero": -0.0,
        "five": 5,
        "list": [Int64(1), None, True, "text"],
    }
    assert values.encode(value, "json") == {
        "int": "-7",
        "bytes": "AP8=",
        "nan": "NaN",
        "up": "Infinity",
        "down": "-Infinity",
        "zero": 0.0,
        "five": 5.0,
        "list": ["1", None, True, "text"],
    }


class Mood(enum.Enum):
    CALM = "calm"


class Weather(str, enum.Enum):  # noqa: UP042 - the older kind, whose str() is not its value
    RAIN = "rain"


class Line(Result):
    start_ms: float
    text: str | msgspec.UnsetType = msgspec.UNSET


class Song(Result):
    """A result with everything a room might put into one."""

    song_id: DiaryId
    play_count: int
    mood: Mood
    weather: Weather
    total_bytes: Int64
    cover_art: bytes
    loudness: float
    all_lines: list[Line]
    by_name: dict[str, Line]
    lyric: str | msgspec.UnsetType | None = msgspec.UNSET


SONG = Song(
    song_id=DiaryId("diary_1"),
    play_count=3,
    mood=Mood.CALM,
    weather=Weather.RAIN,
    total_bytes=Int64(2**60),
    cover_art=b"\x00",
    loudness=math.nan,
    all_lines=[Line(start_ms=0, text="la"), Line(start_ms=1.5)],
    by_name={"first": Line(start_ms=-0.0)},
)


def test_a_struct_is_encoded_under_its_wire_names() -> None:
    """Renamed and left out fields, typed ids, 64-bit integers, bytes and NaN inside a result find their form."""
    encoded = values.encode(SONG)
    assert encoded == {
        "songId": "diary_1",
        "playCount": 3.0,
        "mood": "calm",
        "weather": "rain",
        "totalBytes": wrapped("$integer", (2**60).to_bytes(8, "little")),
        "coverArt": {"$bytes": "AA=="},
        "loudness": wrapped("$float", struct.pack("<d", math.nan)),
        "allLines": [{"startMs": 0.0, "text": "la"}, {"startMs": 1.5}],
        "byName": {"first": {"startMs": wrapped("$float", struct.pack("<d", -0.0))}},
    }
    assert type(encoded["songId"]) is str
    assert type(encoded["playCount"]) is float


def test_a_struct_in_the_readable_form() -> None:
    """The same result for people."""
    encoded = values.encode([SONG], "json")[0]
    assert (encoded["totalBytes"], encoded["coverArt"], encoded["loudness"]) == (str(2**60), "AA==", "NaN")


def test_a_field_given_as_none_stays() -> None:
    """Absent and null are two things."""
    assert values.encode(msgspec.structs.replace(SONG, lyric=None))["lyric"] is None
    assert "lyric" not in values.encode(SONG)


def test_subclasses_of_text_are_encoded_as_their_text() -> None:
    """A typed id or a text enum in a plain dict is the text it stands for."""
    assert values.encode({"id": DiaryId("diary_1"), "weather": Weather.RAIN}) == {"id": "diary_1", "weather": "rain"}


@pytest.mark.parametrize("value", [object(), {1, 2}, complex(1, 2), [object()], {"a": object()}])
def test_what_has_no_form_is_an_error_of_the_function(value: Any) -> None:
    """A result that cannot be said is not silently turned into something else."""
    with pytest.raises(TypeError, match="no form on the wire"):
        values.encode(value)


class Loose(Result):
    anything: Any


def test_what_has_no_form_is_found_inside_a_struct_too() -> None:
    """The same error, wherever the value hides."""
    with pytest.raises(TypeError, match="no form on the wire"):
        values.encode(Loose(anything=object()))


def test_encoding_takes_time_in_proportion() -> None:
    """Ten times the result takes about ten times as long, so nothing is walked again and again."""

    def seconds(rows: int) -> float:
        result = [SONG] * rows
        best = math.inf
        for _ in range(3):
            started = time.perf_counter()
            values.encode({"page": result, "deep": {"deeper": {"still": result}}})
            best = min(best, time.perf_counter() - started)
        return best

    assert seconds(1000) < 40 * seconds(100)


@given(st.integers(-(2**53), 2**53))
def test_whole_floats_become_ints_for_arguments(number: int) -> None:
    """JSON's 5.0 fits a field that wants an int."""
    converted = values.for_arguments(float(number))
    assert converted == number
    assert type(converted) is int


@pytest.mark.parametrize("number", [0.5, math.inf, -math.inf, 1e300, -1e17, 2.0**53 + 2])
def test_other_floats_stay_floats(number: float) -> None:
    """What is no integer, or none that a float can tell from its neighbours, stays as it is."""
    assert type(values.for_arguments(number)) is float


def test_nan_and_int64_reach_the_arguments() -> None:
    """Nothing is lost of the values that are not plain numbers."""
    assert math.isnan(values.for_arguments(math.nan))
    assert type(values.for_arguments(Int64(5))) is Int64
    assert values.for_arguments([True, None, b"x"]) == [True, None, b"x"]
    assert values.for_arguments([True])[0] is True


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("a\0b", ""),
        ({"content": "\0"}, ".content"),
        ({"lines": ["fine", {"text": "la\0"}]}, ".lines[1].text"),
        ([["\0"]], "[0][0]"),
    ],
)
def test_a_nul_character_is_found_where_it_stands(value: Any, path: str) -> None:
    """PostgreSQL cannot keep it, so it is refused with the path to it."""
    with pytest.raises(UnstorableText) as refused:
        values.for_arguments(value)
    assert str(refused.value) == path
