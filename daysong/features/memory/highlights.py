"""A summary, written by OpenAI, of what a user has experienced with a person lately."""

from __future__ import annotations

import hashlib

from daysong.features.memory import readings, rules
from daysong.features.memory.people import Highlights, OnePerson, names_of
from daysong.features.subscriptions import accounts
from daysong.features.subscriptions.revenuecat_billing import UserNotFound
from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, action, mutation, query
from daysong.kernel.limits import budgets
from daysong.kernel.limits.budgets import LIMIT_OF_ALL
from daysong.kernel.limits.counters import ACCOUNT
from daysong.kernel.limits.errors import DailyLimitReached
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.limits.prices import Purchase
from daysong.kernel.time.clock import to_ms
from daysong.vendors.openai.extraction import EntryReader, KnownEvent

log = logs.get_logger("memory")

EVENTS_SUMMED_UP = 20


class Assignment(Result):
    """A summary to be written: of which events with whom."""

    reading_id: str
    owner: str
    name: str
    relationship: str | None
    event_ids: list[str]
    events: list[KnownEvent]


class WrittenHighlight(Args):
    """A summary of these events with a person."""

    reading_id: IdText
    person_id: IdText
    event_ids: list[str]
    summary: str


class FailedHighlight(Args):
    """A summary that was not written; `again` when the model certainly was not paid."""

    reading_id: IdText
    again: bool


@action(lane=Lane.SONGS)
async def generate_person_highlight(ctx: ActionContext, args: OnePerson) -> Highlights:
    """Write a summary of the newest events with a person of the caller's, at most ten a day.

    Errors: NotAuthenticated, UserNotFound without an account, PersonNotFound, NoEvents, TooManyHighlights,
    DailyLimitReached, HighlightFailed.
    """
    if ctx.caller.subject is None:
        raise rules.NotAuthenticated
    await ctx.run_query(check_account, NoArgs())
    work = await ctx.run_mutation(begin_highlight, args)
    reader: EntryReader = ctx.vendor(EntryReader)  # type: ignore[type-abstract]  # looked up by its interface
    try:
        with budgets.paid_for(ctx.settings, work.owner, work.reading_id):
            summary = await reader.write_highlight(
                name=work.name, relationship=work.relationship, events=work.events,
                person=hashlib.sha256(work.owner.encode()).hexdigest(),
            )  # fmt: skip
    except VendorError as error:
        log.warning("highlight not written", person=args.person_id, code=error.code)
        again = not (error.permanent or error.ambiguous)
        await ctx.run_mutation(fail_highlight, FailedHighlight(reading_id=work.reading_id, again=again))
        raise rules.HighlightFailed from None
    return await ctx.run_mutation(
        save_highlight,
        WrittenHighlight(
            reading_id=work.reading_id, person_id=args.person_id, event_ids=work.event_ids, summary=summary
        ),
    )


@query(reads=("users",))
async def check_account(ctx: QueryContext, args: NoArgs) -> None:  # noqa: ARG001
    """Check that the caller has an account. Errors: UserNotFound; NotAuthenticated while it is suspended."""
    row = await ctx.db.fetchrow(
        "select suspension from users where clerk_id = $1 and deleted_at is null", ctx.caller.subject
    )
    if row is None:
        raise UserNotFound
    if row["suspension"] is not None:
        raise rules.NotAuthenticated


@mutation
async def begin_highlight(ctx: MutationContext, args: OnePerson) -> Assignment:
    """Count a summary, and reserve the money for it. Errors: as for the action."""
    owner = await accounts.of_caller(ctx)
    person = await ctx.db.fetchrow(
        "select relationship_label from people where id = $1 and user_id = $2", args.person_id, owner
    )
    if person is None:
        raise rules.PersonNotFound
    events = await ctx.db.fetch(
        """select e.id, e.happened_at, e.title, e.summary
           from (select event_id from event_people where user_id = $1 and person_id = $2
                 order by happened_at desc, event_id desc limit $3) newest
           join events e on e.id = newest.event_id
           order by e.happened_at desc, e.id desc""",
        owner, args.person_id, EVENTS_SUMMED_UP,
    )  # fmt: skip
    if not events:
        raise rules.NoEvents
    reading_id = await readings.begin(ctx.db, owner, "highlight", args.person_id, None, ctx.now)
    if reading_id is None:
        raise rules.TooManyHighlights
    names = await names_of(ctx.db, args.person_id)
    answer = await budgets.reserve_within(
        ctx.db, ctx.settings, Purchase.HIGHLIGHT, account=owner, subject=reading_id, now=ctx.now
    )
    if answer.cap is not None:
        raise DailyLimitReached(None if answer.cap == ACCOUNT else LIMIT_OF_ALL)
    return Assignment(
        reading_id=reading_id, owner=owner, name=names[0], relationship=person["relationship_label"],
        event_ids=[event["id"] for event in events],
        events=[
            KnownEvent(event["title"], event["summary"], event["happened_at"].date().isoformat()) for event in events
        ],
    )  # fmt: skip


@mutation
async def save_highlight(ctx: MutationContext, args: WrittenHighlight) -> Highlights:
    """Keep a summary. Errors: PersonNotFound; HighlightFailed when an event of it is gone meanwhile."""
    owner = await accounts.of_caller(ctx)
    await readings.end(ctx.db, ctx.settings, args.reading_id, ctx.now)
    if not await ctx.db.fetchval("select true from people where id = $1 and user_id = $2", args.person_id, owner):
        raise rules.PersonNotFound
    # Words that were deleted while the model wrote must not come back.
    left = await ctx.db.fetchval(
        "select count(*) from event_people where person_id = $1 and event_id = any($2)", args.person_id, args.event_ids
    )
    if left != len(args.event_ids):
        raise rules.HighlightFailed
    await ctx.db.execute(
        """update people set highlight = $2, highlighted_at = $3, highlight_is_own = false, updated_at = $3
           where id = $1""",
        args.person_id, args.summary, ctx.now,
    )  # fmt: skip
    return Highlights(args.summary, to_ms(ctx.now))


@mutation
async def fail_highlight(ctx: MutationContext, args: FailedHighlight) -> None:
    """End a summary that was not written. One that the model was not paid for does not count for the day."""
    await accounts.of_caller(ctx)
    if args.again:
        await readings.undo(ctx.db, ctx.settings, args.reading_id)
    else:
        await readings.end(ctx.db, ctx.settings, args.reading_id, ctx.now)
