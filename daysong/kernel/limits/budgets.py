"""Daily budgets in micro-dollars: vendor costs and caps per day (UTC), by account, by vendor and in total.

The expected price of paid work is reserved before the work begins. Each cost uses up part of the reservation; the
remainder is released or expires. A day's counter is the sum of its costs and open reservations.

A reservation is made by one statement under the counter's lock, in one batch for all requests waiting in this process.
So no cap is exceeded under concurrency, and the lock is held for nothing else. The exception is
`reserve_within`, for work that starts and is answered in one transaction. Costs are recorded without that lock;
`recount` makes the counter exact again, every five minutes and before a refusal.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
from prometheus_client import Counter

from daysong.kernel import logs
from daysong.kernel.database.transactions import LOST, Database, Transaction
from daysong.kernel.errors import DatabaseUnavailable, DaysongError
from daysong.kernel.limits import counters
from daysong.kernel.limits.counters import ACCOUNT, Answer, Decided, Wish
from daysong.kernel.limits.errors import DailyLimitReached
from daysong.kernel.limits.marks import account_mark
from daysong.kernel.limits.prices import Purchase
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import Clock

# How long a reservation is valid before it is claimed for a subject, and after.
UNCLAIMED = timedelta(minutes=5)
CLAIMED = timedelta(hours=2)
RECOUNT_PAUSE = 1.0

LIMIT_OF_ALL = "So much was made today that no more can be made until tomorrow."

REFUSALS = Counter("daysong_budget_refusals_total", "Paid work refused because a cap was reached", ["cap"])

log = logs.get_logger("costs")

_PAY_SQL = """
    with paid as (
      insert into vendor_costs (at, vendor, function, account, amount, reference, estimated)
      select $1::timestamptz, $2::text, $3::text, $4::text, $5::bigint, $6::text, $8::boolean
      where $5 > 0 or exists (select from vendor_costs where vendor = $2 and reference = $6)
      on conflict (vendor, reference) do update set amount = excluded.amount, estimated = false
        where vendor_costs.estimated and not excluded.estimated
      returning amount)
    update budget_reservations r set amount = greatest(r.amount - paid.amount, 0)
    from paid where r.reference = $7 and r.vendor = $2"""


NOTHING_LIMITS = Answer("")


class _Wanted(NamedTuple):
    purchase: Purchase
    account: str | None
    answer: asyncio.Future[Answer]


class Payer(NamedTuple):
    """The account (by its hash) that costs are recorded for, and the reference of the reservation they use up."""

    account: str | None = None
    reference: str = ""


_NO_PAYER = Payer()
_payer: ContextVar[Payer] = ContextVar("payer", default=_NO_PAYER)


@contextmanager
def paid_for(settings: Settings, account: str, subject: str) -> Iterator[None]:
    """Record vendor costs within this block for `account`, against the reservation of `subject`."""
    token = _payer.set(Payer(account_mark(settings.hash_key, account), reference_of(settings, subject)))
    try:
        yield
    finally:
        _payer.reset(token)


def reference_of(settings: Settings, subject: str) -> str:
    """Return the keyed hash by which costs and reservations refer to a subject, such as a generation's id."""
    return _reference(settings.hash_key, subject)


def _reference(key: str, subject: str) -> str:
    return hmac.digest(key.encode(), b"paid for " + subject.encode(), hashlib.sha256)[:12].hex()


def references_of(settings: Settings, subject: str) -> list[str]:
    """Return the references that rows of a subject may have, the one of the current key first."""
    return [_reference(key, subject) for key in settings.hash_keys]


async def claim(tx: Transaction, settings: Settings, reservation: str | None, subject: str, now: datetime) -> None:
    """Assign a reservation to `subject`, such as a call, in the transaction that starts it; releases an earlier one."""
    if reservation:
        await release(tx, settings, subject)
        await tx.execute(
            "update budget_reservations set reference = $2, expires_at = $3 where reference = $1",
            *claimed(settings, reservation, subject, now),
        )


def claimed(settings: Settings, reservation: str | None, subject: str, now: datetime) -> tuple[Any, ...]:
    """Return the reference of a reservation, and its new one and end, to assign it to a subject that has none."""
    return reservation or None, reference_of(settings, subject), now + CLAIMED


async def reserve_within(
    tx: Transaction, settings: Settings, purchase: Purchase, *, account: str, subject: str, now: datetime
) -> Answer:
    """Reserve the price of a purchase for `subject` in the caller's transaction, once, or return the cap reached.

    For work that starts in the same transaction and must be answered at once, such as an incoming call. The caller
    holds a lock for the subject. Call this last: the day's counters stay locked until the transaction ends.
    """
    if not settings.limits.enabled:
        return NOTHING_LIMITS
    reference = reference_of(settings, subject)
    held = "select reference from budget_reservations where reference = any($1) and expires_at > $2 limit 1"
    if (reserved := await tx.fetchval(held, references_of(settings, subject), now)) is not None:
        return Answer(reserved)
    await release(tx, settings, subject)
    wishes = [Wish(purchase, account_mark(settings.hash_key, account), reference)]
    [answer], due = await counters.decide(tx, settings.costs, wishes, now, now + CLAIMED)
    if answer.cap is not None and answer.cap != ACCOUNT:
        # The counter may be inexact, so recount before refusing. The sum of an account is always exact.
        await counters.recount(tx, settings.costs, now)
        [answer], due = await counters.decide(tx, settings.costs, wishes, now, now + CLAIMED)
    await counters.warn(tx, due, settings.costs, now)
    if answer.cap is not None:
        REFUSALS.labels(answer.cap).inc()
    return answer


async def release(tx: Transaction, settings: Settings, subject: str) -> None:
    """Release the reservation of `subject`."""
    await tx.execute("delete from budget_reservations where reference = any($1)", references_of(settings, subject))


async def pay(
    tx: Transaction, settings: Settings, vendor: str, function: str, amount: int, *, account: str, subject: str,
    now: datetime, part: str = "", estimated: bool = False,
) -> None:  # fmt: skip
    """Record a cost in the caller's transaction, once per subject and vendor, or once for each `part`.

    An estimated cost is corrected once, by the actual one.
    """
    suffix = f"{part and ' '}{part}"
    reference = reference_of(settings, subject)
    if settings.hash_keys_old:
        # A cost that was recorded under an earlier key is not recorded again.
        recorded = await tx.fetchval(
            "select reference from vendor_costs where vendor = $1 and reference = any($2) limit 1",
            vendor, [f"{one}{suffix}" for one in references_of(settings, subject)],
        )  # fmt: skip
        reference = reference if recorded is None else recorded.removesuffix(suffix)
    await tx.execute(
        _PAY_SQL, now, vendor, function, account_mark(settings.hash_key, account), amount,
        f"{reference}{suffix}", reference, estimated,
    )  # fmt: skip


async def take_back(tx: Transaction, settings: Settings, vendor: str, amount: int, *, subject: str) -> None:
    """Undo a recorded cost that the vendor certainly did not charge, and reserve the amount again."""
    reference = await tx.fetchval(
        "delete from vendor_costs where vendor = $1 and reference = any($2) returning reference",
        vendor, references_of(settings, subject),
    )  # fmt: skip
    if reference is not None:
        await tx.execute(
            "update budget_reservations set amount = amount + $3 where vendor = $1 and reference = $2",
            vendor, reference, amount,
        )  # fmt: skip


class Budget:
    """The daily budget of an installation."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self._settings = settings
        self._costs = settings.costs
        self.enabled = settings.limits.enabled
        self._database = database
        self._clock = clock
        self._wanted: list[_Wanted] = []
        self._running: asyncio.Task[None] | None = None
        self._recounted = 0.0

    async def reserve(self, purchase: Purchase, account: str | None) -> Answer:
        """Reserve the price of a purchase for an account (its user id), or return the cap that is reached."""
        if not self.enabled:
            return NOTHING_LIMITS
        mark = None if account is None else account_mark(self._settings.hash_key, account)
        loop = asyncio.get_running_loop()
        wanted = _Wanted(purchase, mark, loop.create_future())
        self._wanted.append(wanted)
        if self._running is None:
            self._running = loop.create_task(self._run())
        return await wanted.answer

    async def require(self, purchase: Purchase, account: str | None) -> str:
        """Reserve the price of a purchase and return its reference. Errors: DailyLimitReached."""
        answer = await self.reserve(purchase, account)
        if answer.reservation is None:
            raise DailyLimitReached(None if answer.cap == ACCOUNT else LIMIT_OF_ALL)
        return answer.reservation

    async def cancel(self, reservation: str | None) -> None:
        """Delete an unused reservation."""
        if reservation:
            await self._database.pool.execute("delete from budget_reservations where reference = $1", reservation)

    async def paid(self, vendor: str, function: str, amount: int) -> None:
        """Record the cost of a vendor's response for the account set by `paid_for`. Database errors are only logged."""
        payer, now = _payer.get(), self._clock.now()
        try:
            await self._database.pool.execute(
                _PAY_SQL,
                now,
                vendor,
                function,
                payer.account,
                amount,
                # As in `pay`, so that the costs of one subject can be found.
                f"{payer.reference} {secrets.token_hex(12)}".lstrip(),
                payer.reference,
                False,
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DaysongError) as error:
            log.error("cost not written", vendor=vendor, amount=amount, error=logs.describe(error))  # noqa: TRY400

    async def paid_for_tokens(self, vendor: str, function: str, given: float, written: float) -> None:
        """Record the cost of a response that is billed by tokens."""
        await self.paid(vendor, function, self._costs.tokens(given, written))

    async def recount(self) -> None:
        """Make today's counter exact, raise alarms that are due, and delete expired reservations."""
        await self._database.mutate(lambda tx: counters.recount(tx, self._costs, self._clock.now()))

    async def _run(self) -> None:
        try:
            while self._wanted:
                batch, self._wanted = self._wanted, []
                try:
                    answers = await self._decide(batch)
                    if any(answer.cap is not None for answer in answers) and await self._recounted_now():
                        # The counter may be inexact, so recount before refusing.
                        refused = [place for place, answer in enumerate(answers) if answer.cap is not None]
                        again = await self._decide([batch[place] for place in refused])
                        for place, answer in zip(refused, again, strict=True):
                            answers[place] = answer
                except Exception as failure:  # noqa: BLE001 - passed on to every caller that waits
                    error = _for_callers(failure)
                    for wanted in batch:
                        if not wanted.answer.done():
                            wanted.answer.set_exception(error)
                    continue
                for wanted, answer in zip(batch, answers, strict=True):
                    if answer.cap is not None:
                        REFUSALS.labels(answer.cap).inc()
                    if not wanted.answer.done():
                        wanted.answer.set_result(answer)
        finally:
            self._running = None

    async def _recounted_now(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._recounted < RECOUNT_PAUSE:
            return False
        self._recounted = now
        await self.recount()
        return True

    async def _decide(self, batch: list[_Wanted]) -> list[Answer]:
        wishes = [Wish(wanted.purchase, wanted.account, secrets.token_hex(12)) for wanted in batch]
        now = self._clock.now()

        async def work(tx: Transaction) -> Decided:
            return await counters.decide(tx, self._costs, wishes, now, now + UNCLAIMED)

        # The work is committed, before any vendor is asked, to the same log, so the reservation is on disk then. Work
        # that begins after a crash which lost its reservation counts from its first cost on.
        answers, due = await self._database.mutate(work, one_statement=True, durable=False)
        await counters.warn(self._database.pool, due, self._costs, now)
        return answers


def _for_callers(failure: Exception) -> Exception:
    """Return what callers get instead of a lost connection: nothing was bought, and a reservation expires by itself."""
    if not isinstance(failure, (*LOST, OSError)):
        return failure
    error = DatabaseUnavailable("The connection was lost before anything was bought.")
    error.__cause__ = failure
    return error
