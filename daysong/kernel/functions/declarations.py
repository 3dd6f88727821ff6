"""Decorators that declare a handler and its behaviour, `@query`, `@mutation` and `@action`, and base types.

A decorated handler stays a plain function: other functions call it with their own context. Its wire name, and whether
clients may call it, are in `surface.py` alone.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeVar, cast, overload

import msgspec

from daysong.kernel.database.transactions import Isolation, Statement
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.arguments import LARGEST, Reader
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext, StatementContext
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.values import StoredJson

A = TypeVar("A", bound=msgspec.Struct)
R = TypeVar("R")
T = TypeVar("T")
LONGEST_RETRY_AFTER = 24 * 3600.0
Handler = Callable[..., Awaitable[Any]]
# How much of the newest a query on a replica must show; see kernel/database/replica.py.
OnReplica = Literal["current", "lagging"]
AtOnce = Callable[[StatementContext, Any], Statement | None]
Query = Callable[[QueryContext, A], Awaitable[R]]
Mutation = Callable[[MutationContext, A], Awaitable[R]]
Action = Callable[[ActionContext, A], Awaitable[R]]


class Args(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Base of all argument types: camelCase on the wire, unknown fields are rejected."""


# An id as an argument: any short string; the function checks whether it exists.
IdText = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class NoArgs(Args):
    """The arguments of a function that takes none."""


class Result(msgspec.Struct, rename="camel"):
    """Base of all result types: camelCase on the wire; UNSET fields are omitted."""


def given(value: T | None) -> T | msgspec.UnsetType:
    """Return the value, or UNSET for None, so that an optional field of a result is omitted."""
    return msgspec.UNSET if value is None else value


def stored(text: str | None) -> StoredJson | msgspec.UnsetType:
    """Return the text of a `jsonb` column for a field of a result, or UNSET for None."""
    return msgspec.UNSET if text is None else StoredJson(text)


class Kind(enum.Enum):
    """The kind of a function, which says what it may do; see `context.py`."""

    QUERY = "Query"
    MUTATION = "Mutation"
    ACTION = "Action"


@dataclass(frozen=True)
class Retry:
    """How often a job is retried after a transient failure, and with what backoff.

    outlasts_outages  whether it waits for a vendor that is down without using up attempts. A poll does not: others
                      follow it, and `on_exhausted` ends what is overdue.
    """

    attempts: int = 8
    first: timedelta = timedelta(seconds=2)
    longest: timedelta = timedelta(minutes=5)
    outlasts_outages: bool = True

    def delay(self, failures: int, *, retry_after: float | None, jitter: float) -> timedelta | None:
        """Return the backoff after that many failures; None when no attempt is left.

        Doubles from `first` to `longest`; `jitter` in 0..1 takes off up to half, so that jobs that failed together are
        not retried together. A vendor's `retry_after` (seconds, up to a day) is the minimum.
        """
        if failures >= self.attempts:
            return None
        doubled: timedelta = self.first * 2 ** min(failures - 1, 20)
        backoff = min(doubled, self.longest) * (1 - jitter / 2)
        return max(backoff, timedelta(seconds=min(retry_after or 0, LONGEST_RETRY_AFTER)))


NO_RETRY = Retry(attempts=1)


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The options of a handler's decorator.

    reads          the tables whose changes may change a query's result
    snapshot       a query of several statements, which see the same snapshot
    replica        a query of one statement that is read on the replica, if there is one: what it shows is `current`, or
                   `lagging` by seconds for those who act as no user
    retry          how its jobs are retried
    on_exhausted   the mutation that runs, with the same arguments, in the transaction that marks its job dead
    settled_by     the mutation that an action runs at most once and whose result it returns; clients may then call the
                   action as a mutation
    reader         how arguments are decoded
    isolation      the isolation level of a mutation's transaction
    at_once        returns the one statement that does what the mutation does for most calls, None for one that needs
                   more; the handler runs when the statement has changed nothing
    repeatable     a mutation that does and returns the same when it is run again, so that its answer is not recorded
                   for clients that retry: it may quote a person who is not the caller
    largest        the maximum size of its arguments, in bytes of JSON
    lane           the share of a worker's slots that its jobs run in
    punctual       depends on the time of day: its jobs wait while this process's clock is wrong
    """

    kind: Kind
    handler: Handler
    reads: tuple[str, ...] = ()
    snapshot: bool = False
    replica: OnReplica | None = None
    retry: Retry = Retry()
    on_exhausted: Handler | None = None
    settled_by: Handler | None = None
    reader: type[Reader] = Reader
    isolation: Isolation = "read_committed"
    at_once: AtOnce | None = None
    repeatable: bool = False
    largest: int = LARGEST
    lane: Lane = Lane.QUICK
    punctual: bool = False

    @property
    def accepted_as(self) -> frozenset[Kind]:
        """The kinds that clients may call it as."""
        return frozenset({self.kind, Kind.MUTATION}) if self.settled_by else frozenset({self.kind})


_ATTRIBUTE = "__declaration__"


def declaration_of(handler: Handler) -> Declaration:
    """Return the declaration of a handler. Errors: DaysongError when it has no decorator."""
    found = getattr(handler, _ATTRIBUTE, None)
    if found is None:
        raise DaysongError(f"{handler.__module__}.{handler.__name__} is not a query, a mutation or an action")
    return cast("Declaration", found)


def _declare(handler: Handler | None, kind: Kind, **options: Any) -> Any:
    def declare(handler: Handler) -> Handler:
        setattr(handler, _ATTRIBUTE, Declaration(kind=kind, handler=handler, **options))
        return handler

    return declare if handler is None else declare(handler)


@overload
def query(handler: Query[A, R], /) -> Query[A, R]: ...


@overload
def query(
    *,
    reads: tuple[str, ...] = (),
    snapshot: bool = False,
    replica: OnReplica | None = None,
    reader: type[Reader] = Reader,
    largest: int = LARGEST,
) -> Callable[[Query[A, R]], Query[A, R]]: ...


def query(handler: Handler | None = None, /, **options: Any) -> Any:
    """Declare a query: one SQL statement, or several on one snapshot; see `Declaration`.

    Errors: DaysongError for several statements on a replica, whose connection has no transaction.
    """
    if options.get("snapshot") and options.get("replica"):
        raise DaysongError("a query on a replica is one statement")
    return _declare(handler, Kind.QUERY, **options)


@overload
def mutation(handler: Mutation[A, R], /) -> Mutation[A, R]: ...


@overload
def mutation(
    *,
    retry: Retry = Retry(),
    reader: type[Reader] = Reader,
    isolation: Isolation = "read_committed",
    at_once: AtOnce | None = None,
    repeatable: bool = False,
    largest: int = LARGEST,
    lane: Lane = Lane.QUICK,
) -> Callable[[Mutation[A, R]], Mutation[A, R]]: ...


def mutation(handler: Handler | None = None, /, **options: Any) -> Any:
    """Declare a mutation: one transaction, retried after a deadlock; see `Declaration`.

    Correctness under concurrency rests on constraints, row locks and the account's lock; see docs/decisions/0010.
    """
    return _declare(handler, Kind.MUTATION, **options)


@overload
def action(handler: Action[A, R], /) -> Action[A, R]: ...


@overload
def action(
    *,
    retry: Retry = Retry(),
    on_exhausted: Mutation[A, Any] | None = None,
    settled_by: Handler | None = None,
    reader: type[Reader] = Reader,
    largest: int = LARGEST,
    lane: Lane = Lane.ACCOUNTS,
    punctual: bool = False,
) -> Callable[[Action[A, R]], Action[A, R]]: ...


def action(handler: Handler | None = None, /, **options: Any) -> Any:
    """Declare an action: it may call vendors, and accesses data through queries and mutations; see `Declaration`."""
    return _declare(handler, Kind.ACTION, **{"lane": Lane.ACCOUNTS} | options)
