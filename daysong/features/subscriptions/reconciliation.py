"""The nightly reconciliation: RevenueCat is asked about every subscription with an old answer, the oldest first.

    reconcileStaleSubscriptions   starts a run, unless one is in progress, and schedules its first page
    verifyPage                    asks about the customers of a page, then schedules the next page

Only customers with a purchase or an event are asked about: first purchases are announced by a webhook, and fetched
before a song. There is one run at a time (`reconciliation_runs`) with one page at a time; pages of an older run do
nothing. Requests share RevenueCat's rate limit with all others.

Both jobs are idempotent and continue where they were killed. A customer without an answer, or a page that fails, does
not block the rest.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import msgspec

from daysong.features.subscriptions.revenuecat_billing import (
    AnswerOfSubscription,
    Subscriber,
    fetch,
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

# Less than a day, so that a subscription verified late in one night is due again in the next.
STALE = timedelta(hours=12)
PAGE = 75
# Between two pages, RevenueCat's rate limit is free for other requests.
PAUSE = timedelta(seconds=5)
CONCURRENCY = 4
# A run without progress for so long is abandoned, and another one may start.
ABANDONED = timedelta(hours=12)
# Failures that concern all customers: the key is refused, or the rate limit is reached.
GENERAL_FAILURES = frozenset({"http_401", "http_403", "http_429", "not_configured", "deferred"})


class Cursor(Args):
    """A position in the list of subscriptions by time of verification (None: never verified) and id."""

    verified_at: float | None = None
    subscription_id: str = ""


class StaleQuery(Args):
    """Subscriptions verified before `before` (12 hours ago), after one cursor and up to the other."""

    before: float | None = None
    after: Cursor = msgspec.field(default_factory=Cursor)
    upto: Cursor | None = None
    limit: int = PAGE


class StaleSubscription(Result):
    """A subscription to verify."""

    subscription_id: str
    user_id: str
    clerk_id: str
    verified_at: float | None


class Run(Args):
    """A run of the reconciliation, by its start (ms)."""

    started_at: float


class Page(Args):
    """A page of a run, and whether more may follow."""

    started_at: float
    after: Cursor
    upto: Cursor
    more: bool


@query(reads=("subscriptions", "users"))
async def get_stale_subscriptions(ctx: QueryContext, args: StaleQuery) -> list[StaleSubscription]:
    """Return the subscriptions with purchases or events to verify, the oldest verification first."""
    return await _stale_subscriptions(ctx.db, ctx.now, args)


async def _stale_subscriptions(db: Reader, now: datetime, args: StaleQuery) -> list[StaleSubscription]:
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
    """Start a reconciliation, unless one is in progress. An idempotent cron."""
    source: Subscribers = ctx.vendor(Subscribers)  # type: ignore[type-abstract]  # looked up by its interface
    if source.configured:
        await ctx.run_mutation(begin_reconciliation, args)


@mutation
async def begin_reconciliation(ctx: MutationContext, args: NoArgs) -> bool:  # noqa: ARG001
    """Start a run and schedule its first page; False when a run is in progress."""
    started_at = from_ms(int(to_ms(ctx.now)))
    begun = await ctx.db.fetchval(
        """insert into reconciliation_runs as run (started_at, moved_at) values ($1, $1)
           on conflict (only_one) do update set started_at = $1, moved_at = $1, finished_at = null
             where (run.finished_at is not null or run.moved_at < $2) and run.started_at < $1
           returning true""",
        started_at, ctx.now - ABANDONED,
    )  # fmt: skip
    if begun is None:
        log.warning("reconciliation skipped: another run is in progress")
        return False
    await _schedule_page(ctx, to_ms(started_at), Cursor())
    return True


async def _schedule_page(ctx: MutationContext, started_at: float, after: Cursor) -> None:
    """Schedule the page after the cursor once; finish the run when there is none."""
    page = await _stale_subscriptions(ctx.db, ctx.now, _page_query(started_at, after))
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


def _page_query(started_at: float, after: Cursor, upto: Cursor | None = None) -> StaleQuery:
    return StaleQuery(before=started_at - STALE / timedelta(milliseconds=1), after=after, upto=upto, limit=PAGE)


@mutation
async def advance_run(ctx: MutationContext, args: Page) -> None:
    """Schedule the next page once; does nothing when another run has started."""
    in_progress = await ctx.db.fetchval(
        """update reconciliation_runs set moved_at = $2
           where started_at = $1 and finished_at is null returning true""",
        from_ms(args.started_at), ctx.now,
    )  # fmt: skip
    if in_progress:
        await _schedule_page(ctx, args.started_at, args.upto)


@query(reads=("reconciliation_runs",))
async def is_run_in_progress(ctx: QueryContext, args: Run) -> bool:
    """Return whether this run is in progress."""
    found: bool = await ctx.db.fetchval(
        "select exists (select from reconciliation_runs where started_at = $1 and finished_at is null)",
        from_ms(args.started_at),
    )
    return found


@action(retry=Retry(attempts=10, first=timedelta(seconds=10), longest=timedelta(minutes=30)), on_exhausted=advance_run)
async def verify_page(ctx: ActionContext, args: Page) -> None:
    """Verify the subscriptions of a page that are not verified yet, then schedule the next page. An idempotent job."""
    if not await ctx.run_query(is_run_in_progress, Run(started_at=args.started_at)):
        return
    page = await ctx.run_query(get_stale_subscriptions, _page_query(args.started_at, args.after, args.upto))
    failures = await _verify(ctx, page)
    failure = _general_failure(failures, len(page))
    if failure is not None and failure.permanent:
        log.error("RevenueCat request failed", code=failure.code)  # tried again in the next night
    elif failure is not None:
        raise failure
    await ctx.run_mutation(advance_run, args)


def _general_failure(failures: list[VendorError], customers: int) -> VendorError | None:
    """Return a failure that does not concern a single customer: one of GENERAL_FAILURES, or a temporary one of all."""
    all_failed = len(failures) == customers
    return next(
        (each for each in failures if each.code in GENERAL_FAILURES or (all_failed and not each.permanent)),
        None,
    )


async def _verify(ctx: ActionContext, page: list[StaleSubscription]) -> list[VendorError]:
    """Fetch each customer and apply the answer; return the failures. Stops after one of GENERAL_FAILURES."""
    semaphore = asyncio.Semaphore(CONCURRENCY)
    failures: list[VendorError] = []

    async def verify(stale: StaleSubscription) -> None:
        async with semaphore:
            if any(failure.code in GENERAL_FAILURES for failure in failures):
                return
            try:
                answer = await fetch(ctx, Subscriber(stale.user_id, stale.clerk_id, stale.verified_at))
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
        log.warning("subscriptions not verified", failed=len(failures), of=len(page), first=str(failures[0]))
    return failures
