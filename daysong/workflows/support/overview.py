"""How the service does: counts by day, the queue, webhooks, vendors and today's money."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import Args, NoArgs, Result, given, query
from daysong.kernel.jobs import hold
from daysong.kernel.limits import declarations
from daysong.kernel.limits.prices import ALL
from daysong.kernel.time.clock import to_ms


class CountDays(Args):
    """The days to look back, today (UTC) among them."""

    days: Annotated[int, msgspec.Meta(ge=1, le=90)] = 30


class DayCounts(Result):
    """What happened on a day (UTC); deleted accounts no longer count.

    purchases  events of RevenueCat that changed a plan
    spent      micro-dollars
    """

    day: str
    songs: int
    failed_songs: int
    calls: int
    sign_ups: int
    purchases: int
    spent: int


class QueueState(Result):
    """Jobs: how many wait, are late, run and were given up; the age of the oldest that is due, in seconds."""

    queued: int
    due: int
    running: int
    dead: int
    oldest_due: float


class Waiting(Result):
    """Due and running jobs of a function; the age of the oldest in seconds."""

    function: str
    jobs: int
    oldest: float


class Stuck(Result):
    """Songs, videos or calls that are not over, by status; the age of the oldest in seconds, and its id."""

    kind: str
    status: str
    count: int
    oldest: float
    oldest_id: str


class Received(Result):
    """Events of the last day, by vendor and status."""

    vendor: str
    status: str
    count: int


class VendorState(Result):
    """How requests to a vendor stand: the line before it, a pause it asked for, and today's money.

    line    seconds until a new request would be sent
    paused  until when (ms) the vendor asked for a pause
    spent   micro-dollars of today, reservations among them; `cap` is the day's limit
    """

    vendor: str
    line: float
    paused: float | UnsetType = UNSET
    spent: int | UnsetType = UNSET
    cap: int | UnsetType = UNSET


class State(Result):
    """The state of the service now; `backup_of` is there while jobs are on hold after a restore of that backup (ms)."""

    queue: QueueState
    waiting: list[Waiting]
    stuck: list[Stuck]
    webhooks: list[Received]
    vendors: list[VendorState]
    sessions: int
    backup_of: float | UnsetType = UNSET


DAYS_SQL = """
    with days as (select generate_series($1::date, $2::date, interval '1 day')::date as day),
    songs as (select (created_at at time zone 'UTC')::date as day, count(*) as n,
                     count(*) filter (where status = 'failed') as failed
              from generations where created_at >= $1 group by 1),
    calls as (select (created_at at time zone 'UTC')::date as day, count(*) as n
              from call_sessions where created_at >= $1 group by 1),
    people as (select (created_at at time zone 'UTC')::date as day, count(*) as n
               from users where created_at >= $1 group by 1),
    bought as (select (recorded_at at time zone 'UTC')::date as day, count(*) as n
               from subscription_log
               where recorded_at >= $1 and event_type not in ('account', 'reconciliation') group by 1),
    spent as (select (at at time zone 'UTC')::date as day, sum(amount)::bigint as n
              from vendor_costs where at >= $1 group by 1)
    select to_char(days.day, 'YYYY-MM-DD') as day, coalesce(songs.n, 0) as songs,
           coalesce(songs.failed, 0) as failed_songs, coalesce(calls.n, 0) as calls, coalesce(people.n, 0) as sign_ups,
           coalesce(bought.n, 0) as purchases, coalesce(spent.n, 0) as spent
    from days left join songs using (day) left join calls using (day) left join people using (day)
    left join bought using (day) left join spent using (day) order by day"""


@query(reads=("generations", "call_sessions", "users", "subscription_log", "vendor_costs"), replica="lagging")
async def count_days(ctx: QueryContext, args: CountDays) -> list[DayCounts]:
    """Return the counts of each day, oldest first."""
    today = ctx.now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = await ctx.db.fetch(DAYS_SQL, today - timedelta(days=args.days - 1), today)
    return [DayCounts(**dict(row)) for row in rows]


QUEUE_SQL = """
    select count(*) filter (where status = 'queued') as queued,
           count(*) filter (where status = 'queued' and due_at <= $1) as due,
           count(*) filter (where status = 'running') as running,
           (select count(*) from jobs where status = 'dead' and last_error is not null) as dead,
           coalesce(extract(epoch from $1 - min(due_at) filter (where status = 'queued' and due_at <= $1)), 0)::float
             as oldest_due
    from jobs where finished_at is null"""
WAITING_SQL = """
    select function, count(*) as jobs, extract(epoch from $1 - min(due_at))::float as oldest from jobs
    where finished_at is null and due_at <= $1 group by function order by 3 desc limit 20"""
STUCK_SQL = """
    select kind, status, count(*) as count, extract(epoch from $1 - min(at))::float as oldest,
           (array_agg(id order by at))[1] as oldest_id
    from (select 'song' as kind, status, created_at as at, id from generations
            where status in ('queued', 'writing', 'composing')
          union all select 'video', status, created_at, id from music_videos
            where status in ('queued', 'writing', 'rendering')
          union all select 'call', status, scheduled_for, id from call_jobs
            where status in ('queued', 'scheduled', 'started') and scheduled_for <= $1) live
    group by kind, status order by kind, status"""
WEBHOOKS_SQL = """
    select e.vendor, case when e.handled_at is not null then 'handled' when j.status in ('queued', 'running')
             then 'waiting' when j.status = 'dead' then 'dead' else 'stranded' end as status, count(*) as count
    from webhook_events e left join jobs j on j.unique_key = 'event ' || e.id || ' ' || e.replays
    where e.received_at >= $1 group by 1, 2 order by 1, 2"""
LINES_SQL = "select name, next_at, held_until from rate_limits where key = '' and name = any($1)"
MONEY_SQL = "select vendor, amount from budget_days where day = $1"


@query(
    reads=(
        "jobs", "generations", "music_videos", "call_jobs", "webhook_events", "rate_limits", "budget_days",
        "console_sessions", "holds",
    ),
    snapshot=True,
)  # fmt: skip
async def show_state(ctx: QueryContext, args: NoArgs) -> State:  # noqa: ARG001
    """Return how the queue, the songs and calls under way, the webhooks and the vendors stand."""
    now, db = ctx.now, ctx.db
    queue = await db.fetchrow(QUEUE_SQL, now)
    held = await hold.current(db)
    lines = {row["name"]: row for row in await db.fetch(LINES_SQL, list(declarations.OUTBOUND))}
    money = {row["vendor"]: row["amount"] for row in await db.fetch(MONEY_SQL, now.astimezone(UTC).date())}
    return State(
        queue=QueueState(**dict(queue or {})),
        waiting=[Waiting(**dict(row)) for row in await db.fetch(WAITING_SQL, now)],
        stuck=[Stuck(**dict(row)) for row in await db.fetch(STUCK_SQL, now)],
        webhooks=[Received(**dict(row)) for row in await db.fetch(WEBHOOKS_SQL, now - timedelta(days=1))],
        vendors=[_vendor(ctx, name, lines.get(name), money) for name in (*declarations.OUTBOUND, ALL)],
        backup_of=given(None if held is None else to_ms(held.snapshot_at)),
        sessions=await db.fetchval("select count(*) from console_sessions where expires_at > $1", now),
    )


def _vendor(ctx: QueryContext, name: str, line: object, money: dict[str, int]) -> VendorState:
    row: dict[str, object] = dict(line) if line else {}  # type: ignore[call-overload]
    next_at, held = row.get("next_at"), row.get("held_until")
    cap = ctx.settings.costs.caps.get(name)
    return VendorState(
        vendor=name,
        line=max(0.0, (next_at - ctx.now).total_seconds()) if next_at else 0.0,  # type: ignore[operator]
        paused=given(to_ms(held) if held and held > ctx.now else None),  # type: ignore[arg-type,operator]
        spent=given(money.get(name, 0) if cap is not None else None),
        cap=given(cap),
    )
