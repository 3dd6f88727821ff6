"""When RevenueCat is asked about customers, and how events and answers are applied.

after an event   a job fetches the customers of the event and stores the answers; an event whose customer cannot be
                 fetched is applied by itself, and the fetch is retried
before a song    when the last answer is older than 15 minutes: with a short timeout, and without failing the song
every night      all customers whose last answer is old, the oldest first (`reconciliation.py`)
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from daysong.features.subscriptions.events import changes_entitlements, is_accepted, policy_of, rule_of
from daysong.features.subscriptions.history import add_event, apply_answer, replay
from daysong.features.subscriptions.purchases import is_deleted, load_customers, save_customers
from daysong.kernel import logs
from daysong.kernel.errors import ExpectedError, Unauthorized, VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, Retry, action, mutation, query
from daysong.kernel.time.clock import to_ms
from daysong.vendors.revenuecat.answers import Customer
from daysong.vendors.revenuecat.client import Subscribers
from daysong.vendors.revenuecat.events import BillingEvent

log = logs.get_logger("billing")

MAX_AGE = timedelta(minutes=15)
TIMEOUT = 3.0  # seconds that the start of a song waits for RevenueCat
RECONCILIATION = "reconciliation"
ACCOUNT_DELETED = "account is deleted"


class UserNotFound(ExpectedError):
    """There is no such account."""

    code = "user_not_found"
    status = 404
    default_message = "User not found"


class OneUser(Args):
    """A user."""

    user_id: IdText


class AppUserIds(Args):
    """Ids of customers at RevenueCat."""

    app_user_ids: tuple[str, ...]


class Subscriber(Result):
    """A user who may be a customer at RevenueCat, and when RevenueCat was last asked (ms)."""

    user_id: str
    clerk_id: str
    verified_at: float | None


class Answer(Args):
    """RevenueCat's answer about a user, asked for at `asked_at` (ms); None when it knows no such customer."""

    user_id: IdText
    asked_at: int
    customer: Customer | None = None


class AnswerOfSubscription(Args):
    """RevenueCat's answer about the user of a subscription."""

    subscription_id: IdText
    asked_at: int
    customer: Customer | None = None


class ReceivedEvent(Args):
    """An event, and when it was received (ms)."""

    event: BillingEvent
    received_at: float


class WebhookUpdate(Args):
    """An event, and RevenueCat's later answers about its customers."""

    event: BillingEvent
    answers: tuple[Answer, ...] = ()


class Reconciled(Result):
    """Whether the entitlements changed."""

    changed: bool


async def handle_event(ctx: MutationContext, event: BillingEvent) -> str:
    """Apply a received event, or schedule the refresh of its customers; return the outcome for the inbox."""
    if not is_accepted(event, policy_of(ctx.settings)):
        return "from a store's sandbox: changes nothing"
    if await is_deleted(ctx, _app_user_ids(event)):
        return ACCOUNT_DELETED
    refreshes = rule_of(event.type).refreshes
    if not refreshes and not changes_entitlements(event):
        return "changes nothing"
    if refreshes and ctx.settings.revenuecat.api_key is not None:
        await ctx.schedule(refresh_from_webhook, ReceivedEvent(event=event, received_at=to_ms(ctx.now)))
        return "asking RevenueCat"
    await update_subscription_from_webhook(ctx, WebhookUpdate(event=event))
    return "applied"


@action(retry=Retry(attempts=20, first=timedelta(seconds=5), longest=timedelta(hours=1)))
async def refresh_from_webhook(ctx: ActionContext, args: ReceivedEvent) -> None:
    """Fetch the customers of an event and apply the event with the answers. An idempotent job."""
    subscribers = await ctx.run_query(people_known_by, AppUserIds(app_user_ids=_app_user_ids(args.event)))
    if args.event.type != "TRANSFER":
        subscribers = subscribers[:1]
    # An answer asked for after the event was received includes the event.
    due = [each for each in subscribers if each.verified_at is None or each.verified_at <= args.received_at]
    outcomes = await asyncio.gather(*(fetch(ctx, each) for each in due), return_exceptions=True)
    answers = tuple(each for each in outcomes if isinstance(each, Answer))
    if args.event.type == "TRANSFER" and len(answers) < len(due):
        answers = ()  # the transfer is replayed only while neither side has a later answer
    await ctx.run_mutation(update_subscription_from_webhook, WebhookUpdate(event=args.event, answers=answers))
    for failure in outcomes:
        if isinstance(failure, VendorError) and failure.permanent:
            log.error("RevenueCat request failed", code=failure.code)
        elif isinstance(failure, BaseException):
            raise failure


def _app_user_ids(event: BillingEvent) -> tuple[str, ...]:
    return event.app_user_ids or (*event.transferred_from, *event.transferred_to)


async def fetch(ctx: ActionContext, subscriber: Subscriber) -> Answer:
    """Fetch the purchases of a user, made under the Clerk id, the user id, or both. Errors: VendorError.

    Aliases need no request of their own: RevenueCat answers about all aliases of a customer.
    """
    source: Subscribers = ctx.vendor(Subscribers)  # type: ignore[type-abstract]  # looked up by its interface
    asked_at = int(to_ms(ctx.now))
    found = await asyncio.gather(source.customer(subscriber.clerk_id), source.customer(subscriber.user_id))
    known = [customer for customer in found if customer is not None]
    purchases = {(each.id, each.product, each.store): each for customer in known for each in customer.purchases}
    customer = Customer(tuple(purchases.values())) if known else None
    return Answer(user_id=subscriber.user_id, asked_at=asked_at, customer=customer)


@mutation
async def update_subscription_from_webhook(ctx: MutationContext, args: WebhookUpdate) -> None:
    """Apply an event to its customers, then RevenueCat's later answers. Idempotent.

    A customer without an account is stored as unclaimed, until an account or an alias matches.
    """
    policy = policy_of(ctx.settings)
    customers = await load_customers(ctx, args.event)
    customers = replay(add_event(customers, args.event, policy), policy)
    for answer in args.answers:
        if answer.user_id in customers.states:
            customers = apply_answer(customers, answer.user_id, answer.customer, answer.asked_at, policy)
    await save_customers(ctx, customers, event_type=args.event.type, event_id=args.event.id)


@mutation
async def reconcile_subscription_with_data(ctx: MutationContext, args: Answer) -> Reconciled:
    """Apply RevenueCat's answer about a user; an answer older than the last one changes nothing."""
    customers = await load_customers(ctx, None, args.user_id)
    if args.user_id not in customers.states:
        raise UserNotFound
    after = apply_answer(customers, args.user_id, args.customer, args.asked_at, policy_of(ctx.settings))
    return Reconciled(changed=await save_customers(ctx, after, event_type=RECONCILIATION, event_id=None))


@mutation
async def reconcile_single_subscription(ctx: MutationContext, args: AnswerOfSubscription) -> Reconciled:
    """Apply RevenueCat's answer about the user of a subscription."""
    user_id = await ctx.db.fetchval("select user_id from subscriptions where id = $1", args.subscription_id)
    if user_id is None:
        raise UserNotFound
    answer = Answer(user_id=user_id, asked_at=args.asked_at, customer=args.customer)
    return await reconcile_subscription_with_data(ctx, answer)


@action
async def reconcile_subscription(ctx: ActionContext, args: OneUser) -> Reconciled:
    """Fetch a user's purchases and apply the answer."""
    subscribers = await ctx.run_query(people_known_by, AppUserIds(app_user_ids=(args.user_id,)))
    if not subscribers:
        raise UserNotFound
    return await ctx.run_mutation(reconcile_subscription_with_data, await fetch(ctx, subscribers[0]))


@query(reads=("users", "subscriptions", "revenuecat_ids"))
async def people_known_by(ctx: QueryContext, args: AppUserIds) -> list[Subscriber]:
    """Return the users with these app user ids, in the order of the ids, each once."""
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
    return [_subscriber(row) for row in sorted(rows, key=lambda row: row["place"])]


@query(reads=("users", "subscriptions"))
async def current_person(ctx: QueryContext, args: NoArgs) -> Subscriber | None:  # noqa: ARG001
    """Return the caller; None for an anonymous caller, and one without an account. Unauthorized while suspended."""
    row = await ctx.db.fetchrow(
        """select u.id, u.clerk_id, u.suspension, s.verified_at
           from users u join subscriptions s on s.user_id = u.id where u.clerk_id = $1 and u.deleted_at is null""",
        ctx.caller.subject,
    )
    return None if row is None else subscriber_of(row)


def subscriber_of(row: Any) -> Subscriber:
    """Return the caller of a row. Unauthorized while suspended."""
    if row["suspension"] is not None:
        raise Unauthorized
    return _subscriber(row)


def _subscriber(row: Any) -> Subscriber:
    verified_at: datetime | None = row["verified_at"]
    return Subscriber(
        user_id=row["id"],
        clerk_id=row["clerk_id"],
        verified_at=None if verified_at is None else to_ms(verified_at),
    )


async def refresh_user_if_stale(ctx: ActionContext, user_id: str) -> bool:
    """Fetch the purchases of a user, if the last answer is older than 15 minutes; see refresh_if_stale."""
    found = await ctx.run_query(people_known_by, AppUserIds(app_user_ids=(user_id,)))
    return bool(found) and await refresh_if_stale(ctx, found[0])


def is_stale(ctx: ActionContext, subscriber: Subscriber) -> bool:
    """Return whether RevenueCat can be asked, and its last answer is older than 15 minutes."""
    verified_at = subscriber.verified_at
    return ctx.settings.revenuecat.api_key is not None and (
        verified_at is None or to_ms(ctx.now) - verified_at > MAX_AGE / timedelta(milliseconds=1)
    )


async def refresh_if_stale(ctx: ActionContext, subscriber: Subscriber) -> bool:
    """Fetch the user's purchases if the last answer is older than 15 minutes.

    Returns whether the entitlements are that fresh. Takes at most 3 seconds, and never fails with RevenueCat.
    """
    if not is_stale(ctx, subscriber):
        return ctx.settings.revenuecat.api_key is not None
    try:
        async with asyncio.timeout(TIMEOUT):
            answer = await fetch(ctx, subscriber)
    except (VendorError, TimeoutError) as error:
        log.warning("entitlements not refreshed", error=logs.describe(error))
        return False
    await ctx.run_mutation(reconcile_subscription_with_data, answer)
    return True
