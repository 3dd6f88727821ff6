"""The counters of a day: costs and open reservations by vendor and in total, changed under their lock.

The sum of an account is not counted but read, so it is always exact. `reserve_budget`, a function of the schema, takes
the lock, decides and reserves in one statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import asyncpg
from prometheus_client import Counter, Gauge

from daysong.kernel import logs
from daysong.kernel.database.transactions import UNFLUSHED, Reader, Transaction
from daysong.kernel.limits.prices import ALL, VENDORS, Costs, Purchase

WARN_AT = 0.8

ACCOUNT = "account"

SPENT = Gauge(
    "daysong_budget_used_dollars", "Costs and reservations of today", ["vendor"], multiprocess_mode="mostrecent"
)
ALARMS = Counter("daysong_budget_alarms_total", "Daily budgets that reached 80 % of their cap", ["vendor"])

log = logs.get_logger("costs")

# As the function wants them: the sum of all is the last.
_VENDORS = (*VENDORS, ALL)
_RESERVE_SQL = f"select reached, used, is_warned, {UNFLUSHED} from reserve_budget($1, $2, $3, $4, $5, $6, $7, $8)"  # noqa: S608
_DAY_SQL = """
    select vendor, amount, warned from budget_days where day = $1 and vendor = any($2) order by vendor for update"""
_WARN_SQL = """
    update budget_days set warned = true where day = $1 and vendor = any($2) and not warned returning vendor, amount"""
_COUNT_SQL = """
    select vendor, sum(amount)::bigint as amount from (
      select vendor, amount from vendor_costs where at >= $1 and at < $1 + interval '1 day'
      union all
      select vendor, amount from budget_reservations where day = $2 and expires_at > $3
    ) used group by vendor"""


class Answer(NamedTuple):
    """A reservation, "" when limits are off, or None with the `cap` that is reached: `account`, a vendor or `all`."""

    reservation: str | None
    cap: str | None = None


class Wish(NamedTuple):
    """A purchase for an account, by its hash, and the reference of its reservation."""

    purchase: Purchase
    account: str | None
    reference: str


class Decided(NamedTuple):
    """The answers to wishes, in their order, and the vendors for which `warn` is due."""

    answers: list[Answer]
    due: list[str]


async def decide(db: Reader, costs: Costs, wishes: Sequence[Wish], now: datetime, until: datetime) -> Decided:
    """Reserve, until `until`, each request that the caps of the day allow, in order: one statement, idempotent."""
    prices = [costs.prices(wish.purchase) for wish in wishes]
    row: Any = await db.fetchrow(
        _RESERVE_SQL, _VENDORS, [costs.caps.get(vendor) for vendor in _VENDORS], costs.caps.get(ACCOUNT),
        [wish.reference for wish in wishes], [wish.account for wish in wishes],
        [[*map(each.get, VENDORS), sum(each.values())] for each in prices], now, until,
    )  # fmt: skip
    answers = [
        Answer(wish.reference) if cap is None else Answer(None, cap)
        for wish, cap in zip(wishes, row["reached"], strict=True)
    ]
    return Decided(answers, _due(costs, zip(_VENDORS, row["used"], row["is_warned"], strict=True)))


async def warn(db: Reader, vendors: Sequence[str], costs: Costs, now: datetime) -> None:
    """Raise the alarms of the day for vendors, each once."""
    for row in await db.fetch(_WARN_SQL, now.date(), vendors) if vendors else ():
        vendor, amount = row["vendor"], row["amount"]
        ALARMS.labels(vendor).inc()
        log.warning("80 % of a daily budget are used", vendor=vendor, amount=amount, cap=costs.caps.get(vendor))


async def recount(tx: Transaction, costs: Costs, now: datetime) -> None:
    """Make the counters of today exact, raise alarms that are due, and delete expired reservations."""
    rows = await _lock_day(tx, now)
    await tx.execute("delete from budget_reservations where expires_at < $1", now)
    counted = await tx.fetch(_COUNT_SQL, _midnight(now), now.date(), now)
    amounts = {row["vendor"]: row["amount"] for row in counted}
    amounts[ALL] = sum(amounts.values())
    used = {row["vendor"]: amounts.get(row["vendor"], 0) for row in rows}
    await tx.execute(
        """update budget_days d set amount = n.amount from unnest($2::text[], $3::bigint[]) n (vendor, amount)
           where d.day = $1 and d.vendor = n.vendor and d.amount <> n.amount""",
        now.date(), list(used), list(used.values()),
    )  # fmt: skip
    await warn(tx, _due(costs, [(row["vendor"], used[row["vendor"]], row["warned"]) for row in rows]), costs, now)


def _due(costs: Costs, used: Iterable[tuple[str, int, bool]]) -> list[str]:
    """Show how much of the budgets is used; return the vendors whose alarm is due and was not raised."""
    due = []
    for vendor, amount, warned in used:
        SPENT.labels(vendor).set(amount / 1e6)
        cap = costs.caps.get(vendor)
        if cap is not None and amount >= WARN_AT * cap and not warned:
            due.append(vendor)
    return due


async def _lock_day(tx: Transaction, now: datetime) -> list[asyncpg.Record]:
    rows = await tx.fetch(_DAY_SQL, now.date(), _VENDORS)
    if len(rows) < len(_VENDORS):
        await tx.execute(
            """insert into budget_days (day, vendor) select $1, v from unnest($2::text[]) v order by v
               on conflict (day, vendor) do nothing""",
            now.date(), _VENDORS,
        )  # fmt: skip
        rows = await tx.fetch(_DAY_SQL, now.date(), _VENDORS)
    return rows


def _midnight(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
