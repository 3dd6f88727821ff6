"""Events are read from entries: 30 seconds after the last change, each version once.

    an entry is written or changed    a job for that version, if the feature flag is on for its user
    processDiaryEntry                 the job: begins the reading, asks OpenAI, replaces the events
    a newer version, a deletion       the job of the older version does nothing

The job may be killed anywhere and run again: an answer that was lost is asked for, and paid, once more; events are
replaced once. A failure leaves the events as they are.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta

from daysong.features.feature_flags import flags
from daysong.features.memory import readings, rules, store
from daysong.features.users import store as users
from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext
from daysong.kernel.functions.declarations import Args, IdText, Result, Retry, action, mutation
from daysong.kernel.ids import DiaryId, UserId
from daysong.kernel.limits import budgets
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.limits.prices import Purchase
from daysong.kernel.visible import trimmed
from daysong.vendors.openai.extraction import Entry, EntryReader, FoundEvent, KnownEvent

log = logs.get_logger("memory")

RETRIES = Retry(attempts=12, longest=timedelta(hours=1))


class OneEntry(Args):
    """Which entry, and of which version; without it, the present one. `postponed` counts days it has waited."""

    diary_id: IdText
    version: int | None = None
    postponed: int = 0


class Assignment(Result):
    """An entry to be read, with what the request to the model contains of earlier ones."""

    reading_id: str
    owner: str
    version: int
    text: str
    date: str
    people: list[str]
    tags: list[str]
    kept: list[KnownEvent]


class ReadEvents(Args):
    """The events that were read from a version of an entry."""

    reading_id: IdText
    diary_id: IdText
    version: int
    events: list[FoundEvent]


class OneReading(Args):
    """Which reading."""

    reading_id: IdText


def flag_sql(user_id: str) -> str:
    """Return SQL for the setting of the feature flag for an account, which is an SQL expression."""
    return flags.setting_sql(user_id, f"'{flags.EVENT_EXTRACTION}'")


def may_read_sql(user_id: str, default: str) -> str:
    """Return SQL for whether the entries of an account may be read; `default` is `default_of` the feature flag."""
    return flags.may_be_on_sql(user_id, f"'{flags.EVENT_EXTRACTION}'", default)


async def schedule_reading(
    ctx: MutationContext, owner: str, diary_id: str, version: int, flag: flags.Setting
) -> None:  # fmt: skip
    """Schedule the reading of an entry that was written or changed, if the flag is on for its user.

    `flag` is what the statement that wrote the entry has returned for `flag_sql`.
    """
    if flags.decide(ctx, owner, flags.EVENT_EXTRACTION, flag):
        await ctx.schedule(
            process_diary_entry, OneEntry(diary_id=diary_id, version=version), delay=rules.SETTLING,
            key=f"read {diary_id} {version}", account=owner,
        )  # fmt: skip


@mutation
async def give_up_reading(ctx: MutationContext, args: OneEntry) -> None:
    """Release what was reserved for a reading that failed for good."""
    for row in await ctx.db.fetch("select id from readings where subject = $1 and done_at is null", args.diary_id):
        await budgets.release(ctx.db, ctx.settings, row["id"])


@action(retry=RETRIES, on_exhausted=give_up_reading, lane=Lane.SONGS)
async def process_diary_entry(ctx: ActionContext, args: OneEntry) -> None:
    """Read the events of an entry. A job; safe to be killed anywhere and to run twice."""
    work = await ctx.run_mutation(begin_reading, args)
    if work is None:
        return
    reader: EntryReader = ctx.vendor(EntryReader)  # type: ignore[type-abstract]  # looked up by its interface
    entry = Entry(work.text, work.date, work.people, work.tags, work.kept)
    try:
        with budgets.paid_for(ctx.settings, work.owner, work.reading_id):
            found = await reader.read_entry(entry, person=hashlib.sha256(work.owner.encode()).hexdigest())
    except VendorError as error:
        if not error.permanent:
            raise
        log.warning("entry not read", diary=args.diary_id, code=error.code)
        await ctx.run_mutation(end_reading, OneReading(reading_id=work.reading_id))
        return
    await ctx.run_mutation(
        save_events,
        ReadEvents(reading_id=work.reading_id, diary_id=args.diary_id, version=work.version, events=found),
    )


@mutation
async def begin_reading(ctx: MutationContext, args: OneEntry) -> Assignment | None:
    """Begin to read an entry, or begin again after a failure; None when there is nothing to read now.

    Without a reading left today, or without money, the entry waits for the next day.
    """
    owner = await _lock_owner(ctx, args.diary_id)
    if owner is None or not await flags.is_on(ctx, owner, flags.EVENT_EXTRACTION):
        return None
    diary = await ctx.db.fetchrow("select content, date, version from diaries where id = $1", args.diary_id)
    if diary is None or args.version not in {None, diary["version"]} or not trimmed(diary["content"]):
        return None
    begun = await ctx.db.fetchrow(
        "select id, done_at from readings where subject = $1 and version = $2", args.diary_id, diary["version"]
    )
    if begun is not None and begun["done_at"] is not None:
        return None
    reading_id = (
        begun["id"] if begun else await readings.begin(ctx.db, owner, "entry", args.diary_id, diary["version"], ctx.now)
    )
    if reading_id is None:
        await _postpone(ctx, args, owner, diary["version"], "readings of the day")
        return None
    people, tags = await store.most_used(ctx.db, owner, rules.MOST_KNOWN)
    kept = [KnownEvent(row["title"], row["summary"]) for row in await store.kept_events(ctx.db, args.diary_id)]
    answer = await budgets.reserve_within(
        ctx.db, ctx.settings, Purchase.READING, account=owner, subject=reading_id, now=ctx.now
    )
    if answer.cap is not None:
        await readings.undo(ctx.db, ctx.settings, reading_id)
        await _postpone(ctx, args, owner, diary["version"], answer.cap)
        return None
    return Assignment(
        reading_id=reading_id, owner=owner, version=diary["version"], text=diary["content"],
        date=diary["date"].date().isoformat(), people=people, tags=tags, kept=kept,
    )  # fmt: skip


async def _lock_owner(ctx: MutationContext, diary_id: str) -> UserId | None:
    """Lock the account of an entry; None when either is gone, or the account is suspended."""
    owner = await ctx.db.fetchval(
        """select u.id from diaries d join users u on u.id = d.user_id and u.suspension is null
           where d.id = $1""",
        diary_id,
    )
    if owner is None or not await users.lock_account(ctx.db, owner):
        return None
    return UserId(owner)


async def _postpone(ctx: MutationContext, args: OneEntry, owner: UserId, version: int, why: str) -> None:
    days = args.postponed + 1
    log.info("entry not read today", diary=args.diary_id, cap=why, days=days)
    if days <= rules.MOST_POSTPONEMENTS:
        # Spread over an hour, so that not all are due in the first second of the day.
        spread = timedelta(seconds=int(hashlib.sha256(args.diary_id.encode()).hexdigest()[:8], 16) % 3600)
        await ctx.schedule(
            process_diary_entry, OneEntry(diary_id=args.diary_id, version=version, postponed=days),
            delay=rules.until_tomorrow(ctx.now) + spread, key=f"read {args.diary_id} {version} day {days}",
            account=owner,
        )  # fmt: skip


@mutation
async def save_events(ctx: MutationContext, args: ReadEvents) -> None:
    """Replace the events of an entry by those that were read, once, unless it has changed or is gone meanwhile."""
    owner = await _lock_owner(ctx, args.diary_id)
    if not await readings.end(ctx.db, ctx.settings, args.reading_id, ctx.now) or owner is None:
        return
    date = await ctx.db.fetchval("select date from diaries where id = $1 and version = $2", args.diary_id, args.version)
    if date is not None:
        await store.replace_events(ctx.db, owner, DiaryId(args.diary_id), date, args.events, ctx.now)


@mutation
async def end_reading(ctx: MutationContext, args: OneReading) -> None:
    """End a reading whose answer cannot be used: the events stay as they are, and it is not tried again."""
    await readings.end(ctx.db, ctx.settings, args.reading_id, ctx.now)
