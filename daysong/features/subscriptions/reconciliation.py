"""Every night: each subscription RevenueCat was not asked about for a while, the longest ago first.

    reconcileStaleSubscriptions   begins a run, unless one is going on: a page, and after it the next one
    verifyPage                    asks about everybody on a page, then has the next one made

RevenueCat is asked only where something was bought or told: a first purchase is told of by a webhook, and asked about
before a song. There is one run at a time and one page of it: `reconciliation_runs` says which run, and a page of
another one does nothing. Requests wait in the line that all requests to RevenueCat share.

Both jobs may be killed anywhere and go on where they were. A customer RevenueCat has no answer about does not hold up
the others, nor does a page that fails.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import msgspec

from daysong.features.subscriptions.revenuecat_billing import (
    AnswerOfSubscription,
    Person,
    ask,
    reconcile_single_subscription,
)
from daysong.kernel import logs
from daysong.kernel.database.transactions import Reader
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, NoArgs, Result, Retry, action, mutation, query
from daysong.kernel.time.clock import from_ms, to_ms
from daysong.vendors.revenuecat.client import Subscribers

log = logs.get_logger("billing")

# Less than a day, so that whoever was asked about late in one night is due again in the next.
STALE = timedelta(hours=12)
PAGE = 75
# Between two pages the line for RevenueCat is free of reconciliation.
PAUSE = timedelta(seconds=5)
AT_ONCE = 4
# A run that has not got on for so long is given up, and another one may begin.
ABANDONED = timedelta(hours=12)
# Not about the customer: the key is no good, or there were too many questions.
GENERAL = frozenset({"http_401", "http_403", "http_429", "not_configured", "deferred"})


class Cursor(Args):
    """Where a page begins: after that time of verification (none: never verified) and that subscription."""

    verified_at: float | None = None
    subscription_id: str = ""


class StaleOnes(Args):
    """Which subscriptions: verified before that moment (12 hours ago), after the one cursor and up to the other."""

    before: float | None = None
    after: Cursor = msgspec.field(default_factory=Cursor)
    upto: Cursor | None = None
    limit: int = PAGE


class StaleSubscription(Result):
    """A subscription to be verified."""

    subscription_id: str
    user_id: str
    clerk_id: str
    verified_at: float | None


class OneRun(Args):
    """Which reconciliation, by when it began (ms)."""

    started_at: float


class Page(Args):
    """A page of the reconciliation that began then, and whether there is more after it."""

    started_at: float
    after: Cursor
    upto: Cursor
    more: bool


@query(reads=("subscriptions", "users"))
async def get_stale_subscriptions(ctx: QueryContext, args: StaleOnes) -> list[StaleSubscription]:
    """Subscriptions RevenueCat was not asked about since, the longest ago first, where something was bought or told."""
    return await _stale_ones(ctx.db, ctx.now, args)


async def _stale_ones(db: Reader, now: datetime, args: StaleOnes) -> list[StaleSubscription]:
    before = now - STALE if args.before is None else from_ms(args.before)
    upto = args.upto or Cursor()
    rows = await db.fetch(
        """select s.id, s.user_id, u.clerk_id, s.verified_at
           from subscriptions s join users u on u.id = s.user_id
           where coalesce(s.verified_at, '-infinity') < $1 and u.deleted_at is null
             and (s.lines <> '{}' or s.told <> '{}')
             and (coalesce(s.verified_at, '-infinity'), s.id) > (coalesce($2::timestamptz, '-infinity'), $3)
             and ($4 = ''
                  or (coalesce(s.verified_at, '-infinity'), s.id) <= (coalesce($5::timestamptz, '-infinity'), $4))
           order by coalesce(s.verified_at, '-infinity'), s.id limit $6""",
        before, _moment(args.after), args.after.subscription_id, upto.subscription_id, _moment(upto), args.limit,
    )  # fmt: skip
    return [
        StaleSubscription(
            subscription_id=row["id"],
            user_id=row["user_id"],
            clerk_id=row["clerk_id"],
            verified_at=_ms(row["verified_at"]),
        )
        for row in rows
    ]


def _moment(cursor: Cursor) -> datetime | None:
    return None if cursor.verified_at is None else from_ms(cursor.verified_at)


def _ms(moment: datetime | None) -> float | None:
    return None if moment is None else to_ms(moment)


@action
async def reconcile_stale_subscriptions(ctx: ActionContext, args: NoArgs) -> None:
    """Begin a reconciliation, unless one is going on. A cron; safe to run twice."""
    source: Subscribers = ctx.vendor(Subscribers)  # type: ignore[type-abstract]  # looked up by its interface
    if source.configured:
        await ctx.run_mutation(begin_reconciliation, args)


@mutation
async def begin_reconciliation(ctx: MutationContext, args: NoArgs) -> bool:  # noqa: ARG001
    """Make the job of a new run's first page; False when a run is going on."""
    started_at = from_ms(int(to_ms(ctx.now)))
    begun = await ctx.db.fetchval(
        """insert into reconciliation_runs as run (started_at, moved_at) values ($1, $1)
           on conflict (only_one) do update set started_at = $1, moved_at = $1, finished_at = null
             where (run.finished_at is not null or run.moved_at < $2) and run.started_at < $1
           returning true""",
        started_at, ctx.now - ABANDONED,
    )  # fmt: skip
    if begun is None:
        log.warning("reconciliation not begun: one is going on")
        return False
    await _make_page(ctx, to_ms(started_at), Cursor())
    return True


async def _make_page(ctx: MutationContext, started_at: float, after: Cursor) -> None:
    """Make the job of the page after the cursor, once; without one, the run is finished."""
    page = await _stale_ones(ctx.db, ctx.now, _stale(started_at, after))
    if not page:
        await ctx.db.execute(
            "update reconciliation_runs set finished_at = $2 where started_at = $1", from_ms(started_at), ctx.now
        )
        return
    upto = Cursor(verified_at=page[-1].verified_at, subscription_id=page[-1].subscription_id)
    following = Page(started_at=started_at, after=after, upto=upto, more=len(page) == PAGE)
    delay = PAUSE if after.subscription_id else timedelta(0)
    await ctx.schedule(
        verify_page, following, delay=delay, key=f"revenueCatBilling {started_at} {upto.subscription_id} page"
    )


def _stale(started_at: float, after: Cursor, upto: Cursor | None = None) -> StaleOnes:
    return StaleOnes(before=started_at - STALE / timedelta(milliseconds=1), after=after, upto=upto, limit=PAGE)


@mutation
async def go_on(ctx: MutationContext, args: Page) -> None:
    """Make the job of the page after this one, once; nothing when another run has begun."""
    going_on = await ctx.db.fetchval(
        """update reconciliation_runs set moved_at = $2
           where started_at = $1 and finished_at is null returning true""",
        from_ms(args.started_at), ctx.now,
    )  # fmt: skip
    if going_on:
        await _make_page(ctx, args.started_at, args.upto)


@query(reads=("reconciliation_runs",))
async def is_going_on(ctx: QueryContext, args: OneRun) -> bool:
    """Whether that run is the one that is going on."""
    found: bool = await ctx.db.fetchval(
        "select exists (select from reconciliation_runs where started_at = $1 and finished_at is null)",
        from_ms(args.started_at),
    )
    return found


@action(retry=Retry(attempts=10, first=timedelta(seconds=10), longest=timedelta(minutes=30)), on_exhausted=go_on)
async def verify_page(ctx: ActionContext, args: Page) -> None:
    """Ask about everybody on a page who was not asked about yet, then go on. A job; safe to run twice."""
    if not await ctx.run_query(is_going_on, OneRun(started_at=args.started_at)):
        return
    page = await ctx.run_query(get_stale_subscriptions, _stale(args.started_at, args.after, args.upto))
    failures = await _verify(ctx, page)
    failure = _not_theirs(failures, len(page))
    if failure is not None and failure.permanent:
        log.error("RevenueCat cannot be asked", code=failure.code)  # the next night is another try
    elif failure is not None:
        raise failure
    await ctx.run_mutation(go_on, args)


def _not_theirs(failures: list[VendorError], people: int) -> VendorError | None:
    """A failure that is not about somebody in particular: one that says so, or one that everybody had and may pass."""
    everybody = len(failures) == people
    return next(
        (each for each in failures if each.code in GENERAL or (everybody and not each.permanent)),
        None,
    )


async def _verify(ctx: ActionContext, page: list[StaleSubscription]) -> list[VendorError]:
    """Ask about each and store the answers; what went wrong. After a failure that is not about one of them, no more."""
    gate = asyncio.Semaphore(AT_ONCE)
    failures: list[VendorError] = []

    async def verify(stale: StaleSubscription) -> None:
        async with gate:
            if any(failure.code in GENERAL for failure in failures):
                return
            try:
                person = Person(stale.user_id, stale.clerk_id, stale.verified_at)
                answer = await ask(ctx, person)
            except VendorError as error:
                failures.append(error)
                return
            await ctx.run_mutation(
                reconcile_single_subscription,
                AnswerOfSubscription(
                    subscription_id=stale.subscription_id, asked_at=answer.asked_at, customer=answer.customer
                ),
            )

    running = [asyncio.create_task(verify(stale)) for stale in page]
    try:
        await asyncio.gather(*running)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    if failures:
        log.warning("some could not be verified", failed=len(failures), of=len(page), first=str(failures[0]))
    return failures
