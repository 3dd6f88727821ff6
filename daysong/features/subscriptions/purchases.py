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

from daysong.features.subscriptions.entitlements import (
    NOTHING,
    Holdings,
    Told,
    lines_of,
    spans,
    standing_of,
    summary,
    unmapped,
)
from daysong.features.subscriptions.events import changes_anything, policy_of
from daysong.features.subscriptions.history import Book, others, united
from daysong.features.subscriptions.rules import counting, tier_of
from daysong.features.users import tombstones
from daysong.kernel import logs
from daysong.kernel.database import connections
from daysong.kernel.database.transactions import Transaction, lock
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.ids import ParkedCustomerId, SubscriptionId, SubscriptionLogId, UserId
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import from_ms, to_ms
from daysong.vendors.revenuecat.events import ANONYMOUS, BillingEvent

PARKED = f"{ParkedCustomerId.prefix}_"
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


async def find_owners(db: Transaction, app_user_ids: Iterable[str]) -> dict[str, str]:
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
    strange = set(app_user_ids) - (await find_owners(db, app_user_ids)).keys()
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


async def open_unclaimed(db: Transaction, app_user_ids: tuple[str, ...], now: datetime) -> tuple[str, Holdings]:
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


class _Reader:
    """Collects customers and the ids they are known by."""

    def __init__(self, ctx: MutationContext) -> None:
        self._ctx = ctx
        self._db = ctx.db
        self.customers: dict[str, Holdings] = {}
        self.names: dict[str, str] = {}

    async def user(self, user_id: str) -> None:
        """Add one of our people."""
        if user_id not in self.customers:
            row = await locked(self._db, user_id)
            if row is not None:
                self.customers[user_id] = holdings_of(row)
                self.names[user_id] = user_id

    async def one_customer(self, ids: tuple[str, ...], *, park: bool) -> None:
        """Add the customer known by all of these ids: ours, if any of them is; else parked, if `park` says so."""
        owners = await find_owners(self._db, ids)
        owner = next((owners[each] for each in ids if each in owners), None)
        if owner is not None:
            await self._ours(owner, ids, owners)
            return
        if not (park or await parked_with(self._db, ids)) or await are_gone(self._ctx, ids):
            return
        parked_id, self.customers[parked_id] = await open_unclaimed(self._db, ids, self._ctx.now)
        self.names |= dict.fromkeys(ids, parked_id)

    async def _ours(self, owner: str, ids: tuple[str, ...], owners: dict[str, str]) -> None:
        await self.user(owner)
        parked = await take_parked(self._db, list(ids), owner, self._ctx.now)
        if owner in self.customers:
            self.customers[owner] = united(self.customers[owner], parked)
        await remember_ids(self._db, owner, ids, self._ctx.now)
        self.names |= {each: owners.get(each, owner) for each in ids}

    async def side(self, ids: tuple[str, ...]) -> None:
        """Add one side of a transfer, which may be several of our people."""
        owners = await find_owners(self._db, ids)
        if ids and not owners:
            await self.one_customer(ids, park=True)
        for user_id in dict.fromkeys(owners.values()):
            await self.user(user_id)
        self.names |= owners

    async def all_involved(self) -> None:
        """Add those whom transfers bind to somebody who is here, and whom those are bound to."""
        seen: set[str] = set()
        while missing := {each for known in self.customers.values() for each in others(known)} - seen:
            seen |= missing
            new = sorted(missing - self.names.keys())
            owners = await find_owners(self._db, new)
            for user_id in dict.fromkeys(owners.values()):
                await self.user(user_id)
            self.names |= owners
            for row in await parked_with(self._db, new):
                self.customers.setdefault(row["id"], holdings_of(row))
                self.names |= dict.fromkeys(row["app_user_ids"], row["id"])


async def are_gone(ctx: MutationContext, app_user_ids: Iterable[str]) -> bool:
    """Whether these are ids of somebody who has deleted their account, and of nobody else: nothing is kept of them."""
    ids = list(app_user_ids)
    if await find_owners(ctx.db, ids):
        return False
    for each in ids:
        if not each.startswith(ANONYMOUS) and await tombstones.deleted_at(ctx, each) is not None:
            return True
    return False


async def open_book(ctx: MutationContext, event: BillingEvent | None, *users: str) -> Book:
    """Everybody the event is about, these users, and whoever else is needed to work out what they have."""
    reader = _Reader(ctx)
    if event is not None:
        await lock_customers(ctx.db, (*event.app_user_ids, *event.transferred_from, *event.transferred_to))
    for user_id in users:
        await reader.user(user_id)
    if event is not None and event.type == "TRANSFER":
        await reader.side(event.transferred_from)
        await reader.side(event.transferred_to)
    elif event is not None and event.app_user_ids:
        await reader.one_customer(event.app_user_ids, park=changes_anything(event))
    await reader.all_involved()
    return Book(reader.customers, reader.names)


async def save_book(ctx: MutationContext, book: Book, *, event_type: str, event_id: str | None) -> bool:
    """Write what has changed; whether that made a difference to any of our people."""
    changed = False
    for name, holdings in sorted(book.customers.items()):
        if name.startswith(PARKED):
            await save_parked(ctx.db, name, holdings, ctx.now)
        else:
            changed |= await save(ctx.db, name, holdings, event_type=event_type, event_id=event_id, now=ctx.now)
    return changed


MOST_NAMED = 20

UNMAPPED_SQL = """
    select line.value ->> 'product' as product, count(distinct s.user_id) as customers
    from subscriptions s, jsonb_each(s.lines) as line
    where s.lines <> '{}' and line.value ->> 'tier' is null and line.value ->> 'product' <> ''
      and (line.value ->> 'expires_at' is null
           or greatest((line.value ->> 'expires_at')::timestamptz, (line.value ->> 'grace_until')::timestamptz) > $1)
    group by 1 order by 2 desc, 1"""


class UnmappedProducts(DaysongError):
    """Customers have paid for products that grant them nothing; the text names them."""


async def check_products(url: str, settings: Settings, now: datetime) -> str:
    """Raise UnmappedProducts where customers have paid for products that are in no map of plans."""
    products = policy_of(settings).products
    connection = await connections.connect(url, name="daysong doctor")
    try:
        if await connection.fetchval("select to_regclass('subscriptions') is null"):
            return "no schema yet"
        rows = await connection.fetch(UNMAPPED_SQL, now)
    finally:
        await connection.close()
    missing = [row for row in rows if tier_of(row["product"], products) is None]
    if missing:
        named = ", ".join(f"{row['product']} ({row['customers']} customers)" for row in missing[:MOST_NAMED])
        raise UnmappedProducts(f"paid for and in no map, so that they grant nothing: {named}. See REVENUECAT_PRODUCTS")
    return f"{len(products)} known; all that was paid for is among them"
