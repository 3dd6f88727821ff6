"""`daysong functions`: every function there is, as docs/FUNCTIONS.md has them; written from the registry."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable
from itertools import groupby
from types import UnionType
from typing import Any

import msgspec
from msgspec import inspect as types

from daysong.kernel.functions.raised import codes_of, errors_of
from daysong.kernel.functions.registry import Function
from daysong.kernel.functions.wire_words import about, field_names

HEAD = """# Functions

Written by `daysong functions > docs/FUNCTIONS.md`; a test fails when it is out of date.

A function is called by its name, `module:function`. Public ones may be called by anybody, internal ones only with the
admin key and by the service itself, most of them as jobs. Queries read, mutations write in one transaction, actions may
wait for vendors. `?` marks what may be left out. Times are milliseconds since the epoch, UTC; ids are opaque.
A function that fails as it may gives its caller one of the codes below, as `errorData.code`; see [Errors](#errors).
"""

ERRORS = """
## Errors

Codes and messages of failures that callers can act on. Any function may also fail without a code: its arguments do not
fit (the message names the field), too many changes at once, or something unexpected.

| code | message |
|---|---|
"""

ID = (1, 64)  # the lengths of IdText
# Shown as they are; anything else has fields or parts.
PLAIN = {
    types.AnyType: "any",
    types.NoneType: "null",
    types.BoolType: "boolean",
    types.BytesType: "bytes",
    types.CustomType: "id",
}


def document(functions: Iterable[Function]) -> str:
    """The functions by module, and the types they mention."""
    functions = sorted(functions, key=lambda function: (_module(function), not function.public, function.identifier))
    names = _Names(functions)
    parts = [HEAD]
    for module, members in groupby(functions, key=_module):
        parts += [f"\n## {module}\n", *(_function(function, names) for function in members)]
    parts += [ERRORS, *_errors(functions)]
    parts += ["\n## Types\n", *(_type(kind, names) for kind in names.mentioned())]
    return "".join(parts)


def _errors(functions: Iterable[Function]) -> list[str]:
    kinds = {kind for function in functions for kind in errors_of(function.handler)}
    lines = sorted({(kind.code, kind.default_message) for kind in kinds})
    return [f"| `{code}` | {message} |\n" for code, message in lines]


def _module(function: Function) -> str:
    return function.identifier.rpartition(":")[0]


def _said(thing: Any, names: _Names) -> str:
    """The first paragraph of a docstring."""
    return about(thing, names.fields).partition("\n\n")[0].replace("\n", " ")


def _function(function: Function, names: _Names) -> str:
    asked: Any = types.type_info(function.args_type)
    takes = ", ".join(_field(field, names, optional=not field.required) for field in asked.fields)
    fails = ", ".join(f"`{code}`" for code in codes_of(function.handler))
    return f"""
### {function.identifier}

{"Public" if function.public else "Internal"} {function.kind.value.lower()}. {_said(function.handler, names)}

- takes {f"`{takes}`" if takes else "nothing"}
- gives `{" | ".join(_shown(one, names) for one in _results(function))}`
{f"- fails with {fails}" + chr(10) if fails else ""}"""


def _type(kind: type, names: _Names) -> str:
    described: Any = types.type_info(kind)
    lines = "".join(f"- `{_field(field, names, optional=_may_be_absent(field))}`\n" for field in described.fields)
    return f"\n### {names.of(kind)}\n\n{_said(kind, names)}\n\n{lines}"


def _results(function: Function) -> list[types.Type]:
    # Of several types that nothing but their fields tells apart, msgspec describes only one at a time.
    result = function.result_type
    alternatives = typing.get_args(result) if typing.get_origin(result) in {typing.Union, UnionType} else (result,)
    return [types.type_info(one) for one in alternatives]


def _field(field: Any, names: _Names, *, optional: bool) -> str:
    default = f" = {json.dumps(field.default)}" if isinstance(field.default, int | float | str) else ""
    return f"{field.encode_name}{'?' if optional else ''}: {_shown(field.type, names)}{default}"


def _may_be_absent(field: Any) -> bool:
    # In a result, what has a value by default is there all the same. UNSET is none.
    return not field.required and field.default is field.default_factory is msgspec.NODEFAULT


def _shown(kind: types.Type, names: _Names) -> str:
    match kind:
        case types.StrType(min_length=low, max_length=high):
            return "id" if (low, high) == ID else f"string of up to {high}" if high else "string"
        case types.IntType(ge=low, le=high) | types.FloatType(ge=low, le=high):
            word = "integer" if isinstance(kind, types.IntType) else "number"
            return word if low is None and high is None else f"{word} {_bound(low)}..{_bound(high)}"
        case types.ListType() | types.VarTupleType() | types.SetType() | types.FrozenSetType():
            return f"[{_shown(kind.item_type, names)}]"
        case types.DictType():
            return f"{{string: {_shown(kind.value_type, names)}}}"
        case types.LiteralType():
            return " | ".join(f'"{value}"' for value in kind.values)
        case types.UnionType():
            members = sorted(kind.types, key=lambda one: isinstance(one, types.NoneType))
            return " | ".join(_shown(one, names) for one in members)
        case types.StructType() | types.DataclassType() | types.NamedTupleType() | types.TypedDictType():
            return names.of(kind.cls)
    return PLAIN.get(type(kind), type(kind).__name__.removesuffix("Type").lower())


def _bound(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


class _Names:
    """What the types of functions are called: by their own name, with their file's before it where two have one."""

    def __init__(self, functions: Iterable[Function]) -> None:
        functions = list(functions)
        self._types: dict[type, None] = {}
        self.fields = field_names(functions)
        for function in functions:
            for field in types.type_info(function.args_type).fields:  # type: ignore[attr-defined]  # always a struct
                self._collect(field.type)
            for result in _results(function):
                self._collect(result)

    def _collect(self, kind: Any) -> None:
        if hasattr(kind, "fields"):
            if kind.cls in self._types:
                return
            self._types[kind.cls] = None
            for field in kind.fields:
                self._collect(field.type)
        for part in (getattr(kind, "item_type", None), getattr(kind, "value_type", None), *getattr(kind, "types", ())):
            if part is not None:
                self._collect(part)

    def of(self, kind: type) -> str:
        """The name of a type."""
        alone = sum(1 for one in self._types if one.__name__ == kind.__name__) == 1
        return kind.__name__ if alone else f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"

    def mentioned(self) -> list[type]:
        """All types with fields, by name."""
        return sorted(self._types, key=self.of)
