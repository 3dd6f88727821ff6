"""The contexts of functions, which say what each kind may do.

A query reads; a mutation reads, writes and schedules in one transaction; an action calls vendors and accesses data only
through queries and mutations. `now` is fixed for the whole call, `caller` comes from a verified token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import msgspec

from daysong.kernel.errors import Unauthorized
from daysong.kernel.limits.marks import account_mark
from daysong.kernel.settings import Settings

if TYPE_CHECKING:
    from daysong.kernel.database.transactions import Reader, Transaction

A = TypeVar("A", bound=msgspec.Struct)
R = TypeVar("R")
S = TypeVar("S")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of a caller, from a verified token, the admin key or the worker.

    subject     the Clerk user id; None when not signed in
    attributes  the token's identity claims under their Convex names
    is_admin    holds the admin key (perhaps acting as a user), or is the worker
    viewer      identifies anonymous callers: an opaque id of an address, which changes daily; "" when unknown
    issued_at   when the token was issued; differs between a user's tokens
    operator    names the operator in the audit log: the command line, or a session of the console
    """

    subject: str | None = None
    token_identifier: str | None = None
    email: str | None = None
    name: str | None = None
    attributes: Mapping[str, Any] = msgspec.field(default_factory=dict)
    is_admin: bool = False
    viewer: str = ""
    issued_at: datetime | None = None
    operator: str = ""

    @property
    def signed_in(self) -> str:
        """The Clerk user id. Errors: Unauthorized when not signed in."""
        if self.subject is None:
            raise Unauthorized
        return self.subject


class Notes:
    """Side outputs of a call.

    log_lines  lines for the caller's console, written by `ctx.log`
    journal    of a query: the journal of its previous run going in, of this run coming out; see `ctx.keep`
    owners     of a query: owners of rows it depends on, besides the caller; see `ctx.depends_on`
    is_timed   whether a query has read the time
    until      until when its result holds while no row changes, if it has said so; see `ctx.holds_until`

    is_subscribed  whether a query runs for a subscription
    """

    __slots__ = ("is_subscribed", "is_timed", "journal", "log_lines", "owners", "until")

    def __init__(self, journal: str | None = None, *, is_subscribed: bool = False) -> None:
        self.is_subscribed = is_subscribed
        self.log_lines: list[str] = []
        self.journal = journal
        self.owners: set[str] = set()
        self.is_timed = False
        self.until: datetime | None = None


class Logging:
    """Console logging, in every context."""

    _notes: Notes

    def log(self, text: str) -> None:
        """Write a line to the caller's console. The caller sees it, so it must not contain secrets."""
        self._notes.log_lines.append(f"[LOG] '{text}'")


ANONYMOUS = Caller()
SYSTEM = Caller(is_admin=True)


class OpenJob(NamedTuple):
    """A queued job, locked by the transaction, with what runs when it is given up: a mutation and its arguments."""

    function: str
    on_exhausted: Callable[..., Awaitable[Any]] | None
    args: Any


class Scheduler(Protocol):
    """Schedules functions as jobs, and changes jobs, in the given transaction."""

    async def schedule(
        self, tx: Transaction, handler: Callable[..., Awaitable[Any]], args: msgspec.Struct, *,
        due_at: datetime, delay: timedelta, key: str | None, account: str | None = None,
    ) -> None: ...  # fmt: skip

    def new_job(
        self, handler: Callable[..., Awaitable[Any]], args: msgspec.Struct, *, due_at: datetime, account: str | None
    ) -> tuple[Any, ...]: ...

    async def retry_in(self, tx: Transaction, job_id: str, now: datetime) -> bool: ...

    async def lock_queued(self, tx: Transaction, job_id: str) -> OpenJob | None: ...

    async def cancel_in(self, tx: Transaction, job_id: str, now: datetime, error: str) -> bool: ...

    def handler_named(self, identifier: str) -> Callable[..., Awaitable[Any]] | None: ...


class Runner(Protocol):
    """Runs registered functions by handler."""

    async def run_query(
        self, handler: Callable[..., Awaitable[Any]], args: Any, caller: Caller
    ) -> Any: ...  # fmt: skip

    async def run_mutation(self, handler: Callable[..., Awaitable[Any]], args: Any, caller: Caller) -> Any: ...


class QueryContext(Logging):
    """The context of a query: one SQL statement (or a snapshot), the time, the caller, the settings."""

    def __init__(
        self, *, db: Reader, now: datetime, caller: Caller, settings: Settings, notes: Notes | None = None
    ) -> None:
        self.db = db
        self.caller = caller
        self.settings = settings
        self._now = now
        self._notes = notes or Notes()
        # The journal of the subscription's previous run; None on the first.
        self.journal = self._notes.journal
        self._notes.journal = None

    @property
    def now(self) -> datetime:
        """The time of the call. A subscribed query that reads it is rerun with each new token, unless `holds_until`."""
        self._notes.is_timed = True
        return self._now

    def holds_until(self, moment: datetime | Callable[[], datetime]) -> None:
        """Rerun the subscribed query at `moment`; before, only changed rows can change its result.

        A function returns a moment that takes long to find; it is called for subscriptions only.
        """
        if not isinstance(moment, datetime):
            if not self._notes.is_subscribed:
                return
            moment = moment()
        self._notes.until = min(moment, self._notes.until or moment)

    def depends_on(self, owner: str) -> None:
        """Rerun the query when rows of `owner` change in the tables of `reads`, besides the caller's own rows.

        An owner is a user's id, or another key that the triggers notify with (for a share, the id in its link).
        """
        self._notes.owners.add(owner)

    def keep(self, journal: str | None) -> None:
        """Pass `journal` to the next run of this subscription, so that a page can keep its end cursor."""
        self._notes.journal = journal


def _mark(settings: Settings, account: str | None) -> str | None:
    return None if account is None else account_mark(settings.hash_key, account)


class StatementContext(NamedTuple):
    """What a mutation's `at_once` may depend on: the time, the caller, the settings; and new jobs."""

    now: datetime
    caller: Caller
    settings: Settings
    jobs: Scheduler

    def new_job(
        self, handler: Callable[..., Awaitable[R]], args: msgspec.Struct, *, account: str | None = None
    ) -> tuple[Any, ...]:
        """Return the parameters of `job_ctes` for a job that is due at once."""
        return self.jobs.new_job(handler, args, due_at=self.now, account=_mark(self.settings, account))


class MutationContext(Logging):
    """The context of a mutation: its transaction, and jobs that exist if and only if it commits."""

    def __init__(
        self,
        *,
        db: Transaction,
        now: datetime,
        caller: Caller,
        settings: Settings,
        scheduler: Scheduler,
        notes: Notes | None = None,
    ) -> None:
        self.db = db
        self.now = now
        self.caller = caller
        self.settings = settings
        # For operators, who retry and cancel jobs.
        self.jobs = scheduler
        self._notes = notes or Notes()

    async def schedule(
        self,
        handler: Callable[..., Awaitable[R]],
        args: msgspec.Struct,
        *,
        delay: timedelta = timedelta(0),
        key: str | None = None,
        account: str | None = None,
    ) -> None:
        """Schedule `handler` as a job, `delay` after this transaction commits.

        With a dedupe `key`, only the first job is created as long as its row is kept (over a week). `account` is the
        user's id for a job of an account: only some jobs of one account run at a time, and vendor lines serve accounts
        round-robin.
        """
        await self.jobs.schedule(
            self.db, handler, args, due_at=self.now + delay, delay=delay, key=key, account=_mark(self.settings, account)
        )  # fmt: skip

    def new_job(
        self, handler: Callable[..., Awaitable[R]], args: msgspec.Struct, *, account: str | None = None
    ) -> tuple[Any, ...]:
        """Return the parameters of `job_sql` for a job that is due at once, for a statement that also does more."""
        return self.jobs.new_job(handler, args, due_at=self.now, account=_mark(self.settings, account))


class ActionContext(Logging):
    """The context of an action: vendors, and data through queries and mutations."""

    def __init__(
        self,
        *,
        now: datetime,
        caller: Caller,
        settings: Settings,
        runner: Runner,
        services: Mapping[type, Any],
        notes: Notes | None = None,
    ) -> None:
        self.now = now
        self.caller = caller
        self.settings = settings
        self._runner = runner
        self._services = services
        self._notes = notes or Notes()

    def vendor(self, kind: type[S]) -> S:
        """Return the app's vendor client of that class."""
        client: S = self._services[kind]
        return client

    async def run_query(self, handler: Callable[[QueryContext, A], Awaitable[R]], args: A) -> R:
        """Run a query as this action's caller."""
        result: R = await self._runner.run_query(handler, args, self.caller)
        return result

    async def run_mutation(self, handler: Callable[[MutationContext, A], Awaitable[R]], args: A) -> R:
        """Run a mutation in its own transaction, as this action's caller."""
        result: R = await self._runner.run_mutation(handler, args, self.caller)
        return result
