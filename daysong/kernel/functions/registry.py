"""The function registry: rooms publish queries, mutations and actions, and callers find them by name.

A registered function stays a plain function. The registry is a value built at start from the list of rooms.
"""

from __future__ import annotations

import enum
import re
import typing
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, TypeVar

import msgspec
import msgspec.inspect

from daysong.kernel.database.transactions import Isolation
from daysong.kernel.errors import ArgumentValidationError, DaysongError, FunctionNotFound, WrongFunctionKind
from daysong.kernel.functions.arguments import LARGEST, Reader
from daysong.kernel.functions.context import ActionContext, Caller, MutationContext, QueryContext
from daysong.kernel.limits.lanes import Lane

A = TypeVar("A", bound=msgspec.Struct)
R = TypeVar("R")
T = TypeVar("T")
LONGEST_RETRY_AFTER = 24 * 3600.0
Handler = Callable[..., Awaitable[Any]]


class Args(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Base of all argument types: camelCase on the wire, unknown fields refused."""


# An id as an argument: any short text; whether it exists is the function's question.
IdText = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class NoArgs(Args):
    """The arguments of a function that takes none."""


class Result(msgspec.Struct, rename="camel"):
    """Base of all result types: camelCase on the wire; a field left UNSET is left out."""


def given(value: T | None) -> T | msgspec.UnsetType:
    """A value for an optional field of a result: None becomes UNSET, so that the field is left out."""
    return msgspec.UNSET if value is None else value


class Kind(enum.Enum):
    """What a function may do; see the contexts."""

    QUERY = "Query"
    MUTATION = "Mutation"
    ACTION = "Action"


@dataclass(frozen=True)
class Retry:
    """How often and how patiently a job is tried again after a failure that may pass."""

    attempts: int = 8
    first: timedelta = timedelta(seconds=2)
    longest: timedelta = timedelta(minutes=5)

    def delay(self, failures: int, *, retry_after: float | None, jitter: float) -> timedelta | None:
        """How long to wait after that many failures, or None to give up.

        Doubles from `first` to `longest`; `jitter` in 0..1 takes up to half of it off, so that jobs that failed
        together do not come back together. A vendor's own `retry_after` (seconds) is the least we wait, up to a day.
        """
        if failures >= self.attempts:
            return None
        doubled: timedelta = self.first * 2 ** min(failures - 1, 20)
        backoff = min(doubled, self.longest) * (1 - jitter / 2)
        return max(backoff, timedelta(seconds=min(retry_after or 0, LONGEST_RETRY_AFTER)))


NO_RETRY = Retry(attempts=1)


@dataclass(frozen=True)
class Function:
    """A registered function and all that was declared about it."""

    identifier: str
    kind: Kind
    public: bool
    handler: Handler
    args_type: type[msgspec.Struct]
    result_type: Any
    reads: tuple[str, ...]
    snapshot: bool
    retry: Retry
    on_exhausted: Handler | None
    accepted_as: frozenset[Kind]
    # Of an action that is accepted as a mutation: the mutation that does what it is called for, and answers for it.
    settled_by: Handler | None = None
    verbatim: bool = False
    isolation: Isolation = "read_committed"
    largest: int = LARGEST
    # Which share of a worker's slots its jobs run in.
    lane: Lane = Lane.QUICK
    punctual: bool = False

    def decode(self, raw: bytes) -> Any:
        """The typed arguments of valid JSON: an object, or an array of at most one.

        Errors: ArgumentValidationError, which names the field, or says why else they are refused.
        """
        try:
            return self._reader.decode(raw)
        except msgspec.ValidationError as error:
            raise ArgumentValidationError(explain(allowed(self.args_type, str(error)))) from None

    def parse(self, decoded: Any) -> Any:
        """The typed arguments of decoded wire values, or ArgumentValidationError naming the field."""
        try:
            return self._reader.convert(decoded)
        except msgspec.ValidationError as error:
            raise ArgumentValidationError(explain(allowed(self.args_type, str(error)))) from None

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.args_type, largest=self.largest, verbatim=self.verbatim)


def explain(message: str) -> str:
    """A validation failure in the words the Convex clients' users know, with the types of the wire."""
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


# msgspec's names of types; of numbers the wire has one kind, of which some must be whole.
_WIRE_TYPES = {"str": "string", "int": "number", "float": "number", "bool": "boolean"}


def _on_the_wire(text: str) -> str:
    """msgspec's text with the wire's types: "Expected `string` of length <= 64, got `number`"."""
    expected, got, given_type = text.partition(", got ")

    def named(types: re.Match[str], whole: str) -> str:
        words = [whole if word == "int" else _WIRE_TYPES.get(word, word) for word in types[1].split(" | ")]
        return f"`{' | '.join(dict.fromkeys(words))}`"

    expected = re.sub(r"`([a-z |]+)`", lambda types: named(types, "integer"), expected)
    return expected + got + re.sub(r"`([a-z |]+)`", lambda types: named(types, "number"), given_type)


def allowed(args_type: Any, message: str) -> str:
    """What a field of a few values may be, for a failure that names the field alone: " (a, b or c)"."""
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


class Room:
    """A named set of functions. Two files may fill one name, as long as no function is published twice.

    A function is published under its own name in camelCase, or under the `name` it is given. With `verbatim` its
    arguments arrive exactly as they were sent, see `values.for_arguments`; it must then expect any value. `largest` is
    how many bytes of JSON its arguments may have.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.functions: list[Function] = []

    def query(
        self,
        *,
        public: bool = False,
        reads: tuple[str, ...] = (),
        snapshot: bool = False,
        name: str | None = None,
        verbatim: bool = False,
        largest: int = LARGEST,
    ) -> Callable[[Callable[[QueryContext, A], Awaitable[R]]], Callable[[QueryContext, A], Awaitable[R]]]:
        """Publish a query: one SQL statement, or with `snapshot` several that see one moment.

        `reads` names the tables whose changes may change its result.
        """

        def publish(handler: Callable[[QueryContext, A], Awaitable[R]]) -> Callable[[QueryContext, A], Awaitable[R]]:
            self._add(
                Kind.QUERY,
                handler,
                public=public,
                reads=reads,
                snapshot=snapshot,
                name=name,
                verbatim=verbatim,
                largest=largest,
            )
            return handler

        return publish

    def mutation(
        self,
        *,
        public: bool = False,
        retry: Retry = Retry(),
        name: str | None = None,
        verbatim: bool = False,
        isolation: Isolation = "read_committed",
        largest: int = LARGEST,
        lane: Lane = Lane.QUICK,
    ) -> Callable[[Callable[[MutationContext, A], Awaitable[R]]], Callable[[MutationContext, A], Awaitable[R]]]:
        """Publish a mutation: one transaction of that isolation, run again when it loses a race.

        What must hold between transactions stands on constraints, row locks and the account's lock; see
        docs/decisions/0010.
        """

        def publish(
            handler: Callable[[MutationContext, A], Awaitable[R]],
        ) -> Callable[[MutationContext, A], Awaitable[R]]:
            self._add(
                Kind.MUTATION,
                handler,
                public=public,
                retry=retry,
                name=name,
                verbatim=verbatim,
                largest=largest,
                isolation=isolation,
                lane=lane,
            )
            return handler

        return publish

    def action(
        self,
        *,
        public: bool = False,
        retry: Retry = Retry(),
        on_exhausted: Callable[[MutationContext, A], Awaitable[Any]] | None = None,
        also_as_mutation: Handler | None = None,
        name: str | None = None,
        verbatim: bool = False,
        largest: int = LARGEST,
        lane: Lane = Lane.ACCOUNTS,
        punctual: bool = False,
    ) -> Callable[[Callable[[ActionContext, A], Awaitable[R]]], Callable[[ActionContext, A], Awaitable[R]]]:
        """Publish an action: may wait for vendors, and reaches data through queries and mutations.

        As a job it is tried again by `retry`; when that is used up, `on_exhausted` runs with the same arguments in
        the transaction that marks the job dead. `also_as_mutation` lets clients that call it a mutation through: it
        names the mutation the action runs, at most once, and whose result it returns. Its jobs wait in `lane`. A
        `punctual` one decides by the time of day: its jobs wait while this process's clock is wrong.
        """

        def publish(handler: Callable[[ActionContext, A], Awaitable[R]]) -> Callable[[ActionContext, A], Awaitable[R]]:
            self._add(
                Kind.ACTION,
                handler,
                public=public,
                retry=retry,
                on_exhausted=on_exhausted,
                accepted_as=frozenset({Kind.MUTATION}) if also_as_mutation else frozenset(),
                settled_by=also_as_mutation,
                name=name,
                verbatim=verbatim,
                largest=largest,
                lane=lane,
                punctual=punctual,
            )
            return handler

        return publish

    def _add(
        self,
        kind: Kind,
        handler: Handler,
        *,
        public: bool,
        reads: tuple[str, ...] = (),
        snapshot: bool = False,
        retry: Retry = Retry(),
        on_exhausted: Handler | None = None,
        accepted_as: frozenset[Kind] = frozenset(),
        settled_by: Handler | None = None,
        name: str | None = None,
        verbatim: bool = False,
        isolation: Isolation = "read_committed",
        largest: int = LARGEST,
        lane: Lane = Lane.QUICK,
        punctual: bool = False,
    ) -> None:
        hints = typing.get_type_hints(handler)
        self.functions.append(
            Function(
                identifier=f"{self.name}:{name or camel(handler.__name__)}",
                kind=kind,
                public=public,
                handler=handler,
                args_type=hints["args"],
                result_type=hints["return"],
                reads=reads,
                snapshot=snapshot,
                retry=retry,
                on_exhausted=on_exhausted,
                accepted_as=accepted_as | {kind},
                settled_by=settled_by,
                verbatim=verbatim,
                isolation=isolation,
                largest=largest,
                lane=lane,
                punctual=punctual,
            )
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

    def __init__(self, rooms: Iterable[Room]) -> None:
        self._by_name: dict[str, Function] = {}
        self._by_handler: dict[Handler, Function] = {}
        for room in rooms:
            for function in room.functions:
                if function.identifier in self._by_name:
                    raise DaysongError(f"{function.identifier} is published twice")
                self._by_name[function.identifier] = function
                self._by_handler[function.handler] = function

    def __iter__(self) -> Iterator[Function]:
        return iter(sorted(self._by_name.values(), key=lambda function: function.identifier))

    @cached_property
    def largest(self) -> int:
        """How many bytes the arguments of any function may have at most."""
        return max((function.largest for function in self._by_name.values()), default=LARGEST)

    def of(self, handler: Handler) -> Function:
        """What was declared about a handler; KeyError if its room is not part of this app."""
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
