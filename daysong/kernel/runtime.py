"""Runs registered functions: gives each its context, its transaction, and its place in the logs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from daysong.kernel.clock import Clock
from daysong.kernel.context import ActionContext, Caller, MutationContext, QueryContext
from daysong.kernel.database import Database, Transaction
from daysong.kernel.jobs import Queue
from daysong.kernel.registry import Function, Kind, Registry
from daysong.kernel.settings import Settings

Handler = Callable[..., Awaitable[Any]]


class Runtime:
    """Everything a function call needs, put together once."""

    def __init__(
        self,
        *,
        settings: Settings,
        registry: Registry,
        database: Database,
        queue: Queue,
        clock: Clock,
        services: Mapping[type, Any],
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.database = database
        self.queue = queue
        self.clock = clock
        self.services = services

    async def call(self, function: Function, args: Any, caller: Caller, clock: Clock | None = None) -> Any:
        """Run `function` with typed `args`; returns its result object. `clock` replaces the app's for this call."""
        clock = clock or self.clock
        match function.kind:
            case Kind.QUERY:
                return await self._query(function, args, caller, clock)
            case Kind.MUTATION:
                return await self.mutate(function.handler, args, caller, clock)
            case Kind.ACTION:
                return await function.handler(self._action_context(caller, clock), args)

    async def run_query(self, handler: Handler, args: Any, caller: Caller, clock: Clock) -> Any:
        """Run a registered query by its handler."""
        return await self._query(self.registry.of(handler), args, caller, clock)

    async def run_mutation(self, handler: Handler, args: Any, caller: Caller, clock: Clock) -> Any:
        """Run a registered mutation by its handler, in a transaction of its own."""
        return await self.mutate(self.registry.of(handler).handler, args, caller, clock)

    async def mutate(
        self,
        handler: Handler,
        args: Any,
        caller: Caller,
        clock: Clock,
        *,
        afterwards: Callable[[Transaction], Awaitable[None]] | None = None,
    ) -> Any:
        """Run a mutation, and `afterwards` in the same transaction."""
        now = clock.now()

        async def work(tx: Transaction) -> Any:
            context = MutationContext(
                db=tx, now=now, caller=caller, settings=self.settings, scheduler=self.queue
            )  # fmt: skip
            result = await handler(context, args)
            if afterwards is not None:
                await afterwards(tx)
            return result

        return await self.database.mutate(work)

    async def _query(self, function: Function, args: Any, caller: Caller, clock: Clock) -> Any:
        now = clock.now()
        if function.snapshot:
            async with self.database.snapshot() as db:
                return await function.handler(QueryContext(db=db, now=now, caller=caller, settings=self.settings), args)
        context = QueryContext(db=self.database.one_statement(), now=now, caller=caller, settings=self.settings)
        return await function.handler(context, args)

    def _action_context(self, caller: Caller, clock: Clock) -> ActionContext:
        return ActionContext(clock=clock, caller=caller, settings=self.settings, runner=self, services=self.services)
