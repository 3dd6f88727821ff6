"""A book of everybody an event is about, read from the database and written back, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable

from daysong.features.subscriptions import store
from daysong.features.subscriptions.events import Book, changes_anything, others, united
from daysong.features.subscriptions.holdings import Holdings
from daysong.features.users import tombstones
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.ids import ParkedCustomerId
from daysong.vendors.revenuecat.events import ANONYMOUS, BillingEvent

PARKED = f"{ParkedCustomerId.prefix}_"


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
            row = await store.locked(self._db, user_id)
            if row is not None:
                self.customers[user_id] = store.holdings_of(row)
                self.names[user_id] = user_id

    async def one_customer(self, ids: tuple[str, ...], *, park: bool) -> None:
        """Add the customer known by all of these ids: ours, if any of them is; else parked, if `park` says so."""
        owners = await store.owners(self._db, ids)
        owner = next((owners[each] for each in ids if each in owners), None)
        if owner is not None:
            await self._ours(owner, ids, owners)
            return
        if not (park or await store.parked_with(self._db, ids)) or await are_gone(self._ctx, ids):
            return
        parked_id, self.customers[parked_id] = await store.park(self._db, ids, self._ctx.now)
        self.names |= dict.fromkeys(ids, parked_id)

    async def _ours(self, owner: str, ids: tuple[str, ...], owners: dict[str, str]) -> None:
        await self.user(owner)
        parked = await store.take_parked(self._db, list(ids), owner, self._ctx.now)
        if owner in self.customers:
            self.customers[owner] = united(self.customers[owner], parked)
        await store.remember_ids(self._db, owner, ids, self._ctx.now)
        self.names |= {each: owners.get(each, owner) for each in ids}

    async def side(self, ids: tuple[str, ...]) -> None:
        """Add one side of a transfer, which may be several of our people."""
        owners = await store.owners(self._db, ids)
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
            owners = await store.owners(self._db, new)
            for user_id in dict.fromkeys(owners.values()):
                await self.user(user_id)
            self.names |= owners
            for row in await store.parked_with(self._db, new):
                self.customers.setdefault(row["id"], store.holdings_of(row))
                self.names |= dict.fromkeys(row["app_user_ids"], row["id"])


async def are_gone(ctx: MutationContext, app_user_ids: Iterable[str]) -> bool:
    """Whether these are ids of somebody who has deleted their account, and of nobody else: nothing is kept of them."""
    ids = list(app_user_ids)
    if await store.owners(ctx.db, ids):
        return False
    for each in ids:
        if not each.startswith(ANONYMOUS) and await tombstones.deleted_at(ctx, each) is not None:
            return True
    return False


async def open_book(ctx: MutationContext, event: BillingEvent | None, *users: str) -> Book:
    """Everybody the event is about, these users, and whoever else is needed to work out what they have."""
    reader = _Reader(ctx)
    if event is not None:
        await store.lock_customers(ctx.db, (*event.app_user_ids, *event.transferred_from, *event.transferred_to))
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
            await store.save_parked(ctx.db, name, holdings, ctx.now)
        else:
            changed |= await store.save(ctx.db, name, holdings, event_type=event_type, event_id=event_id, now=ctx.now)
    return changed
