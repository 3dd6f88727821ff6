"""Converts msgspec's validation errors to Convex's wording."""

from __future__ import annotations

import re
from typing import Any

import msgspec.inspect


def explain(message: str) -> str:
    """Return a validation error in Convex's wording, with the wire's type names."""
    text, _, path = message.partition(" - at ")
    where = path.strip("`").removeprefix("$") or "."
    if found := re.fullmatch(r"Object missing required field `(.+)`", text):
        return f"ArgumentValidationError: Object is missing the required field `{found[1]}`.\nPath: {where}"
    if found := re.fullmatch(r"Object contains unknown field `(.+)`", text, re.DOTALL):
        return (
            f"ArgumentValidationError: Object contains extra field `{found[1][:100]}` that is not in the validator."
            f"\nPath: {where}"
        )
    return f"ArgumentValidationError: Value does not match validator.\nPath: {where}\n{_on_the_wire(text)}"


# msgspec's type names; the wire has one type of number.
_WIRE_TYPES = {"str": "string", "int": "number", "float": "number", "bool": "boolean"}


def _on_the_wire(text: str) -> str:
    """Return msgspec's message with the wire's types: "Expected `string` of length <= 64, got `number`"."""
    expected, got, given_type = text.partition(", got ")

    def named(types: re.Match[str], whole: str) -> str:
        words = [whole if word == "int" else _WIRE_TYPES.get(word, word) for word in types[1].split(" | ")]
        return f"`{' | '.join(dict.fromkeys(words))}`"

    expected = re.sub(r"`([a-z |]+)`", lambda types: named(types, "integer"), expected)
    return expected + got + re.sub(r"`([a-z |]+)`", lambda types: named(types, "number"), given_type)


def allowed(args_type: Any, message: str) -> str:
    """Add the allowed values to the error of an enum field, since msgspec names only the field."""
    text, _, path = message.partition(" - at ")
    if not text.startswith("Invalid enum value"):
        return message
    kind: Any = msgspec.inspect.type_info(args_type)
    for step in path.strip("`").removeprefix("$").strip(".").split("."):
        fields = {field.encode_name: field.type for field in getattr(kind, "fields", ())}
        kind = fields.get(step)
    kinds = getattr(kind, "types", (kind,))
    values = [str(value) for one in kinds if isinstance(one, msgspec.inspect.LiteralType) for value in one.values]
    return f"{text}: must be one of {', '.join(values)} - at {path}" if values else message
