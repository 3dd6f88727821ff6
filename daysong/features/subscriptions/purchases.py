"""Customers in the database: `subscriptions`, `parked_customers`, `revenuecat_ids` and `subscription_log`.

An unclaimed customer (`parked_customers`) has bought something but has no account yet. Every function is part of its
caller's transaction, except `check_products`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
from prometheus_client import Counter

from daysong.features.subscriptions.entitlements import (
    EMPTY,
    CustomerState,
    History,
    parse_entitlements,
    quota_state_of,
    spans,
    summary,
    unmapped_products,
)
from daysong.features.subscriptions.events import changes_entitlements, policy_of
from daysong.features.subscriptions.history import Customers, merge_states, related_ids
from daysong.features.subscriptions.rules import counting_window, tier_of
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

UNMAPPED = Counter(
    "daysong_unmapped_products_total", "Purchases of a product that no map says the plan of", ["product"]
)  # fmt: skip
LONGEST_PRODUCT_LABEL = 100
MOST_REPORTED_PRODUCTS = 20
UNCLAIMED_PREFIX = f"{ParkedCustomerId.prefix}_"

log = logs.get_logger("billing")

ROW_SQL = "select s.*, s.lines::text as subscription_lines from subscriptions s where s.user_id = $1 for update"

UNMAPPED_SQL = """
    select line.value ->> 'product' as product, count(distinct s.user_id) as customers
    from subscriptions s, jsonb_each(s.lines) as line
    where s.lines <> '{}' and line.value ->> 'tier' is null and line.value ->> 'product' <> ''
      and (line.value ->> 'expires_at' is null
           or greatest((line.value ->> 'expires_at')::timestamptz, (line.value ->> 'grace_until')::timestamptz) > $1)
    group by 1 order by 2 desc, 1"""


class UnmappedProducts(DaysongError):
    """Customers have paid for products that grant them nothing; the message lists the products."""


async def insert_subscription(db: Transaction, user_id: UserId, now: datetime) -> None:
    """Insert a new account's subscription: free, or what was bought under its ids before the account existed."""
    await db.execute(
        """insert into subscriptions (id, user_id, last_reset_at, created_at, updated_at) values ($1, $2, $3, $3, $3)
           on conflict (user_id) do nothing""",
        SubscriptionId.new(now), user_id, now,
    )  # fmt: skip
    clerk_id = await db.fetchval("select clerk_id from users where id = $1", user_id)
    await lock_customers(db, [clerk_id, user_id])
    claimed = await claim(db, [clerk_id, user_id], user_id, now)
    if claimed != EMPTY:
        await save_subscription(db, user_id, claimed, event_type="account", event_id=None, now=now)


def state_of(row: Mapping[str, Any]) -> CustomerState:
    """Return the state in a row of `subscriptions` or `parked_customers`."""
    verified_at = row.get("verified_at")
    return CustomerState(
        entitlements=parse_entitlements(row["lines"]),
        history=msgspec.convert(row["told"], History),
        verified_at=None if verified_at is None else int(to_ms(verified_at)),
    )


async def lock_subscription(db: Transaction, user_id: str) -> asyncpg.Record | None:
    """Lock and return the user's subscription; None when there is none."""
    return await db.fetchrow(ROW_SQL, user_id)


async def save_subscription(
    db: Transaction, user_id: str, state: CustomerState, *, event_type: str, event_id: str | None, now: datetime
) -> bool:
    """Save the state of a user; return whether the entitlements changed. Changes are logged in `subscription_log`."""
    row = await lock_subscription(db, user_id)
    if row is None or (before := state_of(row)) == state:
        return False
    verified_at = None if state.verified_at is None else from_ms(state.verified_at)
    if before.entitlements == state.entitlements:
        await db.execute(
            "update subscriptions set told = $2, verified_at = $3 where user_id = $1",
            user_id, state.history, verified_at,
        )  # fmt: skip
        return False
    _report_unmapped(unmapped_products(state.entitlements, now) - unmapped_products(before.entitlements, now))
    quota_state, after = quota_state_of(row), summary(state.entitlements, now)
    # A change of plan must not refill the quota: the counting window of the old plan is stored before it is replaced.
    window = quota_state.window
    if quota_state.spans != spans(state.entitlements):
        window = counting_window(quota_state, now)
    await db.execute(
        """update subscriptions
           set lines = $2, told = $3, verified_at = $4, tier = $5, product_id = $6, status = $7, platform = $8,
               expires_at = $9, grace_until = $10, counted_since = $11, counted_until = $12, counted_at = $13,
               updated_at = $14
           where user_id = $1""",
        user_id, state.entitlements, state.history, verified_at, after.tier, after.product_id, after.status,
        after.platform, after.expires_at, after.grace_until, window and window.since, window and window.until,
        window and window.at, now,
    )  # fmt: skip
    await db.execute(
        """insert into subscription_log (id, user_id, event_type, event_id, tier, product_id, status, platform,
                                         expires_at, grace_until, recorded_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)""",
        SubscriptionLogId.new(now), user_id, event_type, event_id, after.tier, after.product_id, after.status,
        after.platform, after.expires_at, after.grace_until, now,
    )  # fmt: skip
    return True


def _report_unmapped(products: set[str]) -> None:
    """Log and count products that were paid for but are missing in REVENUECAT_PRODUCTS."""
    for product in sorted(products):
        label = product[:LONGEST_PRODUCT_LABEL]
        UNMAPPED.labels(label).inc()
        log.error("paid product is in no map: add it to REVENUECAT_PRODUCTS", product=label)


async def check_products(url: str, settings: Settings, now: datetime) -> str:
    """Check that each product with access has a plan. Errors: UnmappedProducts."""
    products = policy_of(settings).products
    connection = await connections.connect(url, name="daysong doctor")
    try:
        if await connection.fetchval("select to_regclass('subscriptions') is null"):
            return "no schema yet"
        rows = await connection.fetch(UNMAPPED_SQL, now)
    finally:
        await connection.close()
    unmapped = [row for row in rows if tier_of(row["product"], products) is None]
    if unmapped:
        listed = ", ".join(
            f"{row['product']} ({row['customers']} customers)" for row in unmapped[:MOST_REPORTED_PRODUCTS]
        )
        raise UnmappedProducts(f"paid for and in no map, so that they grant nothing: {listed}. See REVENUECAT_PRODUCTS")
    return f"{len(products)} known; all that was paid for is among them"


async def find_owners(db: Transaction, app_user_ids: Iterable[str]) -> dict[str, str]:
    """Return the user id of each app user id that belongs to an account: a Clerk id, a user id or an alias."""
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


async def add_aliases(db: Transaction, user_id: str, app_user_ids: Iterable[str], now: datetime) -> None:
    """Store the app user ids as the user's, except those of another user."""
    unknown = set(app_user_ids) - (await find_owners(db, app_user_ids)).keys()
    for app_user_id in sorted(unknown):
        await db.execute(
            """insert into revenuecat_ids (app_user_id, user_id, created_at) values ($1, $2, $3)
               on conflict (app_user_id) do nothing""",
            app_user_id, user_id, now,
        )  # fmt: skip


async def lock_customers(db: Transaction, app_user_ids: Iterable[str]) -> None:
    """Lock these app user ids, and all ids of unclaimed customers that share one with them.

    An event creates an unclaimed customer, and a new account claims it. The lock makes two transactions that share an
    id serial, so the second sees what the first committed.
    """
    locked: set[str] = set()
    wanted = set(app_user_ids)
    while wanted:
        await lock(db, *(f"customer {each}" for each in wanted))
        locked |= wanted
        rows = await db.fetch(
            "select distinct unnest(app_user_ids) as id from parked_customers where app_user_ids && $1::text[]",
            sorted(locked),
        )
        wanted = {row["id"] for row in rows} - locked


async def unclaimed_customers(db: Transaction, app_user_ids: Iterable[str]) -> list[asyncpg.Record]:
    """Lock and return the unclaimed customers with any of these app user ids."""
    return await db.fetch(
        "select * from parked_customers where app_user_ids && $1::text[] order by id for update", list(app_user_ids)
    )


async def claim(db: Transaction, app_user_ids: list[str], user_id: str, now: datetime) -> CustomerState:
    """Delete the unclaimed customers with these ids of the user, and return their merged state."""
    claimed = EMPTY
    for row in await unclaimed_customers(db, app_user_ids):
        claimed = merge_states(claimed, state_of(row))
        await db.execute("delete from parked_customers where id = $1", row["id"])
        await add_aliases(db, user_id, row["app_user_ids"], now)
    return claimed


async def upsert_unclaimed(db: Transaction, app_user_ids: tuple[str, ...], now: datetime) -> tuple[str, CustomerState]:
    """Return the unclaimed customer with these ids: the existing one, several merged into one, or a new one."""
    rows = await unclaimed_customers(db, app_user_ids)
    customer = rows[0]["id"] if rows else ParkedCustomerId.new(now)
    ids = sorted({*app_user_ids, *(each for row in rows for each in row["app_user_ids"])})
    state = EMPTY
    for row in rows:
        state = merge_states(state, state_of(row))
    if not rows:
        await db.execute(
            """insert into parked_customers (id, app_user_ids, created_at, updated_at) values ($1, $2, $3, $3)""",
            customer, ids, now,
        )  # fmt: skip
    elif len(rows) > 1 or ids != rows[0]["app_user_ids"]:
        await db.execute(
            "update parked_customers set app_user_ids = $2, updated_at = $3 where id = $1", customer, ids, now
        )
        await db.execute("delete from parked_customers where id = any($1)", [row["id"] for row in rows[1:]])
    return customer, state


async def save_unclaimed(db: Transaction, customer: str, state: CustomerState, now: datetime) -> None:
    """Save the state of an unclaimed customer."""
    await db.execute(
        "update parked_customers set lines = $2, told = $3, updated_at = $4 where id = $1",
        customer, state.entitlements, state.history, now,
    )  # fmt: skip


async def is_deleted(ctx: MutationContext, app_user_ids: Iterable[str]) -> bool:
    """Whether one of these ids belongs to a deleted account, and none to an account: nothing of it is stored."""
    ids = list(app_user_ids)
    if await find_owners(ctx.db, ids):
        return False
    for each in ids:
        if not each.startswith(ANONYMOUS) and await tombstones.deleted_at(ctx, each) is not None:
            return True
    return False


class _Loader:
    """Collects customers and their app user ids."""

    def __init__(self, ctx: MutationContext) -> None:
        self._ctx = ctx
        self._db = ctx.db
        self.states: dict[str, CustomerState] = {}
        self.ids: dict[str, str] = {}

    async def add_user(self, user_id: str) -> None:
        """Add the customer with that account."""
        if user_id not in self.states:
            row = await lock_subscription(self._db, user_id)
            if row is not None:
                self.states[user_id] = state_of(row)
                self.ids[user_id] = user_id

    async def add_customer(self, ids: tuple[str, ...], *, create: bool) -> None:
        """Add the customer with all of these ids: a user, else an unclaimed customer, new ones only with `create`."""
        owners = await find_owners(self._db, ids)
        owner = next((owners[each] for each in ids if each in owners), None)
        if owner is not None:
            await self._add_owner(owner, ids, owners)
            return
        if not (create or await unclaimed_customers(self._db, ids)) or await is_deleted(self._ctx, ids):
            return
        customer, self.states[customer] = await upsert_unclaimed(self._db, ids, self._ctx.now)
        self.ids |= dict.fromkeys(ids, customer)

    async def _add_owner(self, owner: str, ids: tuple[str, ...], owners: dict[str, str]) -> None:
        await self.add_user(owner)
        claimed = await claim(self._db, list(ids), owner, self._ctx.now)
        if owner in self.states:
            self.states[owner] = merge_states(self.states[owner], claimed)
        await add_aliases(self._db, owner, ids, self._ctx.now)
        self.ids |= {each: owners.get(each, owner) for each in ids}

    async def add_side(self, ids: tuple[str, ...]) -> None:
        """Add one side of a transfer, which may be several users."""
        owners = await find_owners(self._db, ids)
        if ids and not owners:
            await self.add_customer(ids, create=True)
        for user_id in dict.fromkeys(owners.values()):
            await self.add_user(user_id)
        self.ids |= owners

    async def add_related(self) -> None:
        """Add all customers that transfers connect with those added, directly or through others."""
        seen: set[str] = set()
        while missing := {each for state in self.states.values() for each in related_ids(state)} - seen:
            seen |= missing
            new = sorted(missing - self.ids.keys())
            owners = await find_owners(self._db, new)
            for user_id in dict.fromkeys(owners.values()):
                await self.add_user(user_id)
            self.ids |= owners
            for row in await unclaimed_customers(self._db, new):
                self.states.setdefault(row["id"], state_of(row))
                self.ids |= dict.fromkeys(row["app_user_ids"], row["id"])


async def load_customers(ctx: MutationContext, event: BillingEvent | None, *user_ids: str) -> Customers:
    """Lock and return the customers of the event, these users, and all that are needed to replay them."""
    loader = _Loader(ctx)
    if event is not None:
        await lock_customers(ctx.db, (*event.app_user_ids, *event.transferred_from, *event.transferred_to))
    for user_id in user_ids:
        await loader.add_user(user_id)
    if event is not None and event.type == "TRANSFER":
        await loader.add_side(event.transferred_from)
        await loader.add_side(event.transferred_to)
    elif event is not None and event.app_user_ids:
        await loader.add_customer(event.app_user_ids, create=changes_entitlements(event))
    await loader.add_related()
    return Customers(loader.states, loader.ids)


async def save_customers(ctx: MutationContext, customers: Customers, *, event_type: str, event_id: str | None) -> bool:
    """Save the customers; return whether the entitlements of any user changed."""
    changed = False
    for customer, state in sorted(customers.states.items()):
        if customer.startswith(UNCLAIMED_PREFIX):
            await save_unclaimed(ctx.db, customer, state, ctx.now)
        else:
            changed |= await save_subscription(
                ctx.db, customer, state, event_type=event_type, event_id=event_id, now=ctx.now
            )
    return changed
