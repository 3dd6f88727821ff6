"""The journal of removals, kept in the file storage, where it outlives the database.

Triggers record in `removals` what people delete, revoke or refuse, in the same transaction
(migrations/0013_recovery.sql). Each minute workers write the new rows to a file and delete them. After a restore, what
was recorded since the backup is applied again (`removing.py`). A line has a kind, a hash and a time: nothing of what
was removed.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import msgspec

from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, NoArgs, Result, action, mutation, query
from daysong.kernel.limits.lanes import Lane
from daysong.kernel.time.clock import from_ms, to_ms
from daysong.vendors.storage import FileStore

FOLDER = "journal"
AT_ONCE = 5_000
JSON_LINES = "application/jsonl"


class Removal(Args):
    """A line of the journal: what kind of row, the hex of its hash, and when, in ms."""

    kind: str
    mark: str
    at: float


class RecordedRemoval(Result):
    """A row of `removals`."""

    id: float
    removal: Removal


class Recorded(Args):
    """Rows of `removals`, by id."""

    ids: list[float]


@action(lane=Lane.FILES)
async def write_journal(ctx: ActionContext, args: NoArgs) -> None:
    """Move recorded removals to the journal. Each worker does so every minute; what is written twice counts once."""
    store = ctx.vendor(FileStore)
    while rows := await ctx.run_query(recorded_removals, args):
        await store.put(_name(rows), encode([row.removal for row in rows]), JSON_LINES)
        await ctx.run_mutation(delete_recorded, Recorded(ids=[row.id for row in rows]))


async def delete_old(ctx: ActionContext) -> None:
    """Delete the files of the journal that are over their retention."""
    store = ctx.vendor(FileStore)
    oldest = ctx.now - timedelta(days=ctx.settings.retention_days["removals"])
    await store.delete([key async for key, stored_at in files(store) if stored_at < oldest])


@query(reads=("removals",))
async def recorded_removals(ctx: QueryContext, args: NoArgs) -> list[RecordedRemoval]:  # noqa: ARG001
    """Return the oldest removals that are not in the journal yet."""
    rows = await ctx.db.fetch(
        """select id, kind, encode(mark, 'hex') as mark, (extract(epoch from at) * 1000)::float8 as at
           from removals order by id limit $1""",
        AT_ONCE,
    )
    return [
        RecordedRemoval(id=row["id"], removal=Removal(kind=row["kind"], mark=row["mark"], at=row["at"])) for row in rows
    ]


@mutation
async def delete_recorded(ctx: MutationContext, args: Recorded) -> None:
    """Delete removals that are in the journal."""
    await ctx.db.execute("delete from removals where id = any($1)", [int(row_id) for row_id in args.ids])


def encode(removals: list[Removal]) -> bytes:
    """Return the content of a file of the journal: a JSON object on each line."""
    return b"".join(msgspec.json.encode(removal) + b"\n" for removal in removals)


def decode(content: bytes) -> list[Removal]:
    """Return the removals in a file of the journal."""
    return [msgspec.json.decode(line, type=Removal) for line in content.splitlines() if line.strip()]


async def since(store: FileStore, moment: datetime) -> list[Removal]:
    """Return what was recorded since a moment.

    Files whose newest line is older are not read: a worker writes up to half a million in a year.
    """
    earliest = _prefix(moment)
    found: list[Removal] = []
    async for key, _ in files(store):
        if key >= earliest:
            found += decode(b"".join([chunk async for chunk in store.read(key)]))
    return [removal for removal in found if removal.at >= to_ms(moment)]


async def files(store: FileStore) -> AsyncIterator[tuple[str, datetime]]:
    """Yield the keys of the journal's files, and when they were stored."""
    async for page in store.list(f"{FOLDER}/"):
        for file in page:
            yield file.key, file.stored_at


def _name(rows: Sequence[RecordedRemoval]) -> str:
    newest = max(row.removal.at for row in rows)
    return f"{_prefix(from_ms(newest))}-{secrets.token_hex(6)}.jsonl"


def _prefix(moment: datetime) -> str:
    """Return the beginning of the names of files whose newest line is of that second."""
    return f"{FOLDER}/{moment:%Y%m%dT%H%M%S}"
