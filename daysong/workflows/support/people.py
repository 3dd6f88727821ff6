"""People, as operators see them: found by what they say of themselves, and shown with their plan, songs and calls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.feature_flags import flags
from daysong.features.phone_calls.numbers.numbers import caller_keys
from daysong.features.subscriptions.entitlements import SubscriptionOfProfile, status_columns, status_of
from daysong.features.subscriptions.rules import LONGEST_PERIOD
from daysong.features.users import tombstones
from daysong.kernel.errors import ExpectedError
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, given, query
from daysong.kernel.limits.marks import account_mark, account_marks
from daysong.kernel.time.clock import to_ms
from daysong.workflows.support import calls, songs
from daysong.workflows.support.calls import Call, CallPlan
from daysong.workflows.support.hiding import masked_number
from daysong.workflows.support.songs import Song

MOST_FOUND = 20
SHORTEST_NAME = 2
MOST_LEDGER = 30
MOST_SONGS = 20
# About 8 ms of hashing for each key, in which the process answers nothing else.
SCANNED_AT_ONCE = 2_000
State = Literal["active", "banned", "locked", "blocked", "deleted"]

_MARK = re.compile(r"[0-9a-f]{24}")
_NUMBER_HASH = re.compile(r"(?:[0-9a-f]{2}){32,64}")
# Tables by the prefix of their ids.
_OWNED = {
    "diary": "diaries", "gen": "generations", "music": "music", "video": "music_videos", "call": "call_jobs",
    "talk": "call_sessions", "share": "shared_music", "charge": "usage_charges",
}  # fmt: skip


# Each by an index. The first step is materialized, or PostgreSQL may look through all accounts, newest first.
FOUND_SQL = {
    by: f"""
        with found as materialized (select * from users where {condition})
        select * from found order by created_at desc, id limit {MOST_FOUND}"""  # noqa: S608 - constants
    for by, condition in {
        "id": "id = $1 or clerk_id = $1",
        "email": "mailbox_hash = any($1)",
        "share_id": "id = (select user_id from shared_music where share_id = $1)",
        "number": """id in (select user_id from call_settings where number_key = any($1)
                           union all select id from users where verified_phones && $1 and verified_phones <> '{}')""",
        "number_hash": "id in (select user_id from call_jobs where number_hash = $1)",
        **{prefix: f"id = (select user_id from {table} where id = $1)" for prefix, table in _OWNED.items()},  # noqa: S608
    }.items()
}
# The names that begin with a text, as a range of an index: no text is a pattern. The last character follows all others.
NAMED_SQL = f"""
    select * from users where lower(name) ~>=~ lower($1) and lower(name) ~<~ (lower($1) || chr(1114111))
    order by lower(name) using ~<~, id limit {MOST_FOUND}"""  # noqa: S608 - a constant


class PersonNotFound(ExpectedError):
    """No such account."""

    code = "person_not_found"
    status = 404
    default_message = "There is no such account"


class FindPeople(Args):
    """An e-mail address, a Clerk id, a user id, a phone number or its hash, a share link or its id, the id of an entry,
    a song or a call, the keyed hash of an account in costs and in the audit log, or how a name begins.
    """

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]


class OnePerson(Args):
    """Whose account."""

    user_id: IdText


class FoundPerson(Result):
    """An account; `created_at` in ms. `mark` is its keyed hash in costs and in the audit log."""

    user_id: str
    clerk_id: str
    state: State
    created_at: float
    mark: str
    email: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


class LedgerRow(Result):
    """Songs that were charged, refunded with a reason, or granted; `at` in ms."""

    kind: Literal["charge", "refund", "grant"]
    at: float
    amount: int
    id: str
    reason: str | UnsetType = UNSET


class Device(Result):
    """A device that gets notifications; times in ms."""

    id: str
    platform: str
    created_at: float
    updated_at: float


class Counts(Result):
    """How much a person has here; `storage` in bytes."""

    entries: int
    songs: int
    shares: int
    calls: int
    storage: int


class VendorCost(Result):
    """What a vendor cost for the account in the last 30 days, in micro-dollars."""

    vendor: str
    requests: int
    amount: int


class PersonInFull(FoundPerson, kw_only=True):
    """An account with its plan, ledger, songs, calls, devices, flags and costs. Nothing that the person wrote."""

    timezone: str
    language: str
    counts: Counts
    ledger: list[LedgerRow]
    songs: list[Song]
    calls: list[Call]
    devices: list[Device]
    flags: dict[str, bool]
    costs: list[VendorCost]
    verified_numbers: list[str]
    plan: SubscriptionOfProfile | UnsetType = UNSET
    custom_limit: int | UnsetType = UNSET
    call_plan: CallPlan | UnsetType = UNSET
    deleted_at: float | UnsetType = UNSET


def state_of(row: asyncpg.Record) -> State:
    """Return the state of a row of `users`."""
    if row["deleted_at"] is not None:
        return "deleted"
    return row["suspension"] or "active"


@query(reads=("users", "call_settings", "call_jobs", "shared_music"), snapshot=True)
async def find_people(ctx: QueryContext, args: FindPeople) -> list[FoundPerson]:
    """Return the accounts that a text leads to, at most 20."""
    rows = await _found(ctx, args.text.strip())
    return [FoundPerson(**_profile(ctx, row)) for row in rows[:MOST_FOUND]]


async def _found(ctx: QueryContext, text: str) -> Sequence[asyncpg.Record]:
    if "@" in text:
        return await _users(ctx, "email", tombstones.email_hashes(ctx.settings, text))
    if text.startswith("user_"):
        return await _users(ctx, "id", text)
    if _NUMBER_HASH.fullmatch(text):
        return await _users(ctx, "number_hash", bytes.fromhex(text))
    if _MARK.fullmatch(text):
        return await _marked(ctx, text)
    prefix = text.partition("_")[0]
    if prefix in _OWNED and "_" in text:
        return await _users(ctx, prefix, text)
    if found := await _users(ctx, "share_id", text.rstrip("/").rpartition("/")[2]):
        return found
    if keys := caller_keys(text, None):
        return await _users(ctx, "number", list(keys))
    if found := await _users(ctx, "id", text):
        return found
    if len(text) < SHORTEST_NAME:
        return []
    return await ctx.db.fetch(NAMED_SQL, text)


async def _users(ctx: QueryContext, by: str, value: object) -> Sequence[asyncpg.Record]:
    return await ctx.db.fetch(FOUND_SQL[by], value)


async def _marked(ctx: QueryContext, mark: str) -> Sequence[asyncpg.Record]:
    """Find the account of a keyed hash, which only leads there by trying each."""
    last = ""
    while True:
        rows = await ctx.db.fetch("select id from users where id > $1 order by id limit $2", last, SCANNED_AT_ONCE)
        for row in rows:
            if mark in account_marks(ctx.settings.hash_keys, row["id"]):
                return await _users(ctx, "id", row["id"])
        if len(rows) < SCANNED_AT_ONCE:
            return []
        last = rows[-1]["id"]


def _profile(ctx: QueryContext, row: asyncpg.Record) -> dict[str, Any]:
    return {
        "user_id": row["id"],
        "clerk_id": row["clerk_id"],
        "state": state_of(row),
        "created_at": to_ms(row["created_at"]),
        "mark": account_mark(ctx.settings.hash_key, row["id"]),
        "email": given(row["email"]),
        "name": given(row["name"]),
    }


LEDGER_SQL = f"""
    select 'charge' as kind, id, charged_at as at, amount, null as reason from usage_charges where user_id = $1
    union all
    select 'refund', r.charge_id, r.refunded_at, c.amount, r.reason
    from usage_refunds r join usage_charges c on c.id = r.charge_id where c.user_id = $1
    union all
    select 'grant', id, granted_at, amount, null from usage_grants where user_id = $1
    order by at desc, kind desc limit {MOST_LEDGER}"""  # noqa: S608 - a constant
COUNTS_SQL = """
    select (select count(*) from diaries where user_id = $1 and content <> '') as entries,
           (select count(*) from music where user_id = $1 and music_index = 0 and deleted_at is null
              and status = 'ready') as songs,
           (select count(*) from shared_music where user_id = $1) as shares,
           (select count(*) from call_sessions where user_id = $1) as calls,
           (select coalesce(sum(size), 0)::bigint from files where user_id = $1) as storage"""


@query(
    reads=(
        "users", "subscriptions", "usage_charges", "usage_refunds", "usage_grants", "mailbox_usage", "diaries", "music",
        "generations", "shared_music", "call_settings", "call_jobs", "call_sessions", "files", "push_tokens",
        "feature_flags", "feature_flag_accounts", "vendor_costs",
    ),
    snapshot=True,
)  # fmt: skip
async def show_person(ctx: QueryContext, args: OnePerson) -> PersonInFull:
    """Return one account, also while it is being erased. Errors: PersonNotFound."""
    row = await ctx.db.fetchrow("select * from users where id = $1", args.user_id)
    if row is None:
        raise PersonNotFound
    plan = await ctx.db.fetchrow(
        f"select {status_columns('$2')} from subscriptions s where s.user_id = $1",  # noqa: S608 - a constant
        args.user_id, ctx.now - LONGEST_PERIOD,
    )  # fmt: skip
    status = None if plan is None else status_of(plan, ctx.now)
    counts = await ctx.db.fetchrow(COUNTS_SQL, args.user_id)
    return PersonInFull(
        **_profile(ctx, row),
        timezone=row["timezone"],
        language=row["language"],
        deleted_at=given(None if row["deleted_at"] is None else to_ms(row["deleted_at"])),
        plan=given(status),
        custom_limit=given(None if plan is None else plan["custom_music_limit"]),
        counts=Counts(**dict(counts or {})),
        ledger=[_ledger_row(each) for each in await ctx.db.fetch(LEDGER_SQL, args.user_id)],
        songs=await songs.listed(ctx, user_id=args.user_id, limit=MOST_SONGS),
        calls=await calls.listed(ctx, user_id=args.user_id, limit=MOST_SONGS),
        call_plan=given(await calls.plan_of(ctx, args.user_id)),
        devices=await _devices(ctx, args.user_id),
        flags=await flags.flags_of_account(ctx, args.user_id),
        costs=await _costs(ctx, args.user_id),
        verified_numbers=[masked_number(number) or "" for number in row["verified_phones"]],
    )


def _ledger_row(row: asyncpg.Record) -> LedgerRow:
    return LedgerRow(
        kind=row["kind"], at=to_ms(row["at"]), amount=row["amount"], id=row["id"], reason=given(row["reason"])
    )


async def _devices(ctx: QueryContext, user_id: str) -> list[Device]:
    rows = await ctx.db.fetch("select * from push_tokens where user_id = $1 order by updated_at desc, id", user_id)
    return [
        Device(
            id=row["id"],
            platform=row["platform"],
            created_at=to_ms(row["created_at"]),
            updated_at=to_ms(row["updated_at"]),
        )
        for row in rows
    ]


async def _costs(ctx: QueryContext, user_id: str) -> list[VendorCost]:
    rows = await ctx.db.fetch(
        """select vendor, count(*) as requests, sum(amount)::bigint as amount from vendor_costs
           where account = any($1) and at > $2 group by vendor order by vendor""",
        account_marks(ctx.settings.hash_keys, user_id), ctx.now - LONGEST_PERIOD,
    )  # fmt: skip
    return [VendorCost(**dict(row)) for row in rows]
