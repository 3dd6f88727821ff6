"""Decodes function arguments from JSON into their type, with limits on bytes, values and depth.

Input is never walked in Python before its size is known. msgspec's decoder builds the typed arguments in one pass and
fails at the first mismatch. Only values that plain JSON cannot express take the slow path through `values.decode`:
integers written as floats (`5.0`), the `$` encodings, NUL characters, integers beyond 2^53, and fields of any type. The
slow path takes at most MAX_VALUES values.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import inspect

from daysong.kernel import values
from daysong.kernel.errors import ArgumentValidationError

# Bytes of JSON. The longest diary entry is 50,000 characters, which JSON may escape as 300,000 bytes.
LARGEST = 512 * 1024
# Values per call on the slow path, about a millisecond. Our largest arguments have fewer than a hundred.
MAX_VALUES = 1_000

# Lone surrogates replaced in one request.
MAX_LONE_SURROGATES = 1_000

_SPACE = b" \t\r\n"
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
# Integers of 16 digits may exceed 2^53.
_LONG = b"0" * 16
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
# Escapes of lone surrogates. Requires that no backslash is escaped by another one.
_LONE = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)
_PLAIN = (
    inspect.BoolType, inspect.EnumType, inspect.FloatType, inspect.IntType, inspect.LiteralType, inspect.NoneType,
    inspect.StrType,
)  # fmt: skip


class BadArguments(ArgumentValidationError):
    """The arguments are not an object of Convex values; `code` is the machine-readable reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ArgumentsTooLarge(ArgumentValidationError):
    """The arguments exceed the function's maximum size."""

    def __init__(self, largest: int) -> None:
        super().__init__(f"ArgumentValidationError: The arguments are too large: at most {largest} bytes.")


class Reader:
    """Decodes the arguments of one function. A subclass may decode them differently."""

    most_values: int | None = MAX_VALUES

    def __init__(self, args_type: type[msgspec.Struct], *, largest: int = LARGEST) -> None:
        self.args_type = args_type
        self._largest = largest
        plain = _is_plain(inspect.type_info(args_type))
        self._decoder = msgspec.json.Decoder(args_type) if plain else None

    def decode(self, raw: bytes) -> Any:
        """Decode typed arguments from valid JSON: an object, or an array of at most one object.

        Errors: ArgumentsTooLarge, BadArguments; msgspec.ValidationError, which names the field.
        """
        if len(raw) > self._largest:
            raise ArgumentsTooLarge(self._largest)
        given = _one_object(raw)
        try:
            if self._decoder is None or _is_unusual(given):
                return self._decode_slowly(given)
            try:
                return self._decoder.decode(given)
            except msgspec.ValidationError as error:
                if not _may_fit(str(error)):
                    raise
                return self._decode_slowly(given)
        except msgspec.ValidationError as error:
            if str(error) == "Number out of range":
                raise BadArguments("BadValue", "args: a number is out of range") from None
            raise
        except UnicodeDecodeError:
            raise BadArguments("BadJsonBody", "args is not UTF-8") from None
        except msgspec.DecodeError:
            # The JSON is valid, so the array has more than one object.
            raise _no_object() from None
        except RecursionError:
            raise BadArguments("BadValue", f"args: nested deeper than {values.MAX_NESTING} levels") from None

    def convert(self, decoded: Any) -> Any:
        """Convert decoded values to typed arguments. Errors: msgspec.ValidationError, which names the field."""
        try:
            return msgspec.convert(values.for_arguments(decoded), self.args_type)
        except values.UnstorableText as error:
            raise msgspec.ValidationError(f"Text contains a NUL character - at `${error}`") from None

    def _decode_slowly(self, given: bytes) -> Any:
        if self.most_values is not None and _count(given) > self.most_values:
            raise BadArguments("BadValue", f"args: more than {self.most_values} values")
        try:
            decoded = values.decode(msgspec.json.decode(given))
        except values.MalformedValue as error:
            raise BadArguments("BadValue", f"args: {error}") from None
        if not isinstance(decoded, dict):
            raise _no_object()
        return self.convert(decoded)


def replace_lone_surrogates(json: bytes) -> bytes:
    """Replace escaped lone surrogates in JSON by U+FFFD; strings cut inside an emoji contain them."""
    if rb"\ud" not in json and rb"\uD" not in json:
        return json
    whole, count = _LONE.subn(rb"\\ufffd", json.replace(rb"\\", rb"\u005c"), count=MAX_LONE_SURROGATES)
    if count == MAX_LONE_SURROGATES:
        # Not text that was cut. Replacing each of the rest would take long, so all become private-use characters.
        whole = whole.replace(rb"\ud", rb"\uf").replace(rb"\uD", rb"\uf")
    return whole


def _one_object(raw: bytes) -> bytes:
    given = raw.strip(_SPACE) if raw[:1] != b"{" else raw
    if given.startswith(b"["):
        given = given[1:-1].strip(_SPACE) or b"{}"
    if not given.startswith(b"{"):
        raise _no_object()
    return given


def _no_object() -> BadArguments:
    return BadArguments("BadArguments", "args must be an object, or an array of one object")


def _is_unusual(json: bytes) -> bool:
    """Return whether there may be a NUL character or an integer beyond 2^53. Faster than a regex."""
    return rb"\u0000" in json or _LONG in json.translate(_ZEROS)


def _may_fit(refusal: str) -> bool:
    """Return whether the slow path may accept a mismatch: an integer written as a float, or a `$` encoding."""
    return "got `float`" in refusal or "got `object`" in refusal


def _count(json: bytes) -> int:
    """Return an upper bound on the values in valid JSON; strings are removed only when the bound is exceeded."""
    if (most := _separators(json)) <= MAX_VALUES:
        return most
    # A value has at most two strings: itself and its field name.
    without, strings = _STRING.subn(b"", json, count=2 * MAX_VALUES + 1)
    return _separators(without) if strings <= 2 * MAX_VALUES else MAX_VALUES + 1


def _separators(json: bytes) -> int:
    return json.count(b",") + json.count(b"{") + json.count(b"[")


def _is_plain(kind: inspect.Type) -> bool:
    """Return whether JSON decodes to the type directly; not so for bytes and fields of any type."""
    if isinstance(kind, inspect.Metadata):
        return _is_plain(kind.type)
    if isinstance(kind, inspect.UnionType):
        return all(map(_is_plain, kind.types))
    if isinstance(kind, inspect.ListType | inspect.VarTupleType):
        return _is_plain(kind.item_type)
    if isinstance(kind, inspect.StructType):
        return all(_is_plain(field.type) for field in kind.fields)
    return isinstance(kind, _PLAIN)
