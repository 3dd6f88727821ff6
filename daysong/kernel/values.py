"""The wire's value encoding: Convex values as JSON, in an exact and a readable form.

`convex_encoded_json` is exact: every JSON number is a float, and four kinds of value are objects with one `$…` key:
`$integer` (64-bit), `$float` (NaN, infinities, -0), `$bytes`. `json` is lossy and for people.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from daysong.kernel.errors import DaysongError

Format = Literal["convex_encoded_json", "json"]

# The types of single values that are no numbers, and are the same in JSON.
NO_NUMBERS = frozenset({str, bool, type(None), msgspec.UnsetType})
INT64_BYTES = 8
MAX_NESTING = 64
MAX_FIELD_NAME = 1024
MAX_EXACT = 2**53


class MalformedValue(DaysongError):
    """JSON that is not a Convex value; the message says why."""


class Int64(int):
    """A 64-bit integer, which clients distinguish from ordinary (float) numbers."""


class StoredJson:
    """JSON as PostgreSQL has it in a `jsonb` column, as text: embedded in a result without being decoded.

    For what was stored from floats alone: other numbers would be sent as they are stored.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def decoded(self) -> Any:
        """Return its value."""
        return msgspec.json.decode(self.text)

    def encoded(self) -> bytes:
        """Return it as bytes."""
        return self.text.encode()


def decode(value: Any, *, depth: int = 0) -> Any:
    """Decode JSON to None, bool, str, float, Int64, bytes, list or dict. Errors: MalformedValue."""
    if depth > MAX_NESTING:
        raise MalformedValue(f"nested deeper than {MAX_NESTING} levels")
    match value:
        case None | bool() | str():
            return value
        case int() | float():
            return _float(value)
        case list():
            return [decode(item, depth=depth + 1) for item in value]
        case dict() if len(value) == 1 and next(iter(value)).startswith("$"):
            return _decode_wrapper(*next(iter(value.items())))
        case dict():
            return {_field_name(name): decode(item, depth=depth + 1) for name, item in value.items()}
    raise MalformedValue(f"{type(value).__name__} is no JSON value")


def _float(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:  # an integer of more than 308 digits
        number = math.inf
    if not math.isfinite(number):
        raise MalformedValue("a number is too large, or none at all")
    return number


def _field_name(name: str) -> str:
    if name.startswith("$") or len(name) > MAX_FIELD_NAME or not all(" " <= letter <= "~" for letter in name):
        raise MalformedValue(f"{name[:40]!r} cannot be a field name")
    return name


def _decode_wrapper(key: str, payload: Any) -> Any:
    if key not in {"$integer", "$float", "$bytes"} or not isinstance(payload, str):
        raise MalformedValue(f"{key[:40]!r} is no value encoding")
    try:
        raw = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedValue(f"{key} is not base64") from error
    if key == "$bytes":
        return raw
    if len(raw) != INT64_BYTES:
        raise MalformedValue(f"{key} needs {INT64_BYTES} bytes, not {len(raw)}")
    if key == "$integer":
        return Int64(int.from_bytes(raw, "little", signed=True))
    number: float = struct.unpack("<d", raw)[0]
    if not _needs_wrapper(number):
        raise MalformedValue("$float is only for NaN, infinities and -0")
    return number


def _needs_wrapper(number: float) -> bool:
    return not math.isfinite(number) or (number == 0 and math.copysign(1, number) < 0)


def encode(value: Any, form: Format = "convex_encoded_json") -> Any:
    """Encode a result as JSON values. Numbers become floats, since one client rejects JSON integers."""
    # The hot path of every response: nearly all values have these exact types, and comparing types is faster than
    # pattern matching.
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is dict:
        return {name: encode(item, form) for name, item in value.items()}
    if kind is list:
        return [encode(item, form) for item in value]
    if kind is float or kind is int:
        return _encode_float(float(value), form)
    return _encode_rarer(value, form)


def _encode_rarer(value: Any, form: Format) -> Any:
    match value:
        case str():
            return str.__str__(value)
        case Int64():
            if form == "json":
                return str(int(value))
            return {"$integer": base64.b64encode(value.to_bytes(INT64_BYTES, "little", signed=True)).decode()}
        case int() | float():
            return _encode_float(float(value), form)
        case StoredJson():
            return encode(value.decoded(), form)
        case bytes():
            text = base64.b64encode(value).decode()
            return text if form == "json" else {"$bytes": text}
        case list() | tuple():
            return [encode(item, form) for item in value]
        case Mapping():
            return {name: encode(item, form) for name, item in value.items()}
        case msgspec.Struct():
            # Int64 is encoded here, since `plain` would turn it into an int.
            return encode(plain(value, lambda number: encode(number, form)), form)
    raise _formless(value)


def plain(
    value: Any, int64: Callable[[Int64], Any] = int, stored: Callable[[StoredJson], Any] = StoredJson.decoded
) -> Any:
    """Convert structs to dicts, lists, strings and numbers by their wire names; typed ids become plain strings."""
    return msgspec.to_builtins(value, builtin_types=(bytes,), enc_hook=hook(int64, stored))


def hook(int64: Callable[[Int64], Any], stored: Callable[[StoredJson], Any]) -> Callable[[Any], Any]:
    """Return the function that makes what msgspec can encode of what it cannot. Errors: TypeError."""

    def other(part: Any) -> Any:
        if isinstance(part, Int64):
            return int64(part)
        if isinstance(part, StoredJson):
            return stored(part)
        if isinstance(part, str):
            return str.__str__(part)
        raise _formless(part)

    return other


def encode_number(value: Any, form: Format) -> Any:
    """JSON-ready form of what may be a number; anything else as it is."""
    kind = type(value)
    # A chained comparison is the fastest look at what nearly all numbers are; infinities, NaN, 0 and -0 fail it.
    if kind is float:
        return value if 0 < value < math.inf else _encode_float(value, form)
    return float(value) if kind is int else value


def is_plain_number(value: Any) -> bool:
    """Whether a value is a float whose JSON is its form on the wire in both formats, or no number."""
    kind = type(value)
    if kind is float:
        return 0 < value < math.inf or not _needs_wrapper(value)
    return kind in NO_NUMBERS


def _formless(value: Any) -> TypeError:
    return TypeError(f"a {type(value).__name__} has no form on the wire")


def _encode_float(number: float, form: Format) -> Any:
    if form == "json":
        if math.isnan(number):
            return "NaN"
        return number if math.isfinite(number) else ("Infinity" if number > 0 else "-Infinity")
    # The first comparison is true for nearly all numbers, and is the fastest test.
    if 0 < number < math.inf or not _needs_wrapper(number):
        return number
    return {"$float": base64.b64encode(struct.pack("<d", number)).decode()}


class UnstorableText(DaysongError):
    """A string has a NUL character, which PostgreSQL cannot store. The message is its path, such as `.content`."""


def for_arguments(value: Any, path: str = "") -> Any:
    """Convert decoded values to arguments: whole floats become ints, so that `int` accepts 5.0. Errors: UnstorableText.

    Beyond 2^53 a float does not identify one integer, and stays a float.
    """
    match value:
        case float() if value.is_integer() and abs(value) <= MAX_EXACT:
            return int(value)
        case str() if "\0" in value:
            raise UnstorableText(path)
        case list():
            return [for_arguments(item, f"{path}[{place}]") for place, item in enumerate(value)]
        case dict():
            return {name: for_arguments(item, f"{path}.{name}") for name, item in value.items()}
    return value
