"""What RevenueCat tells, and what it answers when it is asked.

    an event      a job asks how things stand with everybody it is about, and keeps the answers; who cannot be asked
                  about has the event itself applied, and is asked about again later
    on demand     before a song is made, when the last answer is older than a quarter of an hour: briefly, and never
                  in the way of the request
    every night   everybody whose answer is old, the oldest first (`reconciliation.py`)

The answer always wins, and an older one never replaces a newer.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from daysong.features.subscriptions.events import changes_anything, counts, policy_of, rule_of
from daysong.features.subscriptions.history import deliver, reconciled, recounted
from daysong.features.subscriptions.purchases import are_gone, open_book, save_book
from daysong.kernel import logs
from daysong.kernel.errors import ExpectedError, Unauthorized, VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, Retry, action, mutation, query
from daysong.kernel.time.clock import to_ms
from daysong.vendors.revenuecat.answers import Customer
from daysong.vendors.revenuecat.client import Subscribers
from daysong.vendors.revenuecat.events import BillingEvent

log = logs.get_logger("billing")

FRESH = timedelta(minutes=15)
PATIENCE = 3.0  # seconds somebody who wants a song waits for RevenueCat
RECONCILIATION = "reconciliation"
GONE = "account is deleted"


class UserNotFound(ExpectedError):
    """There is no such account."""

    code = "user_not_found"
    status = 404
    default_message = "User not found"


class OneUser(Args):
    """Whose subscription."""

    user_id: IdText


class AppUserIds(Args):
    """Ids RevenueCat knows customers by."""

    app_user_ids: tuple[str, ...]


class Person(Result):
    """Somebody RevenueCat can be asked about, and when that was done last."""

    user_id: str
    clerk_id: str
    verified_at: float | None


class Answer(Args):
    """What RevenueCat answered about somebody, asked at that moment; no customer when it knows of none."""

    user_id: IdText
    asked_at: int
    customer: Customer | None = None


class AnswerOfSubscription(Args):
    """The same, about whoever has that subscription."""

    subscription_id: IdText
    asked_at: int
    customer: Customer | None = None


class Heard(Args):
    """An event, and when it came in (ms)."""

    event: BillingEvent
    received_at: float


class WebhookUpdate(Args):
    """An event, and what RevenueCat has answered since about those it is about."""

    event: BillingEvent
    answers: tuple[Answer, ...] = ()


class Reconciled(Result):
    """Whether it made a difference."""

    changed: bool


async def on_event(ctx: MutationContext, event: BillingEvent) -> str:
    """See to an event that came in; says in a few words what is done about it."""
    if not counts(event, policy_of(ctx.settings)):
        return "from a store's sandbox: changes nothing"
    if await are_gone(ctx, _ids(event)):
        return GONE
    asks = rule_of(event.type).asks
    if not asks and not changes_anything(event):
        return "changes nothing"
    if asks and ctx.settings.revenuecat.api_key is not None:
        await ctx.schedule(refresh_from_webhook, Heard(event=event, received_at=to_ms(ctx.now)))
        return "asking RevenueCat"
    await update_subscription_from_webhook(ctx, WebhookUpdate(event=event))
    return "applied"


@action(retry=Retry(attempts=20, first=timedelta(seconds=5), longest=timedelta(hours=1)))
async def refresh_from_webhook(ctx: ActionContext, args: Heard) -> None:
    """Ask about everybody an event is about. A job; safe to run twice."""
    people = await ctx.run_query(people_known_by, AppUserIds(app_user_ids=_ids(args.event)))
    if args.event.type != "TRANSFER":
        people = people[:1]
    # Who was asked about since the event came in need not be asked about again.
    due = [person for person in people if person.verified_at is None or person.verified_at <= args.received_at]
    outcomes = await asyncio.gather(*(ask(ctx, person) for person in due), return_exceptions=True)
    answers = tuple(each for each in outcomes if isinstance(each, Answer))
    if args.event.type == "TRANSFER" and len(answers) < len(due):
        answers = ()  # what one side has lost is known to be the other's only while neither has an answer of its own
    await ctx.run_mutation(update_subscription_from_webhook, WebhookUpdate(event=args.event, answers=answers))
    for failure in outcomes:
        if isinstance(failure, VendorError) and failure.permanent:
            log.error("RevenueCat cannot be asked", code=failure.code)
        elif isinstance(failure, BaseException):
            raise failure


def _ids(event: BillingEvent) -> tuple[str, ...]:
    return event.app_user_ids or (*event.transferred_from, *event.transferred_to)


async def ask(ctx: ActionContext, person: Person) -> Answer:
    """RevenueCat's answer about somebody, who may have bought as the Clerk user, as the account, or as both; may raise.

    Other ids we know are aliases of these: RevenueCat takes them for one.
    """
    source: Subscribers = ctx.vendor(Subscribers)  # type: ignore[type-abstract]  # looked up by its interface
    asked_at = int(to_ms(ctx.now))
    found = await asyncio.gather(source.customer(person.clerk_id), source.customer(person.user_id))
    known = [customer for customer in found if customer is not None]
    purchases = {(each.id, each.product, each.store): each for customer in known for each in customer.purchases}
    customer = Customer(tuple(purchases.values())) if known else None
    return Answer(user_id=person.user_id, asked_at=asked_at, customer=customer)


@mutation
async def update_subscription_from_webhook(ctx: MutationContext, args: WebhookUpdate) -> None:
    """Apply an event to whomever it is about, then what RevenueCat answered since; again changes nothing.

    Customers nobody here is known to be are parked, and matched when an account or an alias turns up.
    """
    policy = policy_of(ctx.settings)
    book = await open_book(ctx, args.event)
    book = recounted(deliver(book, args.event, policy), policy)
    for answer in args.answers:
        if answer.user_id in book.customers:
            book = reconciled(book, answer.user_id, answer.customer, answer.asked_at, policy)
    await save_book(ctx, book, event_type=args.event.type, event_id=args.event.id)


@mutation
async def reconcile_subscription_with_data(ctx: MutationContext, args: Answer) -> Reconciled:
    """Store RevenueCat's answer about somebody; an older one than the last changes nothing."""
    book = await open_book(ctx, None, args.user_id)
    if args.user_id not in book.customers:
        raise UserNotFound
    after = reconciled(book, args.user_id, args.customer, args.asked_at, policy_of(ctx.settings))
    return Reconciled(changed=await save_book(ctx, after, event_type=RECONCILIATION, event_id=None))


@mutation
async def reconcile_single_subscription(ctx: MutationContext, args: AnswerOfSubscription) -> Reconciled:
    """Store RevenueCat's answer about whoever has that subscription."""
    user_id = await ctx.db.fetchval("select user_id from subscriptions where id = $1", args.subscription_id)
    if user_id is None:
        raise UserNotFound
    answer = Answer(user_id=user_id, asked_at=args.asked_at, customer=args.customer)
    return await reconcile_subscription_with_data(ctx, answer)


@action
async def reconcile_subscription(ctx: ActionContext, args: OneUser) -> Reconciled:
    """Ask about somebody, and store the answer."""
    people = await ctx.run_query(people_known_by, AppUserIds(app_user_ids=(args.user_id,)))
    if not people:
        raise UserNotFound
    return await ctx.run_mutation(reconcile_subscription_with_data, await ask(ctx, people[0]))


@query(reads=("users", "subscriptions", "revenuecat_ids"))
async def people_known_by(ctx: QueryContext, args: AppUserIds) -> list[Person]:
    """Our people who are known by these ids, in the order of the ids, each once."""
    rows = await ctx.db.fetch(
        """with wanted as (select * from unnest($1::text[]) with ordinality as w(called, place)),
             found as (select called, place, id from wanted join users on clerk_id = called
                       union all select called, place, id from wanted join users on id = called
                       union all select called, place, user_id from wanted join revenuecat_ids on app_user_id = called)
           select distinct on (u.id) u.id, u.clerk_id, s.verified_at, found.place
           from found join users u on u.id = found.id join subscriptions s on s.user_id = u.id
           where u.deleted_at is null
           order by u.id, found.place""",
        list(args.app_user_ids),
    )
    return [_person(row) for row in sorted(rows, key=lambda row: row["place"])]


@query(reads=("users", "subscriptions"))
async def current_person(ctx: QueryContext, args: NoArgs) -> Person | None:  # noqa: ARG001
    """The caller; None when nobody is signed in, or has no account yet. Unauthorized while the account is suspended."""
    row = await ctx.db.fetchrow(
        """select u.id, u.clerk_id, u.suspension, s.verified_at
           from users u join subscriptions s on s.user_id = u.id where u.clerk_id = $1 and u.deleted_at is null""",
        ctx.caller.subject,
    )
    if row is not None and row["suspension"] is not None:
        raise Unauthorized
    return None if row is None else _person(row)


def _person(row: Any) -> Person:
    verified_at: datetime | None = row["verified_at"]
    return Person(
        user_id=row["id"],
        clerk_id=row["clerk_id"],
        verified_at=None if verified_at is None else to_ms(verified_at),
    )


async def refresh_if_stale(ctx: ActionContext, user_id: str | None = None) -> bool:
    """Make sure that what we know of a person is no older than a quarter of an hour; whether it is.

    Of the caller, or of whoever has that account.

    Never fails, and takes no longer than a few seconds: RevenueCat being down is nobody's problem but ours.
    """
    if ctx.settings.revenuecat.api_key is None:
        return False
    if user_id is None:
        person = await ctx.run_query(current_person, NoArgs())
    else:
        person = next(iter(await ctx.run_query(people_known_by, AppUserIds(app_user_ids=(user_id,)))), None)
    if person is None:
        return False
    if person.verified_at is not None and to_ms(ctx.now) - person.verified_at <= FRESH / timedelta(milliseconds=1):
        return True
    try:
        async with asyncio.timeout(PATIENCE):
            answer = await ask(ctx, person)
    except (VendorError, TimeoutError) as error:
        log.warning("going on without RevenueCat", error=logs.describe(error))
        return False
    await ctx.run_mutation(reconcile_subscription_with_data, answer)
    return True
