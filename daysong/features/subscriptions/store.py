"""Rows of `subscriptions`, `parked_customers`, `revenuecat_ids` and `subscription_log`.

Every function here is part of its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
from prometheus_client import Counter

from daysong.features.subscriptions.events import united
from daysong.features.subscriptions.holdings import NOTHING, Holdings, Told, spans, summary, unmapped
from daysong.features.subscriptions.rules import counting
from daysong.features.subscriptions.status import lines_of, standing_of
from daysong.kernel import logs
from daysong.kernel.database.transactions import Transaction, lock
from daysong.kernel.ids import ParkedCustomerId, SubscriptionId, SubscriptionLogId, UserId
from daysong.kernel.time.clock import from_ms, to_ms

UNMAPPED = Counter(
    "daysong_unmapped_products_total", "Purchases of a product that no map says the plan of", ["product"]
)  # fmt: skip
LONGEST_NAME = 100

log = logs.get_logger("billing")

ROW_SQL = "select s.*, s.lines as subscription_lines from subscriptions s where s.user_id = $1 for update"


async def insert(db: Transaction, user_id: UserId, now: datetime) -> None:
    """A new account's subscription: free, or what was bought under its ids before there was an account."""
    await db.execute(
        """insert into subscriptions (id, user_id, last_reset_at, created_at, updated_at) values ($1, $2, $3, $3, $3)
           on conflict (user_id) do nothing""",
        SubscriptionId.new(now), user_id, now,
    )  # fmt: skip
    clerk_id = await db.fetchval("select clerk_id from users where id = $1", user_id)
    await lock_customers(db, [clerk_id, user_id])
    parked = await take_parked(db, [clerk_id, user_id], user_id, now)
    if parked != NOTHING:
        await save(db, user_id, parked, event_type="account", event_id=None, now=now)


def holdings_of(row: Mapping[str, Any]) -> Holdings:
    """What a row of `subscriptions` or `parked_customers` says somebody has."""
    verified_at = row.get("verified_at")
    return Holdings(
        lines=lines_of(row["lines"]),
        told=msgspec.convert(row["told"], Told),
        verified_at=None if verified_at is None else int(to_ms(verified_at)),
    )


async def locked(db: Transaction, user_id: str) -> asyncpg.Record | None:
    """A user's subscription, locked for this transaction; None when there is none."""
    return await db.fetchrow(ROW_SQL, user_id)


async def save(
    db: Transaction, user_id: str, holdings: Holdings, *, event_type: str, event_id: str | None, now: datetime
) -> bool:
    """Write what somebody has now; whether that is a change, which is logged, or only confirms what we knew."""
    row = await locked(db, user_id)
    if row is None or (before := holdings_of(row)) == holdings:
        return False
    verified_at = None if holdings.verified_at is None else from_ms(holdings.verified_at)
    if before.lines == holdings.lines:
        await db.execute(
            "update subscriptions set told = $2, verified_at = $3 where user_id = $1",
            user_id, holdings.told, verified_at,
        )  # fmt: skip
        return False
    _alarm(unmapped(holdings.lines, now) - unmapped(before.lines, now))
    standing, stands = standing_of(row), summary(holdings.lines, now)
    # What counted so far goes on counting under the new plan: written down before the old one is forgotten.
    counted = standing.counted
    if standing.spans != spans(holdings.lines):
        counted = counting(standing, now)
    await db.execute(
        """update subscriptions
           set lines = $2, told = $3, verified_at = $4, tier = $5, product_id = $6, status = $7, platform = $8,
               expires_at = $9, grace_until = $10, counted_since = $11, counted_until = $12, counted_at = $13,
               updated_at = $14
           where user_id = $1""",
        user_id, holdings.lines, holdings.told, verified_at, stands.tier, stands.product_id, stands.status,
        stands.platform, stands.expires_at, stands.grace_until, counted and counted.since, counted and counted.until,
        counted and counted.at, now,
    )  # fmt: skip
    await db.execute(
        """insert into subscription_log (id, user_id, event_type, event_id, tier, product_id, status, platform,
                                         expires_at, grace_until, recorded_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)""",
        SubscriptionLogId.new(now), user_id, event_type, event_id, stands.tier, stands.product_id, stands.status,
        stands.platform, stands.expires_at, stands.grace_until, now,
    )  # fmt: skip
    return True


def _alarm(products: set[str]) -> None:
    """Report products that were paid for and grant nothing, for want of a line in REVENUECAT_PRODUCTS."""
    for product in sorted(products):
        name = product[:LONGEST_NAME]
        UNMAPPED.labels(name).inc()
        log.error("paid product is in no map: add it to REVENUECAT_PRODUCTS", product=name)


async def owners(db: Transaction, app_user_ids: Iterable[str]) -> dict[str, str]:
    """Whose these ids of RevenueCat's are, of our people: their user ids. An id may be a Clerk id, ours or an alias."""
    rows = await db.fetch(
        """select clerk_id as name, id from users where clerk_id = any($1)
           union all select id, id from users where id = any($1)
           union all select app_user_id, user_id from revenuecat_ids where app_user_id = any($1)""",
        list(app_user_ids),
    )
    found: dict[str, str] = {}
    for row in rows:
        found.setdefault(row["name"], row["id"])
    return found


async def remember_ids(db: Transaction, user_id: str, app_user_ids: Iterable[str], now: datetime) -> None:
    """Know somebody by further ids, except those that are somebody else's."""
    strange = set(app_user_ids) - (await owners(db, app_user_ids)).keys()
    for name in sorted(strange):
        await db.execute(
            """insert into revenuecat_ids (app_user_id, user_id, created_at) values ($1, $2, $3)
               on conflict (app_user_id) do nothing""",
            name, user_id, now,
        )  # fmt: skip


async def lock_customers(db: Transaction, app_user_ids: Iterable[str]) -> None:
    """Hold what these ids of RevenueCat's stand for, and every id that a parked customer has in common with them.

    An event parks a customer that no account has, and a new account takes what is parked for it: of two at once that
    share an id, the later sees what the earlier has done.
    """
    held: set[str] = set()
    wanted = set(app_user_ids)
    while wanted:
        await lock(db, *(f"customer {each}" for each in wanted))
        held |= wanted
        rows = await db.fetch(
            "select distinct unnest(app_user_ids) as id from parked_customers where app_user_ids && $1::text[]",
            sorted(held),
        )
        wanted = {row["id"] for row in rows} - held


async def parked_with(db: Transaction, app_user_ids: Iterable[str]) -> list[asyncpg.Record]:
    """The parked customers known by any of these ids, locked."""
    return await db.fetch(
        "select * from parked_customers where app_user_ids && $1::text[] order by id for update", list(app_user_ids)
    )


async def take_parked(db: Transaction, app_user_ids: list[str], user_id: str, now: datetime) -> Holdings:
    """What was parked under any of these ids, which are the user's; it is parked no longer."""
    taken = NOTHING
    for row in await parked_with(db, app_user_ids):
        taken = united(taken, holdings_of(row))
        await db.execute("delete from parked_customers where id = $1", row["id"])
        await remember_ids(db, user_id, row["app_user_ids"], now)
    return taken


async def park(db: Transaction, app_user_ids: tuple[str, ...], now: datetime) -> tuple[str, Holdings]:
    """The one parked customer known by these ids: found, put together from several, or new."""
    rows = await parked_with(db, app_user_ids)
    parked_id = rows[0]["id"] if rows else ParkedCustomerId.new(now)
    names = sorted({*app_user_ids, *(name for row in rows for name in row["app_user_ids"])})
    holdings = NOTHING
    for row in rows:
        holdings = united(holdings, holdings_of(row))
    if not rows:
        await db.execute(
            """insert into parked_customers (id, app_user_ids, created_at, updated_at) values ($1, $2, $3, $3)""",
            parked_id, names, now,
        )  # fmt: skip
    elif len(rows) > 1 or names != rows[0]["app_user_ids"]:
        await db.execute(
            "update parked_customers set app_user_ids = $2, updated_at = $3 where id = $1", parked_id, names, now
        )
        await db.execute("delete from parked_customers where id = any($1)", [row["id"] for row in rows[1:]])
    return parked_id, holdings


async def save_parked(db: Transaction, parked_id: str, holdings: Holdings, now: datetime) -> None:
    """Write what a parked customer has now."""
    await db.execute(
        "update parked_customers set lines = $2, told = $3, updated_at = $4 where id = $1",
        parked_id, holdings.lines, holdings.told, now,
    )  # fmt: skip
