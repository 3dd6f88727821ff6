"""Users, subscriptions and their log.

Several users of one Clerk id are merged: into the account that exists here, else into the oldest. The others' ids stay
known, also to RevenueCat. Only the active subscription of a user counts, as many songs as it had used are charged, and
RevenueCat's next answer replaces what the archive says.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from daysong.features.subscriptions.entitlements import (
    CustomerState,
    Entitlement,
    History,
    entitlement_key,
    summary,
)
from daysong.features.subscriptions.events import policy_of
from daysong.features.subscriptions.history import UNDATED_ACCESS
from daysong.features.subscriptions.rules import FREE_PRODUCT, tier_of
from daysong.features.users import tombstones
from daysong.kernel import values
from daysong.vendors.revenuecat.events import PRODUCTION
from daysong.workflows.moving import documents as read
from daysong.workflows.moving.batches import Batch, Entry

MOST_USED = 10_000
PLANS = ("weekly", "monthly", "yearly")
LONGEST_NAME = 200
LONGEST_EMAIL = 254


async def stage_users(batch: Batch) -> None:
    """Note each user's Clerk id and age, so that the next step knows the oldest of each Clerk id."""
    rows = []
    for entry in batch.entries:
        clerk_id = read.text(entry.document, "clerkId", 200)
        if clerk_id is not None:
            active = read.text(entry.document, "activeSubscriptionId", 64)
            rows.append(
                (
                    entry.id,
                    tombstones.clerk_hash(batch.settings, clerk_id),
                    read.made(entry.document, batch.now),
                    active,
                    batch.now,
                )
            )
    await batch.execute(
        """insert into import_users (old_id, clerk_hash, made_at, active_subscription, staged_at)
           select * from unnest($1::text[], $2::bytea[], $3::timestamptz[], $4::text[], $5::timestamptz[])
           on conflict (old_id) do nothing""",
        rows,
    )


async def import_users(batch: Batch) -> None:
    """Import users, each Clerk id as one account."""
    named: list[tuple[Entry, str]] = []
    for entry in batch.entries:
        clerk_id = read.text(entry.document, "clerkId", 200)
        if clerk_id is None:
            batch.tally.skip(entry.line, "no clerkId")
        elif batch.only is not None and batch.only.isdisjoint({entry.id, clerk_id}):
            batch.tally.skip(entry.line, "not among the chosen users")
        else:
            named.append((entry, clerk_id))
    clerk_ids = [clerk_id for _, clerk_id in named]
    hashes = {clerk_id: tombstones.clerk_hash(batch.settings, clerk_id) for clerk_id in clerk_ids}
    deleted = await _deleted(batch, clerk_ids)
    oldest = await batch.db.fetch(
        """select distinct on (clerk_hash) clerk_hash, old_id from import_users where clerk_hash = any($1)
           order by clerk_hash, made_at, old_id""",
        list(hashes.values()),
    )
    oldest_of = {row["clerk_hash"]: row["old_id"] for row in oldest}
    emails = {email for entry, _ in named if (email := read.text(entry.document, "email", LONGEST_EMAIL)) is not None}
    mailboxes = await tombstones.mailbox_hashes(batch.db, batch.settings, sorted(emails))
    rows, merged = [], []
    for entry, clerk_id in named:
        if clerk_id in deleted:
            batch.tally.skip(entry.line, "the account was deleted here")
        elif oldest_of[hashes[clerk_id]] == entry.id:
            rows.append(_user(batch, entry, clerk_id, mailboxes))
        else:
            merged.append((entry, clerk_id))
    inserted = await batch.insert(
        """insert into users (id, clerk_id, email, name, mailbox_hash, created_at, updated_at)
           select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::timestamptz[],
                                $7::timestamptz[])
           on conflict do nothing returning id""",
        rows,
    )
    lines = {entry.id: entry for entry, _ in named}
    await batch.execute(
        """update users u set tags = array(select jsonb_array_elements_text(given.tags::jsonb))
           from unnest($1::text[], $2::text[]) as given (id, tags) where u.id = given.id""",
        [
            (one, msgspec.json.encode(tags).decode())
            for one in inserted
            if (tags := read.texts(lines[one].document, "tags", 50, 100))
        ],
    )
    await batch.execute(
        """insert into subscriptions (id, user_id, last_reset_at, created_at, updated_at)
           select s.id, s.user_id, s.at, s.at, s.at from unnest($1::text[], $2::text[], $3::timestamptz[])
             as s (id, user_id, at)
           on conflict do nothing""",
        [(read.derived_id("sub", row[0]), row[0], row[5]) for row in rows if row[0] in inserted],
    )
    # A Clerk id that has an account here keeps it; the document's id becomes another name of it.
    existing = [(lines[row[0]], row[1]) for row in rows if row[0] not in inserted]
    await _merge(batch, merged + existing)


async def _deleted(batch: Batch, clerk_ids: list[str]) -> set[str]:
    """Return the Clerk ids whose account was deleted here."""
    hashes = {clerk_id: tombstones.clerk_hashes(batch.settings, clerk_id) for clerk_id in clerk_ids}
    rows = await batch.db.fetch(
        "select clerk_hash from tombstones where clerk_hash = any($1)",
        [one for each in hashes.values() for one in each],
    )
    buried = {row["clerk_hash"] for row in rows}
    closed = await batch.db.fetch(
        "select clerk_id from users where clerk_id = any($1) and deleted_at is not null", clerk_ids
    )
    return {one for one, each in hashes.items() if not buried.isdisjoint(each)} | {row["clerk_id"] for row in closed}


def _user(batch: Batch, entry: Entry, clerk_id: str, mailboxes: dict[str, bytes]) -> tuple[Any, ...]:
    email = read.text(entry.document, "email", LONGEST_EMAIL)
    mailbox = None if email is None else mailboxes[email]
    return (
        entry.id, clerk_id, email, read.text(entry.document, "name", LONGEST_NAME), mailbox,
        read.made(entry.document, batch.now), read.changed(entry.document, batch.now),
    )  # fmt: skip


async def _merge(batch: Batch, entries: list[tuple[Entry, str]]) -> None:
    """Note the ids of users whose account has another id."""
    rows = await batch.db.fetch(
        "select id, clerk_id from users where clerk_id = any($1)", [clerk_id for _, clerk_id in entries]
    )
    accounts = {row["clerk_id"]: row["id"] for row in rows}
    aliases = [
        (entry.id, accounts[clerk_id]) for entry, clerk_id in entries if accounts.get(clerk_id) not in {None, entry.id}
    ]
    for entry, clerk_id in entries:
        if clerk_id not in accounts:
            batch.tally.skip(entry.line, "another account has its id")
    await batch.execute(
        """with given as (select * from unnest($1::text[], $2::text[], $3::timestamptz[]) as g (old_id, user_id, at)),
                named as (insert into revenuecat_ids (app_user_id, user_id, created_at) select * from given
                          on conflict do nothing)
           insert into imported_ids (old_id, user_id) select old_id, user_id from given on conflict do nothing""",
        [(old_id, user_id, batch.now) for old_id, user_id in aliases],
    )
    batch.tally.merged += len(aliases)
    lines = {entry.id: entry.line for entry, _ in entries}
    for old_id, _ in aliases:
        batch.tally.note(lines[old_id], "its Clerk id has an account already: merged")


async def import_subscriptions(batch: Batch) -> None:
    """Import the active subscription of each user, and charge the songs it had used in its period."""
    entries = await batch.owned()
    rows = await batch.db.fetch("select id, clerk_id from users where id = any($1)", [one.user_id for one in entries])
    hashes = {row["id"]: tombstones.clerk_hash(batch.settings, row["clerk_id"]) for row in rows}
    rows = await batch.db.fetch(
        """select clerk_hash, array_remove(array_agg(active_subscription), null) as active
           from import_users where clerk_hash = any($1) group by 1""",
        list(hashes.values()),
    )
    active = {row["clerk_hash"]: row["active"] for row in rows}
    latest: dict[str, Entry] = {}
    for entry in entries:
        chosen = active.get(hashes[entry.user_id], [])
        if chosen and entry.id not in chosen:
            batch.tally.skip(entry.line, "not the active subscription of its user")
        elif (before := latest.get(entry.user_id)) is None:
            latest[entry.user_id] = entry
        else:
            # A user without an active one.
            older, latest[entry.user_id] = sorted((before, entry), key=lambda one: read.made(one.document, batch.now))
            batch.tally.skip(older.line, "not the latest subscription of its user")
    await _replace_subscriptions(batch, list(latest.values()))


async def _replace_subscriptions(batch: Batch, entries: list[Entry]) -> None:
    """Replace the subscriptions of accounts that RevenueCat has said nothing about yet."""
    rows, used = [], {}
    for entry in entries:
        document, now = entry.document, batch.now
        since = min(now, read.moment(document, "lastResetAt", "_creationTime") or now)
        state = _state(batch, document, now)
        after = summary(state.entitlements, now)
        rows.append((
            entry.user_id, entry.id, msgspec.json.encode(state.entitlements).decode(),
            msgspec.json.encode(state.history).decode(), after.tier, after.product_id, after.status, after.platform,
            after.expires_at, after.grace_until, read.whole(document, "customMusicLimit"), since, now,
        ))  # fmt: skip
        songs = read.whole(document, "musicGenerationsUsed", MOST_USED) or 0
        used[entry.user_id] = [
            (read.derived_id("charge", entry.id, place), entry.user_id, since, after.tier == "free")
            for place in range(songs)
        ]
    if not rows:
        return
    replaced = await batch.db.fetch(
        """update subscriptions s
           set id = n.id, lines = n.lines::jsonb, told = n.told::jsonb, tier = n.tier, product_id = n.product_id,
               status = n.status, platform = n.platform, expires_at = n.expires_at, grace_until = n.grace_until,
               custom_music_limit = n.song_limit, last_reset_at = n.since, created_at = n.since, updated_at = n.now
           from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                       $9::timestamptz[], $10::timestamptz[], $11::integer[], $12::timestamptz[], $13::timestamptz[])
             as n (user_id, id, lines, told, tier, product_id, status, platform, expires_at, grace_until, song_limit,
                   since, now)
           where s.user_id = n.user_id and s.id <> n.id and s.lines = '{}' and s.told = '{}' and s.verified_at is null
           returning s.user_id""",
        *map(list, zip(*rows, strict=True)),
    )
    batch.tally.imported += len(replaced)
    batch.tally.known += len(rows) - len(replaced)
    await batch.execute(
        """with given as (
             select * from unnest($1::text[], $2::text[], $3::timestamptz[], $4::boolean[])
               as g (id, user_id, at, free)),
           charged as (
             insert into usage_charges (id, user_id, charged_at)
             select id, user_id, at from given on conflict do nothing)
           insert into mailbox_usage (charge_id, mailbox_hash, charged_at)
           select g.id, u.mailbox_hash, g.at from given g join users u on u.id = g.user_id
           where g.free and u.mailbox_hash is not null on conflict do nothing""",
        [charge for row in replaced for charge in used[row["user_id"]]],
    )


def _state(batch: Batch, document: read.Document, now: datetime) -> CustomerState:
    product = read.text(document, "productId", 200)
    named = read.text(document, "subscriptionTier")
    if product is None or product == FREE_PRODUCT or named == "free":
        return CustomerState()
    tier = tier_of(product, policy_of(batch.settings).products) or (named if named in PLANS else None)
    verified = read.moment(document, "lastVerifiedAt", "_creationTime") or now
    ended = read.text(document, "status") in {"canceled", "cancelled", "expired"}
    renews = not ended and bool(document.get("autoRenewStatus", True))
    expires = read.moment(document, "expiresAt")
    if read.text(document, "status") == "expired":
        expires = min(expires or verified, now)
    entitlement = Entitlement(
        period_start=int(min(verified, now).timestamp() * 1000),
        product=product,
        tier=tier,  # type: ignore[arg-type]  # one of PLANS
        expires_at=expires or now + UNDATED_ACCESS,
        renews=renews,
    )
    lines = {entitlement_key(PRODUCTION, read.text(document, "platform", 60) or "unknown", product): entitlement}
    return CustomerState(entitlements=lines, history=History(snapshot=lines))


async def import_subscription_log(batch: Batch) -> None:
    """Keep each logged event in the log of its account."""
    rows = []
    for entry in await batch.owned():
        document = entry.document
        tier = read.text(document, "subscriptionTier") or read.text(document, "tier")
        rows.append((
            entry.id, entry.user_id, read.text(document, "eventType", 100) or "imported",
            read.text(document, "eventId", 200), tier if tier in PLANS else "free",
            read.text(document, "productId", 200) or FREE_PRODUCT, read.text(document, "status", 40) or "active",
            read.text(document, "platform", 60), read.moment(document, "expiresAt"),
            read.moment(document, "recordedAt", "timestamp", "createdAt", "_creationTime") or batch.now,
            msgspec.json.encode(values.plain(dict(document)), enc_hook=str).decode(),
        ))  # fmt: skip
    await batch.insert(
        """insert into subscription_log (id, user_id, event_type, event_id, tier, product_id, status, platform,
                                         expires_at, recorded_at, imported)
           select l.id, user_id, event_type, event_id, tier, product_id, status, platform, expires_at, recorded_at,
                  imported::jsonb
           from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                       $9::timestamptz[], $10::timestamptz[], $11::text[])
             as l (id, user_id, event_type, event_id, tier, product_id, status, platform, expires_at, recorded_at,
                   imported)
           on conflict (id) do nothing returning id""",
        rows,
    )
