"""What functions take, return and fail with, as one model that the documents about them are rendered from.

`docs/FUNCTIONS.md` and `daysong functions` (`commands/documents/functions.py`), `/docs` (`transport/pages/docs.py`) and
`/openapi.json` (`transport/http/openapi.py`) render it and read no types themselves. It is made of Structs, so that
msgspec writes it as JSON as it is.
"""

from __future__ import annotations

import inspect
import types as python_types
import typing
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET
from msgspec import inspect as types

import daysong
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.declarations import Handler, IdText
from daysong.kernel.functions.raised import errors_of
from daysong.kernel.functions.registry import Function
from daysong.kernel.functions.wire_words import about, field_names
from daysong.kernel.values import StoredJson

ROOT = Path(daysong.__file__).resolve().parents[1]


class Plain(msgspec.Struct, frozen=True, omit_defaults=True):
    """A value without parts: any, null, boolean, integer, number, string, id, int64, bytes or datetime."""

    # Ids, 64-bit integers, bytes and datetimes are written as strings.
    kind: str
    # In the words of JSON Schema: minimum, exclusiveMaximum, minLength, pattern …
    bounds: dict[str, Any] = {}


class ListOf(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="list"):
    """An array whose items have one shape; bounds are minItems and maxItems."""

    items: Shape
    bounds: dict[str, Any] = {}


class MapOf(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="map"):
    """An object with any keys, whose values have one shape; bounds are minProperties and maxProperties."""

    values: Shape
    bounds: dict[str, Any] = {}


class Choice(msgspec.Struct, frozen=True, tag_field="kind", tag="choice"):
    """One of these values, in order."""

    values: tuple[str | int | None, ...]


class AnyOf(msgspec.Struct, frozen=True, tag_field="kind", tag="any of"):
    """A value of one of these shapes; null comes last."""

    options: tuple[Shape, ...]


class Reference(msgspec.Struct, frozen=True, tag_field="kind", tag="type"):
    """An object described under this name among the types."""

    name: str


Shape = Plain | ListOf | MapOf | Choice | AnyOf | Reference


class Field(msgspec.Struct, frozen=True):
    """A field by its name on the wire. UNSET: no default.

    `optional` says that an argument may be left out, or that a result may lack the field.
    """

    name: str
    shape: Shape
    optional: bool
    default: Any = UNSET


class ObjectType(msgspec.Struct, frozen=True):
    """An object with fields: a function's arguments, or a named type.

    `summary` is the docstring's first paragraph in one line, `description` the rest; `closed` refuses other fields.
    """

    name: str
    summary: str
    description: str
    closed: bool
    fields: tuple[Field, ...]


class Error(msgspec.Struct, frozen=True, order=True):
    """A failure that callers can act on."""

    code: str
    message: str


class Source(msgspec.Struct, frozen=True):
    """Where a handler is: its file relative to the folder of the package, its first line, and its name there."""

    file: str
    line: int
    handler: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class FunctionDescription(msgspec.Struct, frozen=True):
    """A function; `kind` is query, mutation or action. Errors are sorted by code."""

    identifier: str
    kind: str
    public: bool
    summary: str
    description: str
    arguments: ObjectType
    result: Shape
    errors: tuple[Error, ...]
    source: Source

    @property
    def codes(self) -> list[str]:
        """The codes of its errors, each once."""
        return list(dict.fromkeys(error.code for error in self.errors))


class ModuleDescription(msgspec.Struct, frozen=True):
    """The functions of one module, the public ones first."""

    name: str
    functions: tuple[FunctionDescription, ...]


class Description(msgspec.Struct, frozen=True):
    """Functions by module, the types that their arguments and results mention, and every error of any of them."""

    modules: tuple[ModuleDescription, ...]
    types: tuple[ObjectType, ...]
    errors: tuple[Error, ...]

    @property
    def functions(self) -> Iterator[FunctionDescription]:
        """All functions, module by module."""
        return (function for module in self.modules for function in module.functions)


def describe(functions: Iterable[Function]) -> Description:
    """The description of functions. It takes about half a second for all there are: make it when it is needed.

    Errors: DaysongError for a type that cannot be described.
    """
    functions = sorted(functions, key=lambda one: (module_of(one.identifier), not one.public, one.identifier))
    reader = _Reader(functions)
    described = [reader.function(function) for function in functions]
    return Description(
        modules=tuple(
            ModuleDescription(name, tuple(members))
            for name, members in groupby(described, lambda one: module_of(one.identifier))
        ),
        types=tuple(reader.mentioned()),
        errors=tuple(sorted({error for function in described for error in function.errors})),
    )


def module_of(identifier: str) -> str:
    """The part of an identifier before the colon."""
    return identifier.rpartition(":")[0]


def source_of(handler: Handler) -> Source:
    """Where a handler is written; its decorators are its first lines."""
    code = inspect.unwrap(handler).__code__
    path = Path(code.co_filename)
    file = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    return Source(file, code.co_firstlineno, handler.__name__)


_ID = types.type_info(IdText)
_BOUNDS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}
_LENGTHS = {"string": "Length", "list": "Items", "map": "Properties", "bytes": "Length"}
_PLAIN = {
    types.AnyType: "any",
    types.NoneType: "null",
    types.BoolType: "boolean",
    types.IntType: "integer",
    types.FloatType: "number",
    types.StrType: "string",
    types.BytesType: "bytes",
    types.DateTimeType: "datetime",
}


class _Reader:
    """Reads the types of functions. Two types of one name are told apart by their modules."""

    def __init__(self, functions: Iterable[Function]) -> None:
        self._functions = list(functions)
        self._words = field_names(self._functions)
        # Types that arguments mention, and those that results mention; arguments themselves only if mentioned.
        self._received: dict[type, types.Type] = {}
        self._returned: dict[type, types.Type] = {}
        arguments = {function.args_type for function in self._functions}
        for function in self._functions:
            for field in _fields(types.type_info(function.args_type)):
                self._collect(field.type, self._received)
            for option in _options(function.result_type):
                self._collect(option, self._returned)
        self._names = Counter(kind.__name__ for kind in arguments | self._received.keys() | self._returned.keys())

    def function(self, function: Function) -> FunctionDescription:
        summary, description = self._prose(function.handler)
        options = tuple(self._shape(option) for option in _options(function.result_type))
        return FunctionDescription(
            identifier=function.identifier,
            kind=function.kind.value.lower(),
            public=function.public,
            summary=summary,
            description=description,
            arguments=self._object(types.type_info(function.args_type), received=True),
            result=options[0] if len(options) == 1 else AnyOf(options),
            errors=tuple(sorted({Error(error.code, error.default_message) for error in errors_of(function.handler)})),
            source=source_of(function.handler),
        )

    def mentioned(self) -> list[ObjectType]:
        """The types mentioned, by name."""
        described = [
            self._object(kind, received=cls in self._received)
            for cls, kind in (self._returned | self._received).items()
        ]
        return sorted(described, key=lambda one: one.name)

    def _collect(self, kind: types.Type, into: dict[type, types.Type]) -> None:
        match kind:
            case types.StructType() | types.DataclassType() | types.TypedDictType():
                if kind.cls not in into:
                    into[kind.cls] = kind
                    for field in kind.fields:
                        self._collect(field.type, into)
            case types.UnionType():
                for member in kind.types:
                    self._collect(member, into)
            case types.DictType():
                self._collect(kind.value_type, into)
            case types.ListType() | types.VarTupleType() | types.SetType() | types.FrozenSetType():
                self._collect(kind.item_type, into)

    def _object(self, kind: Any, *, received: bool) -> ObjectType:
        summary, description = self._prose(kind.cls)
        return ObjectType(
            name=self._name(kind.cls),
            summary=summary,
            description=description,
            closed=getattr(kind, "forbid_unknown_fields", False),
            fields=tuple(self._field(field, received=received) for field in _fields(kind)),
        )

    def _field(self, field: types.Field, *, received: bool) -> Field:
        default = _default(field)
        return Field(
            name=field.encode_name,
            shape=self._shape(field.type),
            # In a result, a field with a default is there all the same.
            optional=not field.required and (received or default is UNSET),
            default=default,
        )

    def _shape(self, kind: types.Type) -> Shape:
        match kind:
            case types.ListType() | types.VarTupleType() | types.SetType() | types.FrozenSetType():
                return ListOf(self._shape(kind.item_type), _bounds(kind, "list"))
            case types.DictType():
                return MapOf(self._shape(kind.value_type), _bounds(kind, "map"))
            case types.LiteralType():
                return Choice(tuple(sorted(kind.values, key=str)))
            case types.UnionType():
                members = sorted(kind.types, key=lambda one: isinstance(one, types.NoneType))
                return AnyOf(tuple(self._shape(member) for member in members))
            case types.StructType() | types.DataclassType() | types.TypedDictType():
                return Reference(self._name(kind.cls))
            case types.CustomType(cls=cls) if cls is StoredJson:
                return Plain("any")
            case types.CustomType(cls=cls) if issubclass(cls, str | int):
                return Plain("id" if issubclass(cls, str) else "int64")
        if type(kind) not in _PLAIN:
            raise DaysongError(f"a function's types cannot be described: {kind}")
        name = _PLAIN[type(kind)]
        return Plain("id" if kind == _ID else name, _bounds(kind, name))

    def _name(self, kind: type) -> str:
        return (
            kind.__name__
            if self._names[kind.__name__] == 1
            else f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
        )

    def _prose(self, thing: Any) -> tuple[str, str]:
        summary, _, description = about(thing, self._words).partition("\n\n")
        return summary.replace("\n", " "), description.strip()


def _fields(kind: Any) -> Iterable[types.Field]:
    return typing.cast("Iterable[types.Field]", kind.fields)


def _options(annotation: Any) -> list[types.Type]:
    # Of several types that nothing but their fields tells apart, msgspec describes only one at a time.
    is_union = typing.get_origin(annotation) in {typing.Union, python_types.UnionType}
    return [types.type_info(one) for one in (typing.get_args(annotation) if is_union else (annotation,))]


def _default(field: types.Field) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default)
    return field.default_factory() if field.default_factory in {list, dict, set} else UNSET


def _bounds(kind: Any, name: str) -> dict[str, Any]:
    lengths = {"min_length": f"min{_LENGTHS[name]}", "max_length": f"max{_LENGTHS[name]}"} if name in _LENGTHS else {}
    given = {word: getattr(kind, attribute, None) for attribute, word in (_BOUNDS | lengths).items()}
    return {word: value for word, value in given.items() if value is not None}
