"""The requests of a client on a socket: mutations run in order, actions run concurrently.

A running request completes even when the client disconnects. A queued mutation does not: the client reconnects and
sends it again. While the database is not available, a mutation waits. When the result of a commit is lost, its outcome
is unknown: the socket is closed, and the client's retry finds the recorded answer, if any. It is not looked for at
once, since a primary that is dying may show a commit that no standby has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from daysong.kernel import logs, values
from daysong.kernel.database.connections import BROKEN as CONNECTION_LOST
from daysong.kernel.database.transactions import LOST, Statement
from daysong.kernel.errors import ArgumentValidationError, DatabaseUnavailable
from daysong.kernel.functions.arguments import ArgumentsTooLarge
from daysong.kernel.functions.context import Caller, MutationContext, Notes
from daysong.kernel.functions.declarations import Kind
from daysong.kernel.functions.registry import Function
from daysong.kernel.monitoring import tracing
from daysong.transport import answered, calls, encoding
from daysong.transport.answered import Answer
from daysong.transport.callers.auth import SignIn
from daysong.transport.calls import Failure, Success
from daysong.transport.sync import messages as sync_messages
from daysong.transport.sync.commits import Commit
from daysong.transport.sync.hub import INTERNAL_ERROR
from daysong.transport.sync.messages import Action, Mutation
from daysong.transport.sync.outage import Outage
from daysong.transport.sync.session import Session

_encode = msgspec.json.Encoder().encode
log = logs.get_logger("sync")

Handler = Callable[..., Awaitable[Any]]


class PendingRequest(NamedTuple):
    """A request, its caller, and the size of its message in bytes; a request that is `too_large` has no arguments."""

    request: Mutation | Action
    sign_in: SignIn | None
    size: int
    too_large: bool


class Requests:
    """The requests of one connection. `open` counts those without a response, `size` is their size in bytes."""

    __slots__ = ("_queue", "_session", "_worker", "open", "size")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._queue: list[PendingRequest] = []
        self._worker: asyncio.Task[None] | None = None
        self.open = self.size = 0

    def add(self, request: Mutation | Action, size: int, *, too_large: bool = False) -> None:
        """Run the request as the current caller, or refuse it if it is `too_large`; mutations run in order.

        `size` is that of its message in bytes.
        """
        pending = PendingRequest(request, self._session.sign_in, size, too_large)
        if not self._session.still_signed_in(pending.sign_in):
            return
        self.open += 1
        self.size += size
        self._session.set_held_bytes(requests=self.size)
        if isinstance(request, Action):
            self._start(self._in_scope(pending, self._run_action))
            return
        self._queue.append(pending)
        if self._worker is None:
            self._worker = self._start(self._run_mutations())

    def _start(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._session.hub.track(task)
        return task

    async def _run_mutations(self) -> None:
        wire = self._session.wire
        while self._queue:
            await wire.wait_until(lambda: wire.unsent < self._session.hub.limits.backlog)
            if wire.ended or wire.closing:
                break
            # Yield: a request that is refused awaits nothing.
            await asyncio.sleep(0)
            await self._session.hub.wait_for_room(self._session.address)
            pending = self._queue.pop(0)
            if not self._session.still_signed_in(pending.sign_in):
                break
            await self._in_scope(pending, self._run_mutation)
        self._worker = None

    async def _in_scope(self, pending: PendingRequest, work: Callable[[PendingRequest], Awaitable[None]]) -> None:
        """Run one request under a new request id; an unexpected error closes the socket."""
        session = self._session
        try:
            identifier = logs.new_request_id()
            with (
                logs.request_scope(identifier),
                tracing.span("sync", "server", parent=None, request=identifier),
            ):
                await work(pending)
        except (*CONNECTION_LOST, OSError) as error:
            log.warning("request given up", error=logs.describe(error))
            session.wire.close(*INTERNAL_ERROR)
        except Exception:
            # The client reconnects and retries.
            log.exception("request failed")
            session.wire.close(*INTERNAL_ERROR)
        finally:
            self.open -= 1
            self.size -= pending.size
            session.set_held_bytes(requests=self.size)
            session.wire.notify_waiters()

    def _caller(self, sign_in: SignIn | None) -> Caller:
        hub = self._session.hub
        if sign_in is not None:
            return sign_in.caller
        return hub.authenticator.viewer(self._session.address, hub.runtime.clock.now())

    # Actions

    async def _run_action(self, pending: PendingRequest) -> None:
        session, request = self._session, pending.request
        await session.hub.wait_for_room(session.address)
        result: Success | Failure
        try:
            self._check(pending)
        except ArgumentValidationError as error:
            result = self._failure(error, None, Notes())
        else:
            result = await calls.call(
                session.hub.runtime,
                request.udf_path,
                request.args,
                self._caller(pending.sign_in),
                kind=Kind.ACTION,
                viewer=session.viewer,
            )
        if isinstance(result, Success):
            try:
                encoded = await encoding.encode(result.function, result.value)
                encoding.check_size(encoded, session.hub.limits.result)
                session.wire.send(sync_messages.succeeded(request, encoded, result.log_lines, None))
            except (TypeError, OverflowError, encoding.ResultTooLarge) as error:
                result = calls.failure(
                    error, result.function, production=session.hub.runtime.settings.production
                )  # fmt: skip
        if isinstance(result, Failure):
            self._send_failure(request, result)
        session.after_response(changed=False)

    # Mutations

    async def _run_mutation(self, pending: PendingRequest) -> None:
        session, request = self._session, pending.request
        caller, notes, started = self._caller(pending.sign_in), Notes(), time.perf_counter()
        function: Function | None = None
        result: Success | Failure
        try:
            function = session.hub.runtime.registry.find(request.udf_path, caller, Kind.MUTATION)
            self._check(pending)
            args = calls.decode_args(function, request.args)
            mutation = _IdempotentMutation(session, request, caller, notes)
            answer = await mutation.run_when_available(function, args)
            result = Success(None, function)
            # No await between these lines: a Transition may be sent at any await.
            session.wire.send(sync_messages.succeeded(request, answer.result, answer.log_lines, answer.ts))
            session.commits.settle()
        except (*CONNECTION_LOST, OSError) as error:
            if not isinstance(error, ValueError):
                raise
            result = self._failure(error, function, notes)
        except Exception as error:  # noqa: BLE001 - every error is reported to the caller
            result = self._failure(error, function, notes)
        if isinstance(result, Failure):
            session.commits.roll_back_unsettled()
            self._send_failure(request, result)
        calls.measure(result, started)
        session.wire.notify_waiters()
        session.after_response(changed=isinstance(result, Success))

    def _check(self, pending: PendingRequest) -> None:
        calls.refuse_component(pending.request.component_path)
        if pending.too_large:
            raise ArgumentsTooLarge(self._session.hub.runtime.registry.largest)

    def _failure(self, error: Exception, function: Function | None, notes: Notes) -> Failure:
        if isinstance(error, answered.AnsweredToOtherCaller):
            return Failure(str(error), None, function, "refused")
        production = self._session.hub.runtime.settings.production
        return calls.failure(error, function, production=production, log_lines=notes.log_lines)

    def _send_failure(self, request: Mutation | Action, result: Failure) -> None:
        data = None if result.data is None else _encode(values.encode(result.data))
        self._session.wire.send(sync_messages.failed(request, result.message, data, result.log_lines))


class _IdempotentMutation:
    """Runs a mutation at most once per request of a session, and without a session each time.

    It is also the runner of an action that clients call as a mutation (`settled_by`), for the mutation that settles it.
    """

    def __init__(self, session: Session, request: Mutation | Action, caller: Caller, notes: Notes) -> None:
        self._session = session
        self._runtime = session.hub.runtime
        self._caller = caller
        self._notes = notes
        self._key = None
        if session.session_id is not None:
            keys = self._runtime.settings.hash_keys
            self._key = answered.request_of(session.session_id, request.request_id, caller, keys)
        self._settled_by: Handler | None = None
        self._answer: Answer | None = None
        # Whether an earlier run may have been committed.
        self._in_doubt = False

    async def run_when_available(self, function: Function, args: Any) -> Answer:
        """Do the same as `run`, after waiting for the database if it is not available for moments."""
        outage = Outage()
        while True:
            try:
                return await self.run(function, args)
            except Exception as error:
                # Were the socket closed, the client could not get back until the database is.
                is_away = isinstance(error, DatabaseUnavailable) and not self._session.wire.ended
                if is_away and await outage.wait(error):
                    continue
                if self._in_doubt:
                    raise ConnectionError("The connection was lost, perhaps after a commit.") from error
                raise

    async def run(self, function: Function, args: Any) -> Answer:
        """Return the answer of this run, or the recorded answer of an earlier one."""
        if function.repeatable:
            # A retry runs it again.
            self._key = None
        if self._may_be_retry(function):
            try:
                recorded = await self._recorded()
            except (*CONNECTION_LOST, OSError) as error:
                raise DatabaseUnavailable("The connection was lost before anything was done.") from error
            if recorded is not None:
                return recorded
        if self._runtime.gate is not None:
            await self._runtime.gate(function, self._caller, self._session.viewer)
        try:
            return await self._run(function, args)
        except Exception as error:
            if isinstance(error, (*CONNECTION_LOST, OSError)) and not isinstance(error, ValueError):
                raise
            # An earlier or concurrent run of the same request may be the reason for the failure.
            recorded = await self._recorded()
            if recorded is None:
                raise
            return recorded

    def _may_be_retry(self, function: Function) -> bool:
        """Whether to look for a recorded answer before anything is done.

        Without that, a retry is found out when it records its answer, and is rolled back. Clients do not retry on their
        first socket. What an action has done before its mutation would not be rolled back.
        """
        return self._session.has_reconnected or self._in_doubt or function.kind is not Kind.MUTATION

    async def _run(self, function: Function, args: Any) -> Answer:
        runtime = self._runtime
        if function.kind is Kind.MUTATION:
            _, answer = await self._mutate(function, args)
            return answer
        self._settled_by = function.settled_by
        value = await runtime.call(function, args, self._caller, notes=self._notes, runner=self)
        if self._answer is not None:
            return self._answer
        # The action returned without running the mutation, so there is no answer to record.
        commit = self._session.commits.add()
        return Answer(self._encoded(function, value), self._notes.log_lines, commit.ts)

    async def run_query(self, handler: Handler, args: Any, caller: Caller) -> Any:
        """For an action: run a query."""
        return await self._runtime.run_query(handler, args, caller)

    async def run_mutation(self, handler: Handler, args: Any, caller: Caller) -> Any:
        """For an action: run a mutation; the one that settles the action runs at most once."""
        if handler is not self._settled_by:
            return await self._runtime.run_mutation(handler, args, caller)
        value, self._answer = await self._mutate(self._runtime.registry.of(handler), args)
        return value

    async def _mutate(self, function: Function, args: Any) -> tuple[Any, Answer]:
        """Run the mutation, as one statement if it can be; return its result, and the answer recorded with it."""
        statement = self._runtime.statement_of(function, args, self._caller)
        if statement is not None and (answer := await self._run_alone(statement, function)) is not None:
            return statement.result, answer
        return await self._transact(function, args)

    async def _transact(self, function: Function, args: Any) -> tuple[Any, Answer]:
        """Run the mutation in a transaction; return its result, and the answer recorded in it."""
        session, notes = self._session, self._notes
        commit: Commit | None = None

        async def run_and_record(ctx: MutationContext, given: Any) -> tuple[Any, Answer]:
            nonlocal commit
            if commit is not None:
                # The previous attempt was rolled back.
                session.commits.roll_back(commit)
                commit = None
            value = await function.handler(ctx, given)
            result = self._encoded(function, value)
            # From here on Transitions account for this commit.
            commit = session.commits.add()
            answer = Answer(result, list(notes.log_lines), commit.ts)
            if self._key is None:
                commit.transaction = int(await ctx.db.fetchval("select pg_current_xact_id()::text"))
            else:
                commit.transaction = await answered.record(ctx, self._key, answer)
            return value, answer

        try:
            done: tuple[Any, Answer] = await self._runtime.mutate(
                run_and_record, args, self._caller, notes=notes, isolation=function.isolation
            )
        except DatabaseUnavailable:
            # It was raised before a transaction, after any earlier attempt was rolled back.
            if commit is not None:
                session.commits.roll_back(commit)
            raise
        except (*CONNECTION_LOST, OSError):
            # The outcome is unknown: Transitions keep waiting for the commit, and the socket is closed.
            raise
        except Exception:
            if commit is not None:
                session.commits.roll_back(commit)
            raise
        return done

    async def _run_alone(self, statement: Statement, function: Function) -> Answer | None:
        """Run the statement that does the whole mutation and records its answer; None when it has done nothing."""
        session, runtime = self._session, self._runtime
        result = self._encoded(function, statement.result)
        commit = session.commits.add(in_doubt=True)
        answer = Answer(result, list(self._notes.log_lines), commit.ts)
        if self._key is not None:
            statement = answered.recorded(statement, self._key, answer, self._caller, runtime.clock.now())
        try:
            transaction = await runtime.run_alone(statement, function, self._caller)
        except DatabaseUnavailable:
            session.commits.roll_back(commit)
            raise
        except (*LOST, OSError) as error:
            # The outcome is unknown: Transitions keep waiting for the commit.
            if self._key is None:
                raise
            self._in_doubt = True
            raise DatabaseUnavailable("The connection was lost; only one run can record the answer.") from error
        except Exception:
            session.commits.roll_back(commit)
            raise
        if transaction is None:
            session.commits.roll_back(commit)
            return None
        session.commits.identify(commit, transaction)
        return answer

    async def _recorded(self) -> Answer | None:
        """Return the recorded answer of an earlier run, if there is one."""
        if self._key is None:
            return None
        answer = await answered.find(self._runtime.database.one_statement(), self._key)
        if answer is not None:
            await self._runtime.database.mutate(answered.confirm)
            # A Transition that is being computed may not see the commit yet.
            self._session.hub.timestamps.seen(answer.ts)
            self._session.commits.add(answer.ts)
        return answer

    def _encoded(self, function: Function, value: Any) -> str:
        return encoding.check_size(encoding.encode_now(function, value), self._session.hub.limits.result).decode()
