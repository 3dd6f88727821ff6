"""The function registry: every function that can be called, found by its wire name or by its handler.

It is built at start from the modules of `surface.py`.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import msgspec

from daysong.kernel.errors import ArgumentValidationError, DaysongError, FunctionNotFound, WrongFunctionKind
from daysong.kernel.functions.arguments import LARGEST, Reader
from daysong.kernel.functions.context import Caller
from daysong.kernel.functions.declarations import Declaration, Handler, Kind, declaration_of
from daysong.kernel.functions.results import ResultEncoder
from daysong.kernel.functions.validation import allowed, explain


@dataclass(frozen=True, kw_only=True)
class Function(Declaration):
    """A handler's declaration, with its wire name, whether clients may call it, and its types."""

    identifier: str
    public: bool
    args_type: type[msgspec.Struct]
    result_type: Any

    def decode(self, raw: bytes) -> Any:
        """The typed arguments of valid JSON: an object, or an array of at most one.

        Errors: ArgumentValidationError, which names the field, or says why else they are refused.
        """
        try:
            return self._arguments.decode(raw)
        except msgspec.ValidationError as error:
            raise ArgumentValidationError(explain(allowed(self.args_type, str(error)))) from None

    def parse(self, decoded: Any) -> Any:
        """The typed arguments of decoded wire values, or ArgumentValidationError naming the field."""
        try:
            return self._arguments.convert(decoded)
        except msgspec.ValidationError as error:
            raise ArgumentValidationError(explain(allowed(self.args_type, str(error)))) from None

    @cached_property
    def encoder(self) -> ResultEncoder:
        """Encodes its results."""
        return ResultEncoder(self.result_type)

    @cached_property
    def _arguments(self) -> Reader:
        return self.reader(self.args_type, largest=self.largest)


@dataclass(frozen=True)
class Named:
    """A handler with the name it has on the wire."""

    name: str
    handler: Handler


@dataclass(frozen=True)
class Module:
    """A module of wire functions, such as `diaries`. Public ones may be called by clients, internal ones not."""

    name: str
    public: tuple[Named, ...]
    internal: tuple[Named, ...]


def module(name: str, *, public: Sequence[Handler | Named] = (), internal: Sequence[Handler | Named] = ()) -> Module:
    """A module of that wire name. `create_diary` is `createDiary` there, unless `named` says otherwise."""
    return Module(name, _with_names(public), _with_names(internal))


def named(name: str, handler: Handler) -> Named:
    """A handler under a name of its own."""
    return Named(name, handler)


def _with_names(handlers: Sequence[Handler | Named]) -> tuple[Named, ...]:
    return tuple(one if isinstance(one, Named) else Named(camel(one.__name__), one) for one in handlers)


def _function(module: Module, one: Named, *, public: bool) -> Function:
    declared = declaration_of(one.handler)
    hints = typing.get_type_hints(one.handler)
    return Function(
        identifier=f"{module.name}:{one.name}",
        public=public,
        args_type=hints["args"],
        result_type=hints["return"],
        **{field.name: getattr(declared, field.name) for field in fields(Declaration)},
    )


def camel(name: str) -> str:
    """`create_diary` as the clients write it: `createDiary`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def canonical(path: str) -> str:
    """A function path as the registry has it: `.js` dropped from the module, no export means `default`."""
    module, colon, export = path.rpartition(":")
    if not colon:
        module, export = path, "default"
    return f"{module.removesuffix('.js')}:{export}"


class Registry:
    """All functions of an app, by name and by handler. Refuses two of one name."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self._by_name: dict[str, Function] = {}
        self._by_handler: dict[Handler, Function] = {}
        for module in modules:
            functions = [_function(module, one, public=True) for one in module.public]
            functions += [_function(module, one, public=False) for one in module.internal]
            for function in functions:
                if function.identifier in self._by_name or function.handler in self._by_handler:
                    raise DaysongError(f"{function.identifier} is listed twice")
                self._by_name[function.identifier] = function
                self._by_handler[function.handler] = function

    def __iter__(self) -> Iterator[Function]:
        return iter(sorted(self._by_name.values(), key=lambda function: function.identifier))

    @cached_property
    def largest(self) -> int:
        """How many bytes the arguments of any function may have at most."""
        return max((function.largest for function in self._by_name.values()), default=LARGEST)

    def of(self, handler: Handler) -> Function:
        """What was declared about a handler; KeyError if no module of this app lists it."""
        return self._by_handler[handler]

    def named(self, identifier: str) -> Function | None:
        """The function of that exact name, public or not."""
        return self._by_name.get(identifier)

    def find(self, path: str, caller: Caller, kind: Kind | None = None) -> Function:
        """The function `caller` may call under that path, as `kind` if one is asked for.

        FunctionNotFound alike for what does not exist and for what is internal; WrongFunctionKind otherwise.
        """
        identifier = canonical(path)
        function = self._by_name.get(identifier)
        if function is None or not (function.public or caller.is_admin):
            raise FunctionNotFound(f"Could not find public function for '{identifier}'.")
        if kind is not None and kind not in function.accepted_as:
            raise WrongFunctionKind(
                f"Trying to execute {identifier} as {kind.value}, but it is defined as {function.kind.value}."
            )
        return function
