"""The counters of a day: costs and open reservations by vendor and in total, changed under their lock.

The sum of an account is not counted but read, so it is always exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import asyncpg
from prometheus_client import Counter, Gauge

from daysong.kernel import logs
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.limits.prices import ALL, VENDORS, Costs, Purchase

WARN_AT = 0.8

ACCOUNT = "account"

SPENT = Gauge(
    "daysong_budget_used_dollars", "Costs and reservations of today", ["vendor"], multiprocess_mode="mostrecent"
)
ALARMS = Counter("daysong_budget_alarms_total", "Daily budgets that reached 80 % of their cap", ["vendor"])

log = logs.get_logger("costs")

_DAY_SQL = "select vendor, amount, warned from budget_days where day = $1 order by vendor for update"
_ACCOUNTS_SQL = """
    select account, sum(amount)::bigint as amount from (
      select account, amount from vendor_costs where account = any($1) and at >= $2
      union all
      select account, amount from budget_reservations where account = any($1) and day = $3 and expires_at > $4
    ) used group by account"""
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


async def decide(tx: Transaction, costs: Costs, wishes: Sequence[Wish], now: datetime, until: datetime) -> list[Answer]:
    """Reserve, until `until`, each request that the caps of the day allow, in order."""
    day = now.date()
    rows = await _lock_day(tx, now)
    used = {row["vendor"]: row["amount"] for row in rows}
    marks = list({wish.account for wish in wishes if wish.account is not None})
    of_accounts = {
        row["account"]: row["amount"] for row in await tx.fetch(_ACCOUNTS_SQL, marks, _midnight(now), day, now)
    }
    answers: list[Answer] = []
    reserved: list[tuple[str, str, str | None, int]] = []
    for wish in wishes:
        prices = costs.prices(wish.purchase)
        price = sum(prices.values())
        cap = _reached(costs, wish.account, prices, used, of_accounts)
        if cap is not None:
            answers.append(Answer(None, cap))
            continue
        for vendor, amount in prices.items():
            used[vendor] = used.get(vendor, 0) + amount
        used[ALL] = used.get(ALL, 0) + price
        if wish.account is not None:
            of_accounts[wish.account] = of_accounts.get(wish.account, 0) + price
        reserved += [(wish.reference, vendor, wish.account, amount) for vendor, amount in prices.items()]
        answers.append(Answer(wish.reference))
    if reserved:
        await _write(tx, costs, now, used, rows, reserved, until)
    return answers


async def recount(tx: Transaction, costs: Costs, now: datetime) -> None:
    """Make the counters of today exact, raise alarms that are due, and delete expired reservations."""
    rows = await _lock_day(tx, now)
    await tx.execute("delete from budget_reservations where expires_at < $1", now)
    counted = await tx.fetch(_COUNT_SQL, _midnight(now), now.date(), now)
    amounts = {row["vendor"]: row["amount"] for row in counted}
    amounts[ALL] = sum(amounts.values())
    await _write(tx, costs, now, {row["vendor"]: amounts.get(row["vendor"], 0) for row in rows}, rows)


def _reached(
    costs: Costs,
    account: str | None,
    prices: Mapping[str, int],
    used: Mapping[str, int],
    of_accounts: Mapping[str, int],
) -> str | None:
    """Return the first cap that these prices would exceed, if any."""
    caps, price = costs.caps, sum(prices.values())
    if account is not None and ACCOUNT in caps and of_accounts.get(account, 0) + price > caps[ACCOUNT]:
        return ACCOUNT
    for vendor, amount in (*prices.items(), (ALL, price)):
        if vendor in caps and used.get(vendor, 0) + amount > caps[vendor]:
            return vendor
    return None


async def _lock_day(tx: Transaction, now: datetime) -> list[asyncpg.Record]:
    rows = await tx.fetch(_DAY_SQL, now.date())
    if not rows:
        await tx.execute(
            """insert into budget_days (day, vendor) select $1, unnest($2::text[])
               on conflict (day, vendor) do nothing""",
            now.date(), sorted((*VENDORS, ALL)),
        )  # fmt: skip
        rows = await tx.fetch(_DAY_SQL, now.date())
    return rows


async def _write(
    tx: Transaction, costs: Costs, now: datetime, used: Mapping[str, int], rows: list[asyncpg.Record],
    reserved: Sequence[tuple[str, str, str | None, int]] = (), until: datetime | None = None,
) -> None:  # fmt: skip
    """Set the counters, insert reservations (reference, vendor, account, amount), and raise alarms that are due."""
    warned = {row["vendor"]: row["warned"] for row in rows}
    for vendor, amount in used.items():
        cap = costs.caps.get(vendor)
        SPENT.labels(vendor).set(amount / 1e6)
        if cap is not None and amount >= WARN_AT * cap and not warned.get(vendor, False):
            warned[vendor] = True
            ALARMS.labels(vendor).inc()
            log.warning("80 % of a daily budget are used", vendor=vendor, amount=amount, cap=cap)
    await tx.execute(
        """with reserved as (
             insert into budget_reservations (reference, vendor, account, amount, day, expires_at)
             select r.*, $1, $9 from unnest($5::text[], $6::text[], $7::text[], $8::bigint[]) r)
           update budget_days d set amount = n.amount, warned = n.warned
           from (select * from unnest($2::text[], $3::bigint[], $4::bool[]) n (vendor, amount, warned)) n
           where d.day = $1 and d.vendor = n.vendor""",
        now.date(), list(used), list(used.values()), [warned.get(vendor, False) for vendor in used],
        *([row[column] for row in reserved] for column in range(4)), until,
    )  # fmt: skip


def _midnight(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
