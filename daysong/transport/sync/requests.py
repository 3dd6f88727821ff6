"""What a client asks to be done on a socket: mutations one after another, actions beside each other.

What was begun comes to its end even if the client goes away meanwhile. A mutation that was waiting does not: the
client comes back and asks again. When a commit's own answer is lost, it is unknown whether it happened; then the socket
is closed, and the client's asking again finds out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from daysong.kernel import logs, values
from daysong.kernel.database.connections import BROKEN as CONNECTION_LOST
from daysong.kernel.errors import ArgumentValidationError
from daysong.kernel.functions.arguments import ArgumentsTooLarge
from daysong.kernel.functions.context import Caller, MutationContext, Notes
from daysong.kernel.functions.declarations import Kind
from daysong.kernel.functions.registry import Function
from daysong.transport import answered, calls, encoding
from daysong.transport.answered import Answer
from daysong.transport.callers.auth import Session as SignIn
from daysong.transport.calls import Failure, Success
from daysong.transport.sync import messages as sync_messages
from daysong.transport.sync.hub import BROKEN
from daysong.transport.sync.messages import Action, Mutation
from daysong.transport.sync.session import Commit, Session

_encode = msgspec.json.Encoder().encode
log = logs.get_logger("sync")

Handler = Callable[..., Awaitable[Any]]


class Asked(NamedTuple):
    """A request, who made it, and how large its message was; one that was `too_large` has no arguments."""

    request: Mutation | Action
    sign_in: SignIn | None
    size: int
    too_large: bool


class Requests:
    """The requests of one connection. `open` are those that are not answered yet, `size` their bytes."""

    __slots__ = ("_queue", "_session", "_worker", "open", "size")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._queue: list[Asked] = []
        self._worker: asyncio.Task[None] | None = None
        self.open = self.size = 0

    def take(self, request: Mutation | Action, size: int, *, too_large: bool = False) -> None:
        """Run the request in order, as the current caller; or refuse it in order, if it is `too_large`.

        `size` is how many bytes its message has.
        """
        asked = Asked(request, self._session.sign_in, size, too_large)
        if not self._session.still_signed_in(asked.sign_in):
            return
        self.open += 1
        self.size += size
        self._session.hold(requests=self.size)
        if isinstance(request, Action):
            self._go(self._in_scope(asked, self._run_action))
            return
        self._queue.append(asked)
        if self._worker is None:
            self._worker = self._go(self._mutate_all())

    def _go(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._session.hub.work(task)
        return task

    async def _mutate_all(self) -> None:
        wire = self._session.wire
        while self._queue:
            await wire.until(lambda: wire.waiting < self._session.hub.limits.backlog)
            if wire.ended or wire.closing:
                break
            # One that is refused waits for nothing, and others are to have their turn.
            await asyncio.sleep(0)
            await self._session.hub.room(self._session.address)
            asked = self._queue.pop(0)
            if not self._session.still_signed_in(asked.sign_in):
                break
            await self._in_scope(asked, self._mutate)
        self._worker = None

    async def _in_scope(self, asked: Asked, work: Callable[[Asked], Awaitable[None]]) -> None:
        """Run one request under an id of its own; an unexpected error closes the socket."""
        session = self._session
        try:
            with logs.request_scope(logs.new_request_id()):
                await work(asked)
        except (*CONNECTION_LOST, OSError) as error:
            log.warning("request given up", error=logs.describe(error))
            session.wire.close(*BROKEN)
        except Exception:
            # The client asks again.
            log.exception("request failed")
            session.wire.close(*BROKEN)
        finally:
            self.open -= 1
            self.size -= asked.size
            session.hold(requests=self.size)
            session.wire.changed()

    def _caller(self, sign_in: SignIn | None) -> Caller:
        hub = self._session.hub
        if sign_in is not None:
            return sign_in.caller
        return hub.authenticator.viewer(self._session.address, hub.runtime.clock.now())

    # Actions

    async def _run_action(self, asked: Asked) -> None:
        session, request = self._session, asked.request
        await session.hub.room(session.address)
        ended: Success | Failure
        try:
            self._check(asked)
        except ArgumentValidationError as error:
            ended = self._failure(error, None, Notes())
        else:
            ended = await calls.call(
                session.hub.runtime,
                request.udf_path,
                request.args,
                self._caller(asked.sign_in),
                kind=Kind.ACTION,
                viewer=session.viewer,
            )
        if isinstance(ended, Success):
            try:
                encoded = await encoding.encoded(ended.function, ended.value)
                result = encoding.within(encoded, session.hub.limits.result)
                session.wire.say(sync_messages.succeeded(request, result, ended.log_lines, None))
            except (TypeError, OverflowError, encoding.ResultTooLarge) as error:
                ended = calls.failure(
                    error, ended.function, production=session.hub.runtime.settings.production
                )  # fmt: skip
        if isinstance(ended, Failure):
            self._tell_failure(request, ended)
        session.answered(changed=False)

    # Mutations

    async def _mutate(self, asked: Asked) -> None:
        session, request = self._session, asked.request
        caller, notes, started = self._caller(asked.sign_in), Notes(), time.perf_counter()
        function: Function | None = None
        ended: Success | Failure
        try:
            function = session.hub.runtime.registry.find(request.udf_path, caller, Kind.MUTATION)
            self._check(asked)
            args = calls.typed(function, request.args)
            once = _Once(session, request, caller, notes)
            answer = await once.run(function, args)
            ended = Success(None, function)
            # What follows belongs together: a Transition may go out at any await.
            session.wire.say(sync_messages.succeeded(request, answer.result, answer.log_lines, answer.ts))
            for commit in session.commits:
                commit.over = True
        except (*CONNECTION_LOST, OSError) as error:
            if not isinstance(error, ValueError):
                raise
            ended = self._failure(error, function, notes)
        except Exception as error:  # noqa: BLE001 - whatever happened is the caller's answer
            ended = self._failure(error, function, notes)
        if isinstance(ended, Failure):
            for commit in [commit for commit in session.commits if not commit.over]:
                session.undo(commit)
            self._tell_failure(request, ended)
        calls.measure(ended, started)
        session.wire.changed()
        session.answered(changed=isinstance(ended, Success))

    def _check(self, asked: Asked) -> None:
        calls.refuse_component(asked.request.component_path)
        if asked.too_large:
            raise ArgumentsTooLarge(self._session.hub.runtime.registry.largest)

    def _failure(self, error: Exception, function: Function | None, notes: Notes) -> Failure:
        if isinstance(error, answered.AnsweredToAnother):
            return Failure(str(error), None, function, "refused")
        production = self._session.hub.runtime.settings.production
        return calls.failure(error, function, production=production, log_lines=notes.log_lines)

    def _tell_failure(self, request: Mutation | Action, ended: Failure) -> None:
        data = None if ended.data is None else _encode(values.encode(ended.data))
        self._session.wire.say(sync_messages.failed(request, ended.message, data, ended.log_lines))


class _Once:
    """A mutation that is run at most once for a request of a session. Without a session it is just run.

    Also what an action that is accepted as a mutation runs its own mutation by.
    """

    def __init__(self, session: Session, request: Mutation | Action, caller: Caller, notes: Notes) -> None:
        self._session = session
        self._runtime = session.hub.runtime
        self._caller = caller
        self._notes = notes
        self._key = None
        if session.session_id is not None:
            hidden = answered.mark(caller, self._runtime.settings.hash_key)
            self._key = answered.Request(session.session_id, request.request_id, hidden)
        self._settled_by: Handler | None = None
        self._answer: Answer | None = None

    async def run(self, function: Function, args: Any) -> Answer:
        """The answer: of this run, or of the one that there was before."""
        found = await self._found()
        if found is not None:
            return found
        if self._runtime.gate is not None:
            await self._runtime.gate(function, self._caller, self._session.viewer)
        try:
            return await self._run(function, args)
        except Exception:
            # It may have failed because another run of the same request has done it meanwhile.
            found = await self._found()
            if found is None:
                raise
            return found

    async def _run(self, function: Function, args: Any) -> Answer:
        runtime = self._runtime
        if function.kind is Kind.MUTATION:
            _, answer = await self._mutate(function, args)
            return answer
        self._settled_by = function.settled_by
        value = await runtime.call(function, args, self._caller, notes=self._notes, runner=self)
        if self._answer is not None:
            return self._answer
        # It came to an end without the mutation; nothing was kept, and nothing need be.
        commit = Commit(self._session.hub.timestamps.next())
        self._session.commits.append(commit)
        return Answer(self._encoded(function, value), self._notes.log_lines, commit.ts)

    async def run_query(self, handler: Handler, args: Any, caller: Caller) -> Any:
        """For an action: run a query."""
        return await self._runtime.run_query(handler, args, caller)

    async def run_mutation(self, handler: Handler, args: Any, caller: Caller) -> Any:
        """For an action: run a mutation; the one that answers for the action at most once."""
        if handler is not self._settled_by:
            return await self._runtime.run_mutation(handler, args, caller)
        value, self._answer = await self._mutate(self._runtime.registry.of(handler), args)
        return value

    async def _mutate(self, function: Function, args: Any) -> tuple[Any, Answer]:
        """The mutation's result, and the answer that its transaction has kept."""
        session, notes = self._session, self._notes
        commit: Commit | None = None

        async def once(ctx: MutationContext, given: Any) -> tuple[Any, Answer]:
            nonlocal commit
            if commit is not None:
                # Of a run that was undone.
                session.undo(commit)
                commit = None
            value = await function.handler(ctx, given)
            result = self._encoded(function, value)
            # From here on Transitions know that something is about to happen at this moment.
            commit = Commit(session.hub.timestamps.next())
            session.commits.append(commit)
            answer = Answer(result, list(notes.log_lines), commit.ts)
            if self._key is None:
                commit.transaction = int(await ctx.db.fetchval("select pg_current_xact_id()::text"))
            else:
                commit.transaction = await answered.record(ctx, self._key, answer)
            return value, answer

        try:
            done: tuple[Any, Answer] = await self._runtime.mutate(
                once, args, self._caller, notes=notes, isolation=function.isolation
            )
        except (*CONNECTION_LOST, OSError):
            # It may have happened all the same: Transitions go on waiting for it, and the socket is closed.
            raise
        except Exception:
            if commit is not None:
                session.undo(commit)
            raise
        return done

    async def _found(self) -> Answer | None:
        """The answer of a run before this one, if there was one."""
        if self._key is None:
            return None
        found = await answered.find(self._runtime.database.one_statement(), self._key)
        return None if found is None else self._replayed(found)

    def _replayed(self, found: Answer) -> Answer:
        """An answer from before; Transitions that are being worked out may not see yet what it tells of."""
        timestamps = self._session.hub.timestamps
        timestamps.seen(found.ts)
        self._session.commits.append(Commit(found.ts))
        return found

    def _encoded(self, function: Function, value: Any) -> str:
        return encoding.within(encoding.at_once(function, value), self._session.hub.limits.result).decode()
