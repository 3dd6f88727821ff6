"""The state of one client connection: the caller, the subscribed queries, and the Transitions that keep them current.

All results of a Transition hold at one timestamp `ts`: whenever one query runs, all queries of the connection run, in
one database snapshot. A client therefore sees its own writes without waiting for a notification (see `commits.py`).
Only results whose digest has changed are sent.

The session watches the owners of its results before the snapshot is taken, so no change is missed between the two;
`kernel/live.py` wakes it. While changes continue, the pause between two runs grows, and is longer after large results,
so that the many steps of one song are sent together. No query runs before the client has received the previous
messages: a slow client gets the newest state and no backlog.

A query whose result holds until some moment is run again then. A renewed token runs queries only if one of them has
read the time without saying until when its result holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from daysong.kernel import logs
from daysong.kernel.functions.context import Caller
from daysong.kernel.functions.registry import canonical
from daysong.kernel.live import ANY_OWNER
from daysong.kernel.monitoring import tracing
from daysong.kernel.time import timestamps
from daysong.kernel.time.clock import to_ms
from daysong.kernel.time.timestamps import FromTheFuture
from daysong.transport.callers.auth import SignIn
from daysong.transport.refusals import UNAVAILABLE, Refused
from daysong.transport.server.held_bytes import UNREAD, Hold
from daysong.transport.sync import messages as sync_messages
from daysong.transport.sync import results as sync_results
from daysong.transport.sync import sign_ins
from daysong.transport.sync.commits import Commits
from daysong.transport.sync.hub import (
    INTERNAL_ERROR,
    RUNS,
    SUBSCRIPTIONS,
    TOO_MANY_BYTES,
    TRANSITIONS,
    WAKES,
    Hub,
)
from daysong.transport.sync.messages import Add, Authenticate, Connect, ModifyQuerySet, Version
from daysong.transport.sync.outage import Outage
from daysong.transport.sync.pace import Pace
from daysong.transport.sync.results import Outcome, Results, Subscription
from daysong.transport.sync.wire import Wire

STATUS_UNAVAILABLE = 503
NO_TABLES: frozenset[str] = frozenset()
ATTEMPTS = 3
RETRY_DELAY = 0.2  # seconds

log = logs.get_logger("sync")


class ProtocolError(Exception):
    """The client violated the protocol: it gets a FatalError, and does not reconnect."""


class Session:
    """The state of one connection; a reconnecting client starts with a new one."""

    __slots__ = (
        "_fresh_since", "_held", "_hold", "_identity", "_is_timed", "_owners", "_pace", "_queries", "_query_set",
        "_removed", "_sent", "_skew", "_stale", "_timer", "_transition", "_transition_due", "_woken", "address",
        "commits", "has_reconnected", "holds_until", "hub", "is_python", "session_id", "sign_in", "tables", "wire",
    )  # fmt: skip

    def __init__(self, hub: Hub, wire: Wire, *, address: str, is_python: bool) -> None:
        self.hub = hub
        self.wire = wire
        self.address, self.is_python = address, is_python
        self.session_id: str | None = None
        self.has_reconnected = False
        self.sign_in: SignIn | None = None
        self.commits = Commits(hub.timestamps, wire)
        self.tables = NO_TABLES
        self._owners: frozenset[str] = NO_TABLES
        self._queries: dict[int, Subscription] = {}
        self._removed: list[int] = []
        self._query_set = self._identity = 0
        self._hold, self._held = Hold(UNREAD, address), (0, 0)
        self._sent = Version()
        self._skew: int | None = None
        self._transition_due = self._stale = self._woken = False
        self._transition: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pace, self._fresh_since = Pace(hub.limits), 0.0
        # Whether a result depends on the time without saying until when it holds, and until when all others do.
        self._is_timed = False
        self.holds_until: datetime | None = None

    @property
    def viewer(self) -> str:
        """The viewer id of the client's address."""
        return "" if self.hub.gate is None else self.hub.gate.viewer(None, self.address)

    # The caller

    def caller(self, now: datetime) -> Caller:
        """Return the caller as of `now`."""
        if self.sign_in is not None:
            return self.sign_in.caller
        return self.hub.authenticator.viewer(self.address, now)

    def still_signed_in(self, sign_in: SignIn | None) -> bool:
        """Whether the sign-in is still valid; if not, the client gets an AuthError and the socket closes."""
        if sign_in is None or not sign_in.has_expired(self.hub.runtime.clock.now()):
            return True
        self._refuse_sign_in("Could not authenticate: Token expired.", attempted=False)
        return False

    def _refuse_sign_in(self, message: str, *, attempted: bool) -> None:
        self.wire.send(sync_messages.auth_error(message, base_version=self._identity, attempted=attempted))
        self.wire.close(1000, "AuthError")

    # Messages of the client

    def connect(self, message: Connect) -> None:
        """Set the session id and the client's last timestamp."""
        if self.session_id is not None:
            raise ProtocolError("Connect was already sent on this socket")
        try:
            self.session_id = str(UUID(message.session_id))
        except ValueError:
            raise ProtocolError("sessionId must be a UUID") from None
        self.has_reconnected = message.connection_count > 0
        now = to_ms(self.hub.runtime.clock.now())
        if message.client_ts is not None:
            self._skew = round(message.client_ts - now)
        if message.max_observed_timestamp is not None:
            try:
                self.hub.timestamps.observe(timestamps.decode(message.max_observed_timestamp))
            except FromTheFuture:
                self.wire.close(*INTERNAL_ERROR)
            except ValueError:
                raise ProtocolError("maxObservedTimestamp is no timestamp") from None

    async def authenticate(self, message: Authenticate) -> None:
        """Change the caller of the following messages. A refused sign-in closes the socket."""
        if message.base_version != self._identity:
            self.wire.close(*INTERNAL_ERROR)
            return
        try:
            sign_in = await sign_ins.verify(self.hub, self.address, message)
        except Refused as error:
            if error.status == STATUS_UNAVAILABLE:
                self.wire.close(1013, "AuthProviderUnavailable")
            else:
                self._refuse_sign_in(error.message, attempted=True)
            return
        same_caller = sign_ins.is_same_caller(sign_in, self.sign_in)
        if not same_caller:
            # A journal holds page cursors of the previous caller.
            for query in self._queries.values():
                query.journal = None
        self.sign_in = sign_in
        self._identity += 1
        self._transition_due = True
        loop = asyncio.get_running_loop()
        is_old = self._is_timed and loop.time() - self._fresh_since > self.hub.limits.fresh
        if not same_caller or is_old:
            self._stale = True
        self.schedule_transition()

    def modify_queries(self, message: ModifyQuerySet) -> None:
        """Add and remove subscriptions."""
        if message.base_version != self._query_set or message.new_version <= message.base_version:
            raise ProtocolError(
                f"Base version {message.base_version} passed up doesn't match the current version {self._query_set}"
            )
        queries = dict(self._queries)
        removed = []
        for change in message.modifications:
            known = change.query_id in queries
            if isinstance(change, Add) and not known:
                queries[change.query_id] = Subscription(change)
            elif not isinstance(change, Add) and known:
                del queries[change.query_id]
                removed.append(change.query_id)
            else:
                self.wire.close(*INTERNAL_ERROR)
                return
        if len(queries) > self.hub.limits.queries:
            raise ProtocolError(f"At most {self.hub.limits.queries} queries on one socket")
        size = sum(query.size for query in queries.values())
        if size > self.hub.largest_message:
            raise ProtocolError(f"At most {self.hub.largest_message} bytes of arguments of queries on one socket")
        SUBSCRIPTIONS.inc(len(queries) - len(self._queries))
        self._queries = queries
        self.set_held_bytes(queries=size)
        self._removed += removed
        self._query_set = message.new_version
        self._transition_due = True
        self.schedule_transition()

    def set_held_bytes(self, *, queries: int | None = None, requests: int | None = None) -> None:
        """Record the bytes held for queries or requests; the socket closes when there are too many."""
        if self.wire.ended:
            return
        held = self._held
        held = (held[0] if queries is None else queries, held[1] if requests is None else requests)
        self._held = held
        if not self._hold.set(sum(held)):
            self.wire.close(*TOO_MANY_BYTES)

    def after_response(self, *, changed: bool) -> None:
        """Schedule the Transition after a response; `changed` when it must include the request's writes."""
        self._transition_due = True
        self._stale = self._stale or changed
        self.schedule_transition()

    # Notifications of changed rows

    def touched(self) -> None:
        """Mark the results as stale: rows that they read have changed."""
        if not self._stale:
            self._stale = self._woken = True
            self.schedule_transition()

    def _watch(self, caller: Caller, more: frozenset[str] = frozenset()) -> None:
        """Watch the tables and owners that the results depend on."""
        registry = self.hub.runtime.registry
        tables: set[str] = set()
        any_owner = False
        for query in self._queries.values():
            function = registry.named(canonical(query.path))
            if function is not None:
                tables.update(function.reads)
                any_owner = any_owner or not function.public
        self.tables = self.hub.interned(frozenset(tables))
        owners = set(more)
        if tables and caller.subject is not None:
            owners.add(caller.subject)
        if any_owner and caller.is_admin:
            owners.add(ANY_OWNER)
        live = self.hub.live
        for owner in self._owners - owners:
            live.forget(self, owner)
        for owner in owners - self._owners:
            live.watch(self, owner)
        self._owners = frozenset(owners)

    # Transitions

    def schedule_transition(self) -> None:
        """Start a Transition if one is due, none is running, and the client has received all messages."""
        if self._transition is not None or self.wire.ended or self.wire.closing or not self.wire.idle:
            return
        if not self._transition_due:
            if not self._stale:
                return
            loop = asyncio.get_running_loop()
            if loop.time() < self._pace.not_before:
                if self._timer is None:
                    self._timer = loop.call_at(self._pace.not_before, self._after_pause)
                return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transition = asyncio.create_task(self._run_transition())

    def _after_pause(self) -> None:
        self._timer = None
        self.schedule_transition()

    async def _run_transition(self) -> None:
        try:
            identifier = logs.new_request_id()
            with logs.request_scope(identifier), tracing.span("sync queries", parent=None, request=identifier):
                failures, outage = 0, Outage()
                while not self.wire.ended and (self._transition_due or self._stale):
                    try:
                        if await self._try_transition():
                            break
                    except (*UNAVAILABLE, OSError) as error:
                        # Were the socket closed, the client could not get back until the database is.
                        self._transition_due = True
                        if not await outage.wait(error):
                            raise
                    except Exception as error:
                        failures += 1
                        if failures == ATTEMPTS:
                            raise
                        log.warning("transition failed", error=logs.describe(error))
                        self._transition_due = True
                        await asyncio.sleep(RETRY_DELAY * failures)
        except Exception:
            # The client reconnects and gets all results.
            log.exception("socket given up")
            self.wire.close(*INTERNAL_ERROR)
        finally:
            self._transition = None
        self.schedule_transition()

    async def _try_transition(self) -> bool:
        """Run the queries and send one Transition; False when the results are too old and must be computed again."""
        queries, query_set, identity = list(self._queries.values()), self._query_set, self._identity
        stale = self._stale or any(query.digest is None for query in queries)
        due, self._transition_due = self._transition_due, False
        woken, self._woken, self._stale = self._woken, False, False
        removed = len(self._removed)
        self.commits.drop_settled()
        caller = self.caller(self.hub.runtime.clock.now())
        results: Results | None = None
        again = False
        try:
            if stale and queries:
                if not self.still_signed_in(self.sign_in):
                    return True
                if woken:
                    WAKES.inc()
                results, again = await self._results(queries, caller)
            ts = await self.commits.timestamp_for(results.snapshot if results else None, last=self._sent.ts)
        except BaseException:
            self._transition_due, self._stale = self._transition_due or due, self._stale or stale
            raise
        if ts is None:
            self._transition_due, self._stale = self._transition_due or due, True
            return False
        if woken:
            self._pace.after_run(
                sum(len(memoryview(outcome.modification)) for outcome in results.outcomes) if results else 0
            )
        end = Version(query_set, identity, ts)
        outcomes = results.outcomes if results else []
        modifications = [sync_messages.query_removed(number) for number in self._removed[:removed]]
        modifications += [outcome.modification for outcome in outcomes if outcome.is_changed]
        if (stale and queries) or not queries:
            self._fresh_since = asyncio.get_running_loop().time()
        self._keep(outcomes)
        del self._removed[:removed]
        self._stale = self._stale or again
        moved = (query_set, identity) != (self._sent.query_set, self._sent.identity)
        if due or modifications or moved:
            wall = self.hub.timestamps.wall()
            self.wire.send(sync_messages.transition(self._sent, end, modifications, skew=self._skew, now=wall))
            self._sent = end
            TRANSITIONS.inc()
        return True

    def _keep(self, outcomes: Sequence[Outcome]) -> None:
        """Remember what was sent, and how it depends on the time. Outcomes are of all queries, or there are none."""
        for outcome in outcomes:
            outcome.subscription.digest, outcome.subscription.journal = outcome.digest, outcome.notes.journal
        if outcomes:
            notes = [outcome.notes for outcome in outcomes]
            self.holds_until = min((each.until for each in notes if each.until is not None), default=None)
            self._is_timed = any(each.is_timed and each.until is None for each in notes)

    def check_time(self, now: datetime) -> None:
        """Mark the results as stale when one of them holds no longer."""
        if self.holds_until is not None and self.holds_until <= now:
            self.holds_until = None
            self.touched()

    async def _results(self, queries: list[Subscription], caller: Caller) -> tuple[Results, bool]:
        """Return the outcomes in one snapshot, and whether they depend on an owner that was not watched yet."""
        limits = self.hub.limits
        self._watch(caller, self._owners)
        if self.hub.gate is not None:
            await self.hub.gate.delay(caller, self.viewer, len(queries))
        while True:
            await self.hub.wait_for_room(self.address)
            async with self.hub.slots:
                results = await sync_results.run(
                    self.hub.runtime,
                    queries,
                    caller,
                    budget=limits.frame[0 if self.is_python else 1],
                    largest=limits.result,
                    known=self._owners,
                )
            if results.owner is None or results.owner in self._owners:
                break
            self._watch(caller, self._owners | {results.owner})
        RUNS.inc(len(queries))
        owners = frozenset[str]().union(*(outcome.notes.owners for outcome in results.outcomes))
        if results.owner is not None:
            owners |= {results.owner}
        before = self._owners
        self._watch(caller, owners)
        return results, not self._owners <= before

    def end(self) -> None:
        """Release what the session holds: the connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transition is not None:
            self._transition.cancel()
        for owner in self._owners:
            self.hub.live.forget(self, owner)
        SUBSCRIPTIONS.dec(len(self._queries))
        self._queries = {}
        self._hold.set(0)
