"""The function registry: all callable functions by wire name and by handler, built at start from `surface.py`."""

from __future__ import annotations

import typing
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from typing import Any

import msgspec

from daysong.kernel.errors import ArgumentValidationError, DaysongError, FunctionNotFound, WrongFunctionKind
from daysong.kernel.functions.arguments import LARGEST, Reader
from daysong.kernel.functions.context import Caller
from daysong.kernel.functions.declarations import Declaration, Handler, Kind, declaration_of
from daysong.kernel.functions.results import ResultEncoder
from daysong.kernel.functions.validation import allowed, explain
from daysong.kernel.parts import Part, closed_function, closed_query


@dataclass(frozen=True, kw_only=True)
class Function(Declaration):
    """A handler's declaration with its wire name, visibility and types."""

    identifier: str
    public: bool
    args_type: type[msgspec.Struct]
    result_type: Any

    def decode(self, raw: bytes) -> Any:
        """Decode typed arguments from valid JSON: an object, or an array of at most one object.

        Errors: ArgumentValidationError, which names the field or the reason.
        """
        try:
            return self._arguments.decode(raw)
        except msgspec.ValidationError as error:
            raise ArgumentValidationError(explain(allowed(self.args_type, str(error)))) from None

    def parse(self, decoded: Any) -> Any:
        """Convert decoded wire values to typed arguments. Errors: ArgumentValidationError, which names the field."""
        try:
            return self._arguments.convert(decoded)
        except msgspec.ValidationError as error:
            raise ArgumentValidationError(explain(allowed(self.args_type, str(error)))) from None

    @cached_property
    def kind_name(self) -> str:
        """The name of its kind, for logs and metrics."""
        return str(self.kind.value)

    @cached_property
    def encoder(self) -> ResultEncoder:
        """Encodes its results."""
        return ResultEncoder(self.result_type)

    @cached_property
    def _arguments(self) -> Reader:
        return self.reader(self.args_type, largest=self.largest)


@dataclass(frozen=True)
class Named:
    """A handler with its wire name."""

    name: str
    handler: Handler


@dataclass(frozen=True)
class Module:
    """A module of functions, such as `diaries`. Clients may call the public ones only.

    part    the part that it belongs to; None for what is always on
    always  handlers of public functions that stay available when the part is off
    """

    name: str
    public: tuple[Named, ...]
    internal: tuple[Named, ...]
    part: Part | None = None
    always: tuple[Handler, ...] = ()


def module(
    name: str,
    *,
    public: Sequence[Handler | Named] = (),
    internal: Sequence[Handler | Named] = (),
    part: Part | None = None,
    always: Sequence[Handler] = (),
) -> Module:
    """Return a module of handlers; `create_diary` gets the wire name `createDiary` unless `named` sets another."""
    return Module(name, _with_names(public), _with_names(internal), part, tuple(always))


def named(name: str, handler: Handler) -> Named:
    """Return a handler with an explicit wire name."""
    return Named(name, handler)


def _with_names(handlers: Sequence[Handler | Named]) -> tuple[Named, ...]:
    return tuple(one if isinstance(one, Named) else Named(camel(one.__name__), one) for one in handlers)


@cache
def _function(identifier: str, handler: Handler, *, public: bool) -> Function:
    """Return the function of a handler: the same one in all registries, of which an app has several."""
    declared = declaration_of(handler)
    hints = typing.get_type_hints(handler)
    return Function(
        identifier=identifier,
        public=public,
        args_type=hints["args"],
        result_type=hints["return"],
        **{field.name: getattr(declared, field.name) for field in fields(Declaration)},
    )


def camel(name: str) -> str:
    """Convert snake_case to camelCase."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def canonical(path: str) -> str:
    """Normalize a function path: drop `.js` from the module; without an export it is `default`."""
    module, colon, export = path.rpartition(":")
    if not colon:
        module, export = path, "default"
    return f"{module.removesuffix('.js')}:{export}"


def _closed(function: Function, part: Part | None) -> Function:
    """Return a public function as clients find it while its part is off."""
    if function.kind is Kind.QUERY:
        return replace(function, handler=closed_query(function.result_type), reads=(), snapshot=False, replica=None)
    return replace(function, handler=closed_function(part))


class Registry:
    """All functions of an app, by name and by handler. Errors: DaysongError for a duplicate.

    off  parts that are switched off: by name, their public functions are closed; by handler, they stay as they are
    """

    def __init__(self, modules: Iterable[Module], *, off: Collection[Part] = ()) -> None:
        self._by_name: dict[str, Function] = {}
        self._by_handler: dict[Handler, Function] = {}
        for module in modules:
            functions = [
                _function(f"{module.name}:{one.name}", one.handler, public=public)
                for public, listed in ((True, module.public), (False, module.internal))
                for one in listed
            ]
            for function in functions:
                if function.identifier in self._by_name or function.handler in self._by_handler:
                    raise DaysongError(f"{function.identifier} is listed twice")
                self._by_handler[function.handler] = function
                is_closed = module.part in off and function.public and function.handler not in module.always
                self._by_name[function.identifier] = _closed(function, module.part) if is_closed else function

    def __iter__(self) -> Iterator[Function]:
        return iter(sorted(self._by_name.values(), key=lambda function: function.identifier))

    @cached_property
    def largest(self) -> int:
        """The largest maximum size of arguments of any function, in bytes."""
        return max((function.largest for function in self._by_name.values()), default=LARGEST)

    def of(self, handler: Handler) -> Function:
        """Return the function of a handler. Errors: KeyError when no module of this app lists it."""
        return self._by_handler[handler]

    def name_of(self, handler: Handler) -> str:
        """Return the wire name of a handler, for metrics; its own name when no module lists it."""
        function = self._by_handler.get(handler)
        return handler.__name__ if function is None else function.identifier

    def named(self, identifier: str) -> Function | None:
        """Return the function of that exact name, public or internal; None if there is none."""
        return self._by_name.get(identifier)

    def find(self, path: str, caller: Caller, kind: Kind | None = None) -> Function:
        """Return the function that `caller` may call by that path, optionally as `kind`.

        Errors: FunctionNotFound, also for internal functions; WrongFunctionKind.
        """
        identifier = path if path in self._by_name else canonical(path)
        function = self._by_name.get(identifier)
        if function is None or not (function.public or caller.is_admin):
            raise FunctionNotFound(f"Could not find public function for '{identifier}'.")
        if kind is not None and kind is not function.kind and kind not in function.accepted_as:
            raise WrongFunctionKind(
                f"Trying to execute {identifier} as {kind.value}, but it is defined as {function.kind.value}."
            )
        return function
