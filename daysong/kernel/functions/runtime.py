"""Runs registered functions, each with its context and transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from daysong.kernel.database.replica import Replica
from daysong.kernel.database.transactions import Database, Isolation, Reader, Statement, Transaction
from daysong.kernel.database.turns import Turns
from daysong.kernel.functions.context import (
    ActionContext,
    Caller,
    MutationContext,
    Notes,
    QueryContext,
    Runner,
    StatementContext,
)
from daysong.kernel.functions.declarations import Kind
from daysong.kernel.functions.registry import Function, Registry
from daysong.kernel.jobs.queue import Queue
from daysong.kernel.monitoring import tracing
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import Clock, CurrentClock
from daysong.kernel.time.timestamps import Timestamps

Handler = Callable[..., Awaitable[Any]]
T = TypeVar("T")

# One holds the account's lock and one waits for it; more would only hold connections.
MUTATIONS_OF_ONE_ACCOUNT = 2

# After a statement `at_once` that changed nothing: the same reason may hold for the next calls, such as a flag.
UNTRIED = 16


class Runtime:
    """Everything a function call needs, built once."""

    def __init__(
        self,
        *,
        settings: Settings,
        registry: Registry,
        database: Database,
        queue: Queue,
        clock: Clock,
        services: Mapping[type, Any],
        replica: Replica | None = None,
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.database = database
        self.replica = replica
        self.queue = queue
        self.clock = CurrentClock(clock)
        self.timestamps = Timestamps(clock)
        self.services = services
        self._turns = Turns(MUTATIONS_OF_ONE_ACCOUNT)
        # By function: for how many calls `at_once` is not tried.
        self._untried: dict[str, int] = {}
        # Set while a server that is about to stop still serves.
        self.is_draining = False
        # Called before a client's mutation or action runs; may reject it with an ExpectedError.
        self.gate: Callable[[Function, Caller, str], Awaitable[None]] | None = None

    def call(
        self,
        function: Function,
        args: Any,
        caller: Caller,
        notes: Notes | None = None,
        runner: Runner | None = None,
    ) -> Awaitable[Any]:
        """Run `function` with typed `args` and return its result object.

        `notes` collect its log lines and dependencies, and `runner` runs the queries and mutations of an action.
        """
        match function.kind:
            case Kind.QUERY:
                if function.replica is not None and self.replica is not None:
                    return self._query_replica(self.replica, function, args, caller, notes)
                return self._query(function, args, caller, notes)
            case Kind.MUTATION:
                return self._mutation(function, args, caller, notes)
            case Kind.ACTION:
                return function.handler(self._action_context(caller, notes, runner), args)

    async def run_query(self, handler: Handler, args: Any, caller: Caller) -> Any:
        """Run a registered query by its handler."""
        function = self.registry.of(handler)
        with _span_of(function):
            return await self._query(function, args, caller)

    async def run_mutation(self, handler: Handler, args: Any, caller: Caller) -> Any:
        """Run a registered mutation by its handler, in a transaction of its own."""
        function = self.registry.of(handler)
        with _span_of(function):
            return await self._mutation(function, args, caller)

    async def mutate(
        self,
        handler: Handler,
        args: Any,
        caller: Caller,
        *,
        afterwards: Callable[[Transaction], Awaitable[None]] | None = None,
        notes: Notes | None = None,
        isolation: Isolation = "read_committed",
    ) -> Any:
        """Run a mutation, and then `afterwards` in the same transaction."""
        now = self.clock.now()

        async def work(tx: Transaction) -> Any:
            if notes is not None:
                notes.log_lines.clear()  # of an attempt that was rolled back
            context = MutationContext(
                db=tx, now=now, caller=caller, settings=self.settings, scheduler=self.queue, notes=notes
            )  # fmt: skip
            result = await handler(context, args)
            if afterwards is not None:
                await afterwards(tx)
            return result

        async with self._turns.of(caller.subject):
            return await self.database.mutate(work, isolation=isolation, name=self.registry.name_of(handler))

    async def _mutation(self, function: Function, args: Any, caller: Caller, notes: Notes | None = None) -> Any:
        statement = self.statement_of(function, args, caller)
        if statement is not None and await self.run_alone(statement, function, caller) is not None:
            return statement.result
        return await self.mutate(function.handler, args, caller, notes=notes, isolation=function.isolation)

    def statement_of(self, function: Function, args: Any, caller: Caller) -> Statement | None:
        """Return the statement that does the whole mutation, if there is one and it is worth a try."""
        if function.at_once is None:
            return None
        if untried := self._untried.get(function.identifier, 0):
            self._untried[function.identifier] = untried - 1
            return None
        return function.at_once(StatementContext(self.clock.now(), caller, self.settings, self.queue), args)

    async def run_alone(self, statement: Statement, function: Function, caller: Caller) -> int | None:
        """Run the statement that does a whole mutation; return the transaction's id, None when it has done nothing."""

        async def work(tx: Transaction) -> str | None:
            found: str | None = await tx.fetchval(statement.sql, *statement.args)
            return found

        async with self._turns.of(caller.subject):
            transaction = await self.database.mutate(work, one_statement=True, name=function.identifier)
        if transaction is None:
            self._untried[function.identifier] = UNTRIED
            return None
        for counter in statement.counters:
            counter.inc()
        return int(transaction)

    def query_on(
        self, db: Reader, function: Function, args: Any, caller: Caller, *, now: datetime, notes: Notes
    ) -> Awaitable[Any]:
        """Run a query on an open snapshot."""
        context = QueryContext(db=db, now=now, caller=caller, settings=self.settings, notes=notes)
        return function.handler(context, args)

    def _query(self, function: Function, args: Any, caller: Caller, notes: Notes | None = None) -> Awaitable[Any]:
        now, notes = self.clock.now(), notes or Notes()
        if function.snapshot:
            return self._query_snapshot(function, args, caller, now, notes)
        db = self.database.one_statement()
        return self.query_on(db, function, args, caller, now=now, notes=notes)

    async def _query_snapshot(self, function: Function, args: Any, caller: Caller, now: datetime, notes: Notes) -> Any:
        async with self.database.snapshot() as db:
            return await self.query_on(db, function, args, caller, now=now, notes=notes)

    async def _query_replica(
        self, replica: Replica, function: Function, args: Any, caller: Caller, notes: Notes | None
    ) -> Any:
        may_lag = function.replica == "lagging"
        if may_lag and caller.subject is not None:
            return await self._query(function, args, caller, notes)
        now, notes = self.clock.now(), notes or Notes()

        async def work(db: Reader) -> Any:
            notes.log_lines.clear()  # of an attempt that failed
            return await self.query_on(db, function, args, caller, now=now, notes=notes)

        return await replica.read(function.identifier, work, may_lag=may_lag)

    async def read(self, name: str, work: Callable[[Reader], Awaitable[T]], *, may_lag: bool = False) -> T:
        """Run one statement outside of functions, on the replica if there is one; see `Replica.read`."""
        if self.replica is None:
            return await work(self.database.one_statement())
        return await self.replica.read(name, work, may_lag=may_lag)

    def _action_context(self, caller: Caller, notes: Notes | None, runner: Runner | None) -> ActionContext:
        return ActionContext(
            now=self.clock.now(),
            caller=caller,
            settings=self.settings,
            runner=runner or self,
            services=self.services,
            notes=notes,
        )


def _span_of(function: Function) -> tracing.Span:
    return tracing.span(function.identifier, function=function.identifier, kind=function.kind_name)
