"""Functions as Convex's tools know them: identifiers, kinds, and validators of arguments and results, as JSON.

`npx convex function-spec` prints this, and `convex-helpers ts-api-spec` makes a typed `api` of it. A validator has no
bounds and no named types: the parts of a type stand where it is mentioned, and a type inside of itself is `any`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from daysong.kernel.functions.descriptions import (
    AnyOf,
    Choice,
    Description,
    Field,
    FunctionDescription,
    ListOf,
    MapOf,
    ObjectType,
    Reference,
    Shape,
)

Validator = dict[str, Any]

_PLAIN: Mapping[str, Validator] = {
    "any": {"type": "any"},
    "null": {"type": "null"},
    "boolean": {"type": "boolean"},
    "integer": {"type": "number"},
    "number": {"type": "number"},
    # Ids are opaque strings; a table's name, which Convex's own ids have, would say more than clients may know.
    "id": {"type": "string"},
    "string": {"type": "string"},
    "datetime": {"type": "string"},
    "int64": {"type": "bigint"},
    "bytes": {"type": "bytes"},
}


def api_spec(description: Description) -> list[dict[str, Any]]:
    """Return the functions with their validators, by identifier: `diaries.js:createDiary`."""
    objects = {one.name: one for one in description.types}
    return [_function(function, objects) for function in description.functions]


def _function(function: FunctionDescription, objects: Mapping[str, ObjectType]) -> dict[str, Any]:
    module, _, name = function.identifier.rpartition(":")
    return {
        "identifier": f"{module}.js:{name}",
        "functionType": function.kind.capitalize(),
        "visibility": {"kind": "public" if function.public else "internal"},
        "args": _object(function.arguments.fields, objects, ()),
        "returns": _validator(function.result, objects, ()),
    }


def _object(fields: Iterable[Field], objects: Mapping[str, ObjectType], around: tuple[str, ...]) -> Validator:
    return {
        "type": "object",
        "value": {
            field.name: {"fieldType": _validator(field.shape, objects, around), "optional": field.optional}
            for field in fields
        },
    }


def _validator(shape: Shape, objects: Mapping[str, ObjectType], around: tuple[str, ...]) -> Validator:
    match shape:
        case Reference(name=name):
            if name in around:
                return {"type": "any"}
            return _object(objects[name].fields, objects, (*around, name))
        case ListOf(items=items):
            return {"type": "array", "value": _validator(items, objects, around)}
        case MapOf(values=values):
            held = {"fieldType": _validator(values, objects, around), "optional": False}
            return {"type": "record", "keys": {"type": "string"}, "values": held}
        case Choice(values=values):
            return _union([_literal(value) for value in values])
        case AnyOf(options=options):
            return _union([_validator(option, objects, around) for option in options])
    return _PLAIN[shape.kind]


def _literal(value: str | int | None) -> Validator:
    return {"type": "null"} if value is None else {"type": "literal", "value": value}


def _union(options: list[Validator]) -> Validator:
    return options[0] if len(options) == 1 else {"type": "union", "value": options}
