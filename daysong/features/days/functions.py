"""What a user did by day and by week, and what was written on this day in earlier years.

Days are local to the user's time zone (`users:getSettings`). The zone is read by the same statement as the rows, so a
statement reads a span that includes the wanted days in any zone, and the rows are assigned to days here. Rows are
counted by quarters of an hour, which bounds what is returned: local midnights fall on these in all zones since 1972.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date
from typing import Annotated, NamedTuple

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.days import rules
from daysong.features.diaries import store
from daysong.features.diaries.store import Diary
from daysong.features.pages import LARGEST_LIST
from daysong.features.subscriptions.quotas import minutes
from daysong.features.users.callers import IS_CALLER
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import Args, Result, query

MOST_WEEKS = 53
# Of the entries of one day in an earlier year.
MOST_OF_A_DAY = 50
READ_OF_A_DAY = 200


class GetCalendar(Args):
    """A year of the calendar."""

    year: Annotated[int, msgspec.Meta(ge=rules.FIRST_YEAR, le=rules.LAST_YEAR)]


class CalendarDay(Result):
    """A local date (YYYY-MM-DD): its entries, their songs that are ready, and the calls that were talked."""

    date: str
    entries: int
    songs: int
    calls: int


class OnThisDay(Args):
    """A date as YYYY-MM-DD; today without it."""

    date: Annotated[str, msgspec.Meta(max_length=10)] | UnsetType = UNSET


class DayOfAnEarlierYear(Result):
    """The entries of a day in an earlier year, newest first."""

    years_ago: int
    diaries: list[Diary]


class GetUsageByWeek(Args):
    """The number of weeks, the current one included."""

    weeks: Annotated[int, msgspec.Meta(ge=1, le=MOST_WEEKS)] = MOST_WEEKS


class WeekOfUsage(Result):
    """A week from Monday (YYYY-MM-DD): songs charged and not refunded, minutes of calls, and entries."""

    week_start: str
    songs: int
    minutes: float
    entries: int


class Counts(NamedTuple):
    """Counts of three kinds."""

    first: int = 0
    second: int = 0
    third: int = 0

    def plus(self, other: Counts) -> Counts:
        """Return the sums."""
        return Counts(self.first + other.first, self.second + other.second, self.third + other.third)


def counted(rows: str) -> str:
    """Return SQL that counts `rows` (moment, first, second, third) of the caller $1, and returns the time zone.

    An account without rows gives one row with nulls.
    """
    return f"""
    select u.timezone, counted.*
    from users u
    left join lateral (
        select date_bin('15 minutes', moment, timestamptz '2000-01-01 00:00+00') as moment,
               sum(first)::int as first, sum(second)::int as second, sum(third)::int as third
        from ({rows}) happened (moment, first, second, third)
        group by 1) counted on true
    where {IS_CALLER}"""  # noqa: S608 - constants


# Entries, songs and calls between $2 and $3.
CALENDAR_SQL = counted(
    f"""select d.date, 1,
               (select count(*) from music m where m.diary_id = d.id and m.music_index = 0 and m.status = 'ready'
                  and m.deleted_at is null),
               0
        from diaries d
        where d.user_id = u.id and d.date >= $2 and d.date < $3 and d.{store.HAS_WORDS}
        union all
        select coalesce(s.started_at, s.created_at), 0, 0, 1 from call_sessions s
        where s.user_id = u.id and s.created_at >= $2 and s.created_at < $3 and s.state = 'completed'"""  # noqa: S608
)
# Songs, seconds of calls and entries between $2 and $3.
USAGE_SQL = counted(
    f"""select c.charged_at, c.amount, 0, 0 from usage_charges c
        where c.user_id = u.id and c.charged_at >= $2 and c.charged_at < $3
          and not exists (select from usage_refunds r where r.charge_id = c.id)
        union all
        select m.reserved_at, 0, m.seconds, 0 from call_minutes m
        where m.user_id = u.id and m.reserved_at >= $2 and m.reserved_at < $3
        union all
        select d.date, 0, 0, 1 from diaries d
        where d.user_id = u.id and d.date >= $2 and d.date < $3 and d.{store.HAS_WORDS}"""  # noqa: S608
)

# The entries between $3 and $4 (each with the years ago, $2), as many as fit.
ON_THIS_DAY_SQL = f"""
    select * from (
        select {store.COLUMNS}, u.timezone, span.years_ago,
               sum({store.BYTES}) over (order by span.years_ago, d.date desc, d.id desc rows unbounded preceding)
                 as bytes_so_far
        from users u
        cross join unnest($2::int[], $3::timestamptz[], $4::timestamptz[]) span (years_ago, since, until)
        cross join lateral (select * from diaries
                            where user_id = u.id and {store.HAS_WORDS} and date >= span.since and date < span.until
                            order by date desc, id desc limit {READ_OF_A_DAY}) d
        left join music m on m.id = d.primary_music_id and m.deleted_at is null
        where {IS_CALLER}) found
    where bytes_so_far <= {LARGEST_LIST}
    order by years_ago, date desc, id desc"""  # noqa: S608 - constants


@query(reads=("users", "diaries", "music", "call_sessions"))
async def get_calendar(ctx: QueryContext, args: GetCalendar) -> list[CalendarDay]:
    """Return the days of a year on which the caller wrote or was called, in order.

    An entry counts on its date, with its songs. An empty list to an anonymous caller.
    """
    if ctx.caller.subject is None:
        return []
    rows = await ctx.db.fetch(CALENDAR_SQL, ctx.caller.subject, *rules.span_of_year(args.year))
    return [
        CalendarDay(date=day.isoformat(), entries=counts.first, songs=counts.second, calls=counts.third)
        for day, counts in sorted(by_date(rows).items())
        if day.year == args.year
    ]


def by_date(rows: Sequence[asyncpg.Record]) -> dict[date, Counts]:
    """Return the counts of rows of `counted` by local date."""
    found: dict[date, Counts] = defaultdict(Counts)
    if rows:
        timezone = rules.zone_of(rows[0]["timezone"])
        for row in rows:
            if row["moment"] is not None:
                day = rules.local_date(row["moment"], timezone)
                found[day] = found[day].plus(Counts(row["first"], row["second"], row["third"]))
    return found


@query(reads=("users", "diaries", "music"))
async def on_this_day(ctx: QueryContext, args: OnThisDay) -> list[DayOfAnEarlierYear]:
    """Return the caller's entries of the same day in earlier years, the latest year first; none to an anonymous caller.

    29 February goes with the 28th in years without it. At most 50 entries of a day, and 4 MiB in all, without the
    timing of the words. Errors: InvalidDate.
    """
    if args.date is UNSET:
        guess, either_side = ctx.now.astimezone(UTC).date(), 2
        # Until then the statement below is the same, and it finds nothing for most callers.
        ctx.holds_until(rules.next_day(ctx.now, "UTC"))
    else:
        guess, either_side = rules.parsed(args.date), 0
    if ctx.caller.subject is None:
        return []
    spans = [
        (found.years_ago, *rules.span_of_anniversary(found, either_side=either_side))
        for found in rules.anniversaries(guess)
    ]
    rows = await ctx.db.fetch(ON_THIS_DAY_SQL, ctx.caller.subject, *map(list, zip(*spans, strict=True)))
    if not rows:
        return []
    timezone = rules.zone_of(rows[0]["timezone"])
    day = rules.local_date(ctx.now, timezone) if args.date is UNSET else guess
    if args.date is UNSET:
        ctx.holds_until(rules.next_day(ctx.now, timezone))
    written: dict[date, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        written[rules.local_date(row["date"], timezone)].append(row)
    return [
        DayOfAnEarlierYear(
            years_ago=found.years_ago, diaries=[store.shown(row, ctx.settings) for row in newest[:MOST_OF_A_DAY]]
        )
        for found in rules.anniversaries(day)
        if (newest := [row for each in sorted(found.dates, reverse=True) for row in written.get(each, ())])
    ]


@query(reads=("users", "usage_charges", "usage_refunds", "call_minutes", "diaries"))
async def get_usage_by_week(ctx: QueryContext, args: GetUsageByWeek) -> list[WeekOfUsage]:
    """Return what the caller used in each of the last weeks, the oldest first; an empty list to an anonymous caller.

    Songs and minutes count when they were charged and reserved, entries on their date.
    """
    if ctx.caller.subject is None:
        return []
    rows = await ctx.db.fetch(USAGE_SQL, ctx.caller.subject, *rules.span_of_weeks(ctx.now, args.weeks))
    # Without an account nothing depends on the time.
    timezone = rules.zone_of(rows[0]["timezone"]) if rows else "UTC"
    ctx.holds_until(rules.next_day(ctx.now, timezone))
    if not rows:
        return []
    by_week: dict[date, Counts] = defaultdict(Counts)
    for day, counts in by_date(rows).items():
        by_week[rules.week_start(day)] = by_week[rules.week_start(day)].plus(counts)
    today = rules.local_date(ctx.now, timezone)
    return [
        WeekOfUsage(
            week_start=week.isoformat(),
            songs=by_week[week].first,
            minutes=minutes.in_minutes(by_week[week].second),
            entries=by_week[week].third,
        )
        for week in rules.weeks(today, args.weeks)
    ]
