"""A client's connection: who speaks, what is subscribed to, and the Transitions that keep it up to date.

A Transition is a cut through time: all its results hold at its moment `ts`. So whenever one query is run, all of the
socket's are, in one snapshot of the database. That also shows a client what it has written itself, without waiting for
the news of it. Results go out only where they differ from the last ones, told by their digests.

What a client has written must be there in the first Transition whose `ts` is not below its commit's, and in none that
goes out before the commit's response. A mutation chooses its `ts` before it commits, so a Transition worked out
meanwhile may see it or not. PostgreSQL tells: the snapshot says which transactions it sees.

    snapshot sees the commit, response not out yet    wait until the response is out; `ts` is now
    snapshot does not see the commit                  `ts` is the commit's, less one

No database connection is held while waiting for a response. The socket watches the owners of its results before
the snapshot is taken, so nothing changes unseen between the two; see `kernel/live.py` for how it is woken. While
changes go on, the pauses between two runs grow, and large results are worked out less often than small ones: the many
steps of one song are sent together. Nothing is worked out while the client has not taken in what was said before, so a
slow one gets the newest state and no backlog.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from uuid import UUID

import msgspec

from daysong.kernel import logs
from daysong.kernel.functions.context import ANONYMOUS, Caller
from daysong.kernel.functions.registry import canonical
from daysong.kernel.live import ANYBODY
from daysong.kernel.time import timestamps
from daysong.kernel.time.clock import to_ms
from daysong.kernel.time.timestamps import FromTheFuture
from daysong.transport.callers.auth import Session as SignIn
from daysong.transport.refusals import Refused
from daysong.transport.server.held_bytes import UNREAD, Hold
from daysong.transport.sync import messages as sync_messages
from daysong.transport.sync import results as sync_results
from daysong.transport.sync.hub import BROKEN, HEAVY, RUNS, SUBSCRIPTIONS, TRANSITIONS, WAKES, Hub
from daysong.transport.sync.messages import NOTHING, Add, Authenticate, Connect, ModifyQuerySet, Version
from daysong.transport.sync.results import Results, Snapshot, Subscription
from daysong.transport.sync.wire import Wire

UNAVAILABLE = 503
NO_TABLES: frozenset[str] = frozenset()
# A database that is restarted is away for moments.
TRIES = 3
PAUSE = 0.2

log = logs.get_logger("sync")


class ProtocolError(Exception):
    """The client has broken the protocol: it gets a FatalError, and does not reconnect."""


class Commit:
    """A mutation of this client's that has chosen its moment: `transaction` once known, `over` when it is answered.

    It is over as well when it was undone. To a snapshot that looks like having happened: it is not in progress.
    """

    __slots__ = ("over", "transaction", "ts")

    def __init__(self, ts: int) -> None:
        self.ts = ts
        self.transaction: int | None = None
        self.over = False

    def seen_by(self, snapshot: Snapshot | None) -> bool:
        """Whether results of that snapshot show what it did."""
        return snapshot is not None and self.transaction is not None and snapshot.sees(self.transaction)


class Session:
    """The state of one connection; all of it starts from nothing when the client connects anew."""

    __slots__ = (
        "_dirty", "_everybody", "_fresh_since", "_held", "_hold", "_identity", "_not_before", "_owed", "_owners",
        "_pause", "_queries", "_query_set", "_removed", "_sent", "_skew", "_timer", "_transition", "_woken",
        "address", "commits", "hub", "is_python", "session_id", "sign_in", "tables", "wire",
    )  # fmt: skip

    def __init__(self, hub: Hub, wire: Wire, *, address: str, is_python: bool) -> None:
        self.hub = hub
        self.wire = wire
        self.address = address
        self.is_python = is_python
        self.session_id: str | None = None
        self.sign_in: SignIn | None = None
        self.commits: list[Commit] = []
        self.tables = NO_TABLES
        self._everybody = False
        self._owners: frozenset[str] = NO_TABLES
        self._queries: dict[int, Subscription] = {}
        self._removed: list[int] = []
        self._query_set = self._identity = 0
        self._hold, self._held = Hold(UNREAD, address), (0, 0)
        self._sent = Version()
        self._skew: int | None = None
        self._owed = self._dirty = self._woken = False
        self._transition: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pause = 0.0
        self._not_before = 0.0
        self._fresh_since = 0.0

    @property
    def viewer(self) -> str:
        """The mark of the client's address."""
        return "" if self.hub.gate is None else self.hub.gate.viewer(None, self.address)

    # Who is speaking

    def caller(self, now: datetime) -> Caller:
        """Who is speaking as of now."""
        if self.sign_in is not None:
            return self.sign_in.caller
        return self.hub.authenticator.viewer(self.address, now)

    def still_signed_in(self, sign_in: SignIn | None) -> bool:
        """Whether the sign-in is still valid; if not, the client gets an AuthError and the socket closes."""
        if sign_in is None or not sign_in.has_run_out(self.hub.runtime.clock.now()):
            return True
        self._refuse_sign_in("Could not authenticate: Token expired.", attempted=False)
        return False

    def _refuse_sign_in(self, message: str, *, attempted: bool) -> None:
        self.wire.say(sync_messages.auth_error(message, base_version=self._identity, attempted=attempted))
        self.wire.close(1000, "AuthError")

    # What the client says

    def connect(self, said: Connect) -> None:
        """Take up the client's session."""
        if self.session_id is not None:
            raise ProtocolError("Connect was already sent on this socket")
        try:
            self.session_id = str(UUID(said.session_id))
        except ValueError:
            raise ProtocolError("sessionId must be a UUID") from None
        now = to_ms(self.hub.runtime.clock.now())
        if said.client_ts is not None:
            self._skew = round(said.client_ts - now)
        if said.max_observed_timestamp is not None:
            try:
                self.hub.timestamps.observe(timestamps.decode(said.max_observed_timestamp))
            except FromTheFuture:
                self.wire.close(*BROKEN)
            except ValueError:
                raise ProtocolError("maxObservedTimestamp is no timestamp") from None

    async def authenticate(self, said: Authenticate) -> None:
        """Change the caller from here on. A refused sign-in closes the socket."""
        if said.base_version != self._identity:
            self.wire.close(*BROKEN)
            return
        try:
            sign_in = await self._verified(said)
        except Refused as error:
            if error.status == UNAVAILABLE:
                self.wire.close(1013, "AuthProviderUnavailable")
            else:
                self._refuse_sign_in(error.message, attempted=True)
            return
        same = _person(sign_in) == _person(self.sign_in)
        if not same:
            # Where one person's page ended is nothing to another.
            for query in self._queries.values():
                query.journal = None
        self.sign_in = sign_in
        self._identity += 1
        self._owed = True
        loop = asyncio.get_running_loop()
        if not same or loop.time() - self._fresh_since > self.hub.limits.fresh:
            self._dirty = True
        self.kick()

    async def _verified(self, said: Authenticate) -> SignIn | None:
        authenticator = self.hub.authenticator
        if said.token_type == "None":  # noqa: S105 - a kind of token
            return None
        if said.token_type == "User":  # noqa: S105
            return await authenticator.user(said.value, self.hub.runtime.clock.now())
        acting_as = said.acting_as if said.impersonating == NOTHING else said.impersonating
        viewer = authenticator.viewer(self.address, self.hub.runtime.clock.now()).viewer
        caller = await authenticator.guarded(viewer, lambda: authenticator.admin(said.value, bytes(acting_as)))
        return SignIn(caller, None)

    def modify(self, said: ModifyQuerySet) -> None:
        """Change what is subscribed to."""
        if said.base_version != self._query_set or said.new_version <= said.base_version:
            raise ProtocolError(
                f"Base version {said.base_version} passed up doesn't match the current version {self._query_set}"
            )
        changed = dict(self._queries)
        removed = []
        for change in said.modifications:
            known = change.query_id in changed
            if isinstance(change, Add) and not known:
                changed[change.query_id] = Subscription(change)
            elif not isinstance(change, Add) and known:
                del changed[change.query_id]
                removed.append(change.query_id)
            else:
                self.wire.close(*BROKEN)
                return
        if len(changed) > self.hub.limits.queries:
            raise ProtocolError(f"At most {self.hub.limits.queries} queries on one socket")
        size = sum(query.size for query in changed.values())
        if size > self.hub.largest_message:
            raise ProtocolError(f"At most {self.hub.largest_message} bytes of arguments of queries on one socket")
        SUBSCRIPTIONS.inc(len(changed) - len(self._queries))
        self._queries = changed
        self.hold(queries=size)
        self._removed += removed
        self._query_set = said.new_version
        self._owed = True
        self.kick()

    def hold(self, *, queries: int | None = None, requests: int | None = None) -> None:
        """So many bytes are held of queries, or of requests; when that is too much, the socket ends."""
        if self.wire.ended:
            return
        held = self._held
        held = (held[0] if queries is None else queries, held[1] if requests is None else requests)
        self._held = held
        if not self._hold.set(sum(held)):
            self.wire.close(*HEAVY)

    def undo(self, commit: Commit) -> None:
        """A mutation did not happen after all."""
        commit.over = True
        self.commits.remove(commit)
        self.wire.changed()

    def answered(self, *, changed: bool) -> None:
        """A request was answered; `changed` if what it did must be in the next Transition."""
        self._owed = True
        self._dirty = self._dirty or changed
        self.kick()

    # What has changed

    def touched(self) -> None:
        """Rows have changed that the results may show."""
        if not self._dirty:
            self._dirty = self._woken = True
            self.kick()

    def _watch(self, caller: Caller, more: frozenset[str] = frozenset()) -> None:
        """Be woken by whatever the results depend on."""
        registry = self.hub.runtime.registry
        tables: set[str] = set()
        everybody = False
        for query in self._queries.values():
            function = registry.named(canonical(query.path))
            if function is not None:
                tables.update(function.reads)
                everybody = everybody or not function.public
        self.tables = self.hub.shared(frozenset(tables))
        wanted = set(more)
        if tables and caller.subject is not None:
            wanted.add(caller.subject)
        if everybody and caller.is_admin:
            wanted.add(ANYBODY)
        live = self.hub.live
        for owner in self._owners - wanted:
            live.forget(self, owner)
        for owner in wanted - self._owners:
            live.watch(self, owner)
        self._owners = frozenset(wanted)

    # Transitions

    def kick(self) -> None:
        """Begin a Transition if one is wanted and nothing stands in its way."""
        if self._transition is not None or self.wire.ended or self.wire.closing or not self.wire.idle:
            return
        if not self._owed:
            if not self._dirty:
                return
            loop = asyncio.get_running_loop()
            if loop.time() < self._not_before:
                if self._timer is None:
                    self._timer = loop.call_at(self._not_before, self._after_pause)
                return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transition = asyncio.create_task(self._transit())

    def _after_pause(self) -> None:
        self._timer = None
        self.kick()

    def _rest(self, size: int) -> None:
        """Let a pause follow a run for changed rows, of results of `size` bytes; while changes go on, it grows."""
        now = asyncio.get_running_loop().time()
        limits = self.hub.limits
        shortest, longest = limits.pauses
        going_on = now < self._not_before + longest
        self._pause = min(self._pause * 2, longest) if going_on and self._pause else shortest
        self._not_before = now + max(self._pause, min(size / limits.rate, limits.longest_pause))

    async def _transit(self) -> None:
        try:
            with logs.request_scope(logs.new_request_id()):
                tries = 0
                while not self.wire.ended and (self._owed or self._dirty):
                    try:
                        if await self._attempt():
                            break
                    except Exception as error:
                        tries += 1
                        if tries == TRIES:
                            raise
                        log.warning("transition failed", error=logs.describe(error))
                        self._owed = True
                        await asyncio.sleep(PAUSE * tries)
        except Exception:
            # The client comes back for what it did not get.
            log.exception("socket given up")
            self.wire.close(*BROKEN)
        finally:
            self._transition = None
        self.kick()

    async def _attempt(self) -> bool:
        """One Transition; False when it has to be worked out anew."""
        queries, query_set, identity = list(self._queries.values()), self._query_set, self._identity
        stale = self._dirty or any(query.digest is None for query in queries)
        owed, self._owed = self._owed, False
        woken, self._woken, self._dirty = self._woken, False, False
        removed = len(self._removed)
        self.commits = [commit for commit in self.commits if not commit.over]
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
            ts = await self._moment(results.snapshot if results else None)
        except BaseException:
            self._owed, self._dirty = self._owed or owed, self._dirty or stale
            raise
        if ts is None:
            self._owed, self._dirty = self._owed or owed, True
            return False
        if woken:
            self._rest(sum(len(memoryview(outcome.told)) for outcome in results.outcomes) if results else 0)
        end = Version(query_set, identity, ts)
        outcomes = results.outcomes if results else []
        told = [sync_messages.query_removed(number) for number in self._removed[:removed]]
        told += [outcome.told for outcome in outcomes if outcome.subscription.digest != outcome.digest]
        if (stale and queries) or not queries:
            self._fresh_since = asyncio.get_running_loop().time()
        for outcome in outcomes:
            outcome.subscription.digest, outcome.subscription.journal = outcome.digest, outcome.journal
        del self._removed[:removed]
        self._dirty = self._dirty or again
        moved = (query_set, identity) != (self._sent.query_set, self._sent.identity)
        if owed or told or moved:
            wall = self.hub.timestamps.wall()
            self.wire.say(sync_messages.transition(self._sent, end, told, skew=self._skew, now=wall))
            self._sent = end
            TRANSITIONS.inc()
        return True

    async def _results(self, queries: list[Subscription], caller: Caller) -> tuple[Results, bool]:
        """The outcomes of one moment, and whether they depend on an account that was not watched by then."""
        limits = self.hub.limits
        self._watch(caller, self._owners)
        if self.hub.gate is not None:
            await self.hub.gate.delay(caller, self.viewer, len(queries))
        while True:
            await self.hub.room(self.address)
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
        owners = frozenset[str]().union(*(outcome.owners for outcome in results.outcomes))
        if results.owner is not None:
            owners |= {results.owner}
        before = self._owners
        self._watch(caller, owners)
        return results, not self._owners <= before

    async def _moment(self, snapshot: Snapshot | None) -> int | None:
        """The moment of results of that snapshot; None when they are too old to be told. See above."""
        for commit in list(self.commits):
            if commit.seen_by(snapshot):
                await self.wire.until(lambda commit=commit: commit.over)  # type: ignore[misc]
        unseen = [commit.ts for commit in self.commits if not commit.seen_by(snapshot)]
        if not unseen:
            return self.hub.timestamps.next()
        ts = min(unseen) - 1
        return ts if ts >= self._sent.ts else None

    def end(self) -> None:
        """The connection is over."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transition is not None:
            self._transition.cancel()
        for owner in self._owners:
            self.hub.live.forget(self, owner)
        SUBSCRIPTIONS.dec(len(self._queries))
        self._queries = {}
        self._hold.set(0)


def _person(sign_in: SignIn | None) -> Caller:
    """Who a sign-in speaks for; two tokens of one person are the same."""
    return ANONYMOUS if sign_in is None else msgspec.structs.replace(sign_in.caller, issued_at=None)
