"""Every night: everybody RevenueCat was not asked about for a while, those first who were asked about longest ago.

    reconcileStaleSubscriptions   finds where the next page ends, makes its job, and a job to go on after it
    verifyPage                    asks about everybody on a page

Both may be killed anywhere and go on where they were. Somebody about whom RevenueCat has no answer does not hold up the
others, nor does a page that fails.
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
from daysong.kernel.clock import from_ms, to_ms
from daysong.kernel.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.errors import VendorError
from daysong.kernel.registry import Args, Result, Retry, Room
from daysong.vendors.revenuecat import Subscribers

room = Room("revenueCatBilling")
log = logs.get_logger("billing")

# Less than a day, so that whoever was asked about late in one night is due again in the next.
STALE = timedelta(hours=12)
# RevenueCat lets us ask 480 times a minute, and somebody may take three questions: 75 people every 30 seconds are 450
# at most, and hardly ever.
PAGE = 75
PAUSE = timedelta(seconds=30)
AT_ONCE = 4
# Not about the customer: the key is no good, or there were too many questions.
GENERAL = frozenset({"http_401", "http_403", "http_429", "not_configured"})


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


class Night(Args):
    """A night's work from the cursor on; without a beginning, all of it."""

    started_at: float | None = None
    after: Cursor = msgspec.field(default_factory=Cursor)


class Page(Args):
    """A page of it, and whether there is more after it."""

    started_at: float
    after: Cursor
    upto: Cursor
    more: bool


@room.query(reads=("subscriptions", "users"))
async def get_stale_subscriptions(ctx: QueryContext, args: StaleOnes) -> list[StaleSubscription]:
    """Subscriptions RevenueCat was not asked about since, the longest ago first."""
    before = ctx.now - STALE if args.before is None else from_ms(args.before)
    upto = args.upto or Cursor()
    rows = await ctx.db.fetch(
        """select s.id, s.user_id, u.clerk_id, s.verified_at
           from subscriptions s join users u on u.id = s.user_id
           where coalesce(s.verified_at, '-infinity') < $1 and u.deleted_at is null
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


@room.action()
async def reconcile_stale_subscriptions(ctx: ActionContext, args: Night) -> None:
    """Make the job of the next page, and the one that goes on after it. A job; safe to run twice."""
    source: Subscribers = ctx.vendor(Subscribers)  # type: ignore[type-abstract]  # looked up by its interface
    if not source.configured:
        return
    started_at = args.started_at or to_ms(ctx.now)
    page = await ctx.run_query(get_stale_subscriptions, _stale(started_at, args.after))
    if page:
        upto = Cursor(verified_at=page[-1].verified_at, subscription_id=page[-1].subscription_id)
        found = Page(started_at=started_at, after=args.after, upto=upto, more=len(page) == PAGE)
        await ctx.run_mutation(go_on, found)


def _stale(started_at: float, after: Cursor, upto: Cursor | None = None) -> StaleOnes:
    return StaleOnes(before=started_at - STALE / timedelta(milliseconds=1), after=after, upto=upto, limit=PAGE)


@room.mutation()
async def go_on(ctx: MutationContext, args: Page) -> None:
    """The job of this page at once, and a while later the one that finds the next: each once."""
    key = f"{room.name} {args.started_at} {args.upto.subscription_id}"
    await ctx.schedule(verify_page, args, key=f"{key} page")
    if args.more:
        following = Night(started_at=args.started_at, after=args.upto)
        await ctx.schedule(reconcile_stale_subscriptions, following, delay=PAUSE, key=f"{key} next")


@room.action(retry=Retry(attempts=10, first=timedelta(seconds=10), longest=timedelta(minutes=30)))
async def verify_page(ctx: ActionContext, args: Page) -> None:
    """Ask about everybody on a page who was not asked about yet. A job; safe to run twice."""
    page = await ctx.run_query(get_stale_subscriptions, _stale(args.started_at, args.after, args.upto))
    failures = await _verify(ctx, page)
    failure = _not_theirs(failures, len(page))
    if failure is not None and failure.permanent:
        log.error("RevenueCat cannot be asked", code=failure.code)  # the next night is another try
    elif failure is not None:
        raise failure


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
