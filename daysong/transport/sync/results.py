"""Runs the queries of a socket in one snapshot, and encodes and hashes their results."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec

from daysong.kernel import values
from daysong.kernel.database.transactions import Reader, is_closed, savepoint
from daysong.kernel.functions.context import Caller, Notes
from daysong.kernel.functions.declarations import Kind
from daysong.kernel.functions.registry import Function
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.monitoring import tracing
from daysong.transport import calls, encoding
from daysong.transport.calls import Failure, Success
from daysong.transport.encoding import ResultTooLarge
from daysong.transport.sync import messages as sync_messages
from daysong.transport.sync.messages import Add

_encode = msgspec.json.Encoder().encode
_REQUEST_ID = "[Request ID: "


class Subscription:
    """A subscribed query, and the digest of its last result; None before the first."""

    __slots__ = ("args", "component", "digest", "journal", "path", "query_id")

    @property
    def size(self) -> int:
        """The number of bytes kept for it."""
        return len(bytes(self.args)) + len(self.journal or "")

    def __init__(self, add: Add) -> None:
        self.query_id = add.query_id
        self.path = sys.intern(add.udf_path)
        # A copy, since a reference would keep the whole message in memory.
        self.args = msgspec.Raw(bytes(add.args))
        self.journal = add.journal
        self.component = add.component_path or None
        self.digest: bytes | None = None


class Outcome(NamedTuple):
    """The encoded modification of a query, its digest, and the notes of the run."""

    subscription: Subscription
    modification: msgspec.Raw
    digest: bytes
    notes: Notes

    @property
    def is_changed(self) -> bool:
        """Whether the digest differs from that of the last result sent."""
        return self.digest != self.subscription.digest


class Snapshot(NamedTuple):
    """The transactions visible in a PostgreSQL snapshot, from its text `xmin:xmax:in progress,…`."""

    oldest: int
    next: int
    in_progress: frozenset[int]

    @staticmethod
    def parse(text: str) -> Snapshot:
        """Parse the result of `pg_current_snapshot()`."""
        oldest, following, in_progress = text.split(":")
        return Snapshot(int(oldest), int(following), frozenset(map(int, filter(None, in_progress.split(",")))))

    def sees(self, transaction: int) -> bool:
        """Whether the snapshot includes that transaction, provided that it has committed."""
        return transaction < self.oldest or (transaction < self.next and transaction not in self.in_progress)


class Results(NamedTuple):
    """All outcomes in one snapshot; `owner` is the id of the caller's account there."""

    snapshot: Snapshot
    owner: str | None
    outcomes: list[Outcome]


class _TransactionAborted(Exception):
    """A statement failed, so PostgreSQL refuses all later ones of the transaction."""


async def run(
    runtime: Runtime, subscriptions: Sequence[Subscription], caller: Caller, *,
    budget: int, largest: int, known: frozenset[str],
) -> Results:  # fmt: skip
    """Run the queries in one snapshot.

    When the caller's account is not among the `known` owners, no query runs: the session must watch it first. `budget`
    limits the bytes of all results, `largest` those of one. Raises only when the database cannot be reached.
    """
    try:
        return await _run(runtime, subscriptions, caller, budget=budget, largest=largest, known=known, savepoints=False)
    except _TransactionAborted:
        return await _run(runtime, subscriptions, caller, budget=budget, largest=largest, known=known, savepoints=True)


async def _run(
    runtime: Runtime, subscriptions: Sequence[Subscription], caller: Caller, *,
    budget: int, largest: int, known: frozenset[str], savepoints: bool,
) -> Results:  # fmt: skip
    now = runtime.clock.now()
    outcomes: list[Outcome] = []
    async with runtime.database.snapshot() as db:
        row: Any = await db.fetchrow(
            "select pg_current_snapshot()::text as seen, (select id from users where clerk_id = $1) as owner",
            caller.subject,
        )
        snapshot, owner = Snapshot.parse(row["seen"]), row["owner"]
        if owner is not None and owner not in known:
            return Results(snapshot, owner, outcomes)
        for subscription in subscriptions:
            # Yield: a query that is refused awaits nothing.
            await asyncio.sleep(0)
            started = time.perf_counter()
            notes = Notes(subscription.journal, is_subscribed=True)
            with tracing.span("call"):
                result = await _call(runtime, db, subscription, caller, notes, now=now, savepoints=savepoints)
                calls.measure(result, started)
            outcome = await _outcome(runtime, subscription, result, notes, largest=min(budget, largest))
            if outcome.is_changed:
                budget -= len(bytes(outcome.modification))
            outcomes.append(outcome)
    return Results(snapshot, owner, outcomes)


async def _call(
    runtime: Runtime, db: Reader, subscription: Subscription, caller: Caller, notes: Notes, *,
    now: datetime, savepoints: bool,
) -> Success | Failure:  # fmt: skip
    function: Function | None = None
    try:
        function = runtime.registry.find(subscription.path, caller, Kind.QUERY)
        calls.refuse_component(subscription.component)
        args = calls.decode_args(function, subscription.args)
        async with AsyncExitStack() as stack:
            if savepoints:
                await stack.enter_async_context(savepoint(db))
            value = await runtime.query_on(db, function, args, caller, now=now, notes=notes)
        return Success(value, function, notes.log_lines)
    except Exception as error:
        if is_closed(db):
            raise
        if isinstance(error, asyncpg.PostgresError) and not savepoints:
            raise _TransactionAborted from error
        return calls.failure(
            error, function, production=runtime.settings.production, log_lines=notes.log_lines
        )  # fmt: skip


async def _outcome(
    runtime: Runtime, subscription: Subscription, result: Success | Failure, notes: Notes, *, largest: int
) -> Outcome:
    number, journal = subscription.query_id, notes.journal
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(result, Success):
        try:
            value = encoding.check_size(await encoding.encode(result.function, result.value), largest)
            modification = sync_messages.query_updated(number, value, result.log_lines, journal)
            digest.update(b"updated")
            digest.update(value)
            digest.update(_encode(result.log_lines))
            return Outcome(subscription, modification, digest.digest(), notes)
        except (TypeError, OverflowError, ResultTooLarge) as error:
            result = calls.failure(
                error, result.function, production=runtime.settings.production, log_lines=result.log_lines
            )  # fmt: skip
    data = None if result.data is None else _encode(values.encode(result.data))
    modification = sync_messages.query_failed(number, result.message, data, result.log_lines, journal)
    digest.update(b"failed")
    # The digest leaves out the request id, which differs each time.
    text = result.message.partition("] ")[2] if result.message.startswith(_REQUEST_ID) else result.message
    digest.update(_encode((text, result.log_lines)))
    digest.update(data or b"none")
    return Outcome(subscription, modification, digest.digest(), notes)
