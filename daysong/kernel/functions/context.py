"""What each kind of function may touch.

A query reads; a mutation reads, writes and schedules, in one transaction; an action talks to vendors and reaches
data only through queries and mutations. `now` is fixed for the whole call, `caller` comes from a verified token.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from daysong.kernel.errors import Unauthorized
from daysong.kernel.limits.marks import account_mark
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import Clock

if TYPE_CHECKING:
    from daysong.kernel.database.transactions import Reader, Transaction

A = TypeVar("A", bound=msgspec.Struct)
R = TypeVar("R")
S = TypeVar("S")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling, as a verified token, the admin key or the job runner says.

    subject     the Clerk user id, or None when nobody is signed in
    attributes  the token's identity claims under their Convex names
    is_admin    holds the admin key (perhaps acting as a user), or is the job runner
    viewer      tells callers apart who are not signed in: opaque, the same for one address through one day; "" unknown
    issued_at   when the token was made; of one person, the next token differs in it
    """

    subject: str | None = None
    token_identifier: str | None = None
    email: str | None = None
    name: str | None = None
    attributes: Mapping[str, Any] = msgspec.field(default_factory=dict)
    is_admin: bool = False
    viewer: str = ""
    issued_at: datetime | None = None

    @property
    def signed_in(self) -> str:
        """The Clerk user id; Unauthorized when nobody is signed in."""
        if self.subject is None:
            raise Unauthorized
        return self.subject


class Notes:
    """What a call tells besides its result.

    log_lines  for the caller's console, as `ctx.log` has written them
    journal    of a query: handed in what its last run kept, handed back what this run keeps; see `ctx.keep`
    owners     of a query: whose rows it depends on besides the caller's own; see `ctx.depends_on`
    """

    __slots__ = ("journal", "log_lines", "owners")

    def __init__(self, journal: str | None = None) -> None:
        self.log_lines: list[str] = []
        self.journal = journal
        self.owners: set[str] = set()


class Logging:
    """What every context can do."""

    _notes: Notes

    def log(self, text: str) -> None:
        """Write a line to the caller's console. Whoever calls sees it, so nothing private of ours."""
        self._notes.log_lines.append(f"[LOG] '{text}'")


ANONYMOUS = Caller()
SYSTEM = Caller(is_admin=True)


class Scheduler(Protocol):
    """Puts a function on the job queue, in the transaction it is given."""

    async def schedule(
        self, tx: Transaction, handler: Callable[..., Awaitable[Any]], args: msgspec.Struct, *,
        due_at: datetime, delay: timedelta, key: str | None, account: str | None = None,
    ) -> None: ...  # fmt: skip


class Runner(Protocol):
    """Runs registered functions by handler."""

    async def run_query(
        self, handler: Callable[..., Awaitable[Any]], args: Any, caller: Caller, clock: Clock
    ) -> Any: ...  # fmt: skip

    async def run_mutation(
        self, handler: Callable[..., Awaitable[Any]], args: Any, caller: Caller, clock: Clock
    ) -> Any: ...


class QueryContext(Logging):
    """What a query may touch: one SQL statement (or a snapshot), the time, the caller, the settings."""

    def __init__(
        self, *, db: Reader, now: datetime, caller: Caller, settings: Settings, notes: Notes | None = None
    ) -> None:
        self.db = db
        self.now = now
        self.caller = caller
        self.settings = settings
        self._notes = notes or Notes()
        # What the run before this one kept, of the same subscription; None on the first.
        self.journal = self._notes.journal
        self._notes.journal = None

    def depends_on(self, owner: str) -> None:
        """The result depends on rows of `owner` in the tables that `reads` names; of the caller's own it does anyway.

        Whoever is subscribed is told when they change. An owner is a user's id; what else tells of changes stands in
        the triggers (a share, by the id in its link).
        """
        self._notes.owners.add(owner)

    def keep(self, journal: str | None) -> None:
        """Hand `journal` to the next run of this subscription, so that a page may keep its end."""
        self._notes.journal = journal


class MutationContext(Logging):
    """What a mutation may touch: its transaction, and jobs that exist if and only if it commits."""

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
        self._scheduler = scheduler
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
        """Run `handler` as a job once this transaction has committed and `delay` has passed.

        With a `key`, only the first job of that key is made, for as long as its row is kept (over a week). `account`
        is the user's id where it is an account's job: of one account only some run at a time, and it waits in line for
        vendors as one.
        """
        mark = None if account is None else account_mark(self.settings.hash_key, account)
        await self._scheduler.schedule(
            self.db, handler, args, due_at=self.now + delay, delay=delay, key=key, account=mark
        )  # fmt: skip


class ActionContext(Logging):
    """What an action may touch: vendors, and data through queries and mutations."""

    def __init__(
        self,
        *,
        clock: Clock,
        caller: Caller,
        settings: Settings,
        runner: Runner,
        services: Mapping[type, Any],
        notes: Notes | None = None,
    ) -> None:
        self.now = clock.now()
        self.caller = caller
        self.settings = settings
        self._clock = clock
        self._runner = runner
        self._services = services
        self._notes = notes or Notes()

    def vendor(self, kind: type[S]) -> S:
        """The vendor client of that class, as the app was built with."""
        client: S = self._services[kind]
        return client

    async def run_query(self, handler: Callable[[QueryContext, A], Awaitable[R]], args: A) -> R:
        """Run a query as this action's caller."""
        result: R = await self._runner.run_query(handler, args, self.caller, self._clock)
        return result

    async def run_mutation(self, handler: Callable[[MutationContext, A], Awaitable[R]], args: A) -> R:
        """Run a mutation, in a transaction of its own, as this action's caller."""
        result: R = await self._runner.run_mutation(handler, args, self.caller, self._clock)
        return result
