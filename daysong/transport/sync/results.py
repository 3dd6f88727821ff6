"""The results of a socket's queries, all of one moment, in the form in which they are sent and compared."""

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
from daysong.transport import calls, encoding
from daysong.transport.calls import Failure, Success
from daysong.transport.encoding import ResultTooLarge
from daysong.transport.sync import messages as sync_messages
from daysong.transport.sync.messages import Add

_encode = msgspec.json.Encoder().encode
_REQUEST_ID = "[Request ID: "


class Subscription:
    """A query that is subscribed to, and a digest of its last result; None before the first."""

    __slots__ = ("args", "component", "digest", "journal", "path", "query_id")

    @property
    def size(self) -> int:
        """How many bytes are kept of it."""
        return len(bytes(self.args)) + len(self.journal or "")

    def __init__(self, asked: Add) -> None:
        self.query_id = asked.query_id
        self.path = sys.intern(asked.udf_path)
        # A copy: the whole message would be kept for it.
        self.args = msgspec.Raw(bytes(asked.args))
        self.journal = asked.journal
        self.component = asked.component_path or None
        self.digest: bytes | None = None


class Outcome(NamedTuple):
    """How a query ended: its modification as it is sent, its digest, and what its run has kept."""

    subscription: Subscription
    told: msgspec.Raw
    digest: bytes
    journal: str | None
    owners: set[str]


class Snapshot(NamedTuple):
    """Which transactions a moment sees, as PostgreSQL tells it: `xmin:xmax:in progress,…`."""

    oldest: int
    next: int
    in_progress: frozenset[int]

    @staticmethod
    def of(text: str) -> Snapshot:
        oldest, following, in_progress = text.split(":")
        return Snapshot(int(oldest), int(following), frozenset(map(int, filter(None, in_progress.split(",")))))

    def sees(self, transaction: int) -> bool:
        """Whether what that transaction did, if it has committed, is there at this moment."""
        return transaction < self.oldest or (transaction < self.next and transaction not in self.in_progress)


class Results(NamedTuple):
    """All outcomes of one moment; `owner` is the caller's account at that moment."""

    snapshot: Snapshot
    owner: str | None
    outcomes: list[Outcome]


class _Spoilt(Exception):
    """PostgreSQL refused a statement, and will refuse all after it in this transaction."""


async def run(
    runtime: Runtime, subscriptions: Sequence[Subscription], caller: Caller, *,
    budget: int, largest: int, known: frozenset[str],
) -> Results:  # fmt: skip
    """Run the queries in one snapshot.

    When the caller's account is not among the `known`, nothing is run: the session must watch it first. `budget` is
    how many bytes all results together may have, `largest` how many one. Raises only what says that the database
    cannot be reached.
    """
    try:
        return await _run(runtime, subscriptions, caller, budget=budget, largest=largest, known=known, careful=False)
    except _Spoilt:
        return await _run(runtime, subscriptions, caller, budget=budget, largest=largest, known=known, careful=True)


async def _run(
    runtime: Runtime, subscriptions: Sequence[Subscription], caller: Caller, *,
    budget: int, largest: int, known: frozenset[str], careful: bool,
) -> Results:  # fmt: skip
    now = runtime.clock.now()
    outcomes: list[Outcome] = []
    async with runtime.database.snapshot() as db:
        row: Any = await db.fetchrow(
            "select pg_current_snapshot()::text as seen, (select id from users where clerk_id = $1) as owner",
            caller.subject,
        )
        snapshot, owner = Snapshot.of(row["seen"]), row["owner"]
        if owner is not None and owner not in known:
            return Results(snapshot, owner, outcomes)
        for subscription in subscriptions:
            # A query that is refused waits for nothing, and others are to have their turn.
            await asyncio.sleep(0)
            started = time.perf_counter()
            notes = Notes(subscription.journal)
            ended = await _call(runtime, db, subscription, caller, notes, now=now, careful=careful)
            calls.measure(ended, started)
            found = await _outcome(runtime, subscription, ended, notes, largest=min(budget, largest))
            if found.digest != subscription.digest:
                budget -= len(bytes(found.told))
            outcomes.append(found)
    return Results(snapshot, owner, outcomes)


async def _call(
    runtime: Runtime, db: Reader, subscription: Subscription, caller: Caller, notes: Notes, *,
    now: datetime, careful: bool,
) -> Success | Failure:  # fmt: skip
    function: Function | None = None
    try:
        function = runtime.registry.find(subscription.path, caller, Kind.QUERY)
        calls.refuse_component(subscription.component)
        args = calls.typed(function, subscription.args)
        async with AsyncExitStack() as stack:
            if careful:
                await stack.enter_async_context(savepoint(db))
            value = await runtime.query_on(db, function, args, caller, now=now, notes=notes)
        return Success(value, function, notes.log_lines)
    except Exception as error:
        if is_closed(db):
            raise
        if isinstance(error, asyncpg.PostgresError) and not careful:
            raise _Spoilt from error
        return calls.failure(
            error, function, production=runtime.settings.production, log_lines=notes.log_lines
        )  # fmt: skip


async def _outcome(
    runtime: Runtime, subscription: Subscription, ended: Success | Failure, notes: Notes, *, largest: int
) -> Outcome:
    number, journal = subscription.query_id, notes.journal
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(ended, Success):
        try:
            value = encoding.within(await encoding.encoded(ended.function, ended.value), largest)
            told = sync_messages.query_updated(number, value, ended.log_lines, journal)
            digest.update(b"updated")
            digest.update(value)
            digest.update(_encode(ended.log_lines))
            return Outcome(subscription, told, digest.digest(), journal, notes.owners)
        except (TypeError, OverflowError, ResultTooLarge) as error:
            ended = calls.failure(
                error, ended.function, production=runtime.settings.production, log_lines=ended.log_lines
            )  # fmt: skip
    data = None if ended.data is None else _encode(values.encode(ended.data))
    told = sync_messages.query_failed(number, ended.message, data, ended.log_lines, journal)
    digest.update(b"failed")
    # Its request's id is another each time.
    text = ended.message.partition("] ")[2] if ended.message.startswith(_REQUEST_ID) else ended.message
    digest.update(_encode((text, ended.log_lines)))
    digest.update(data or b"none")
    return Outcome(subscription, told, digest.digest(), journal, notes.owners)
