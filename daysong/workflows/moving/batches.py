"""What an importer of a table gets, a batch of its lines, and what it reports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from daysong.kernel.database.transactions import Transaction
from daysong.kernel.settings import Settings
from daysong.vendors.storage import FileStore
from daysong.workflows.moving.archive import Archive, Line
from daysong.workflows.moving.documents import derived_id

MOST_PROBLEMS = 1000


class Problem(msgspec.Struct, frozen=True):
    """A line that was skipped or changed. `reason` quotes nothing that a person wrote."""

    line: int
    reason: str


class Tally(msgspec.Struct):
    """The results of a table.

    found     documents in the archive
    imported  rows that were not there before
    known     documents imported by an earlier run
    merged    documents whose row was merged into another
    skipped   documents that were left out, by reason
    problems  the first thousand lines that were skipped or changed
    """

    found: int = 0
    imported: int = 0
    known: int = 0
    merged: int = 0
    skipped: dict[str, int] = {}
    problems: list[Problem] = []

    def skip(self, line: int, reason: str) -> None:
        """Count a document that is left out."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        self.note(line, reason)

    def note(self, line: int, reason: str) -> None:
        """Report a line."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(line, reason))


class Entry(NamedTuple):
    """A document of a batch, with its line and, where it belongs to one, the account."""

    line: int
    document: dict[str, Any]
    user_id: str = ""

    @property
    def id(self) -> str:
        """Return the document's id."""
        return str(self.document["_id"])


class Batch:
    """Some lines of a table, imported in one transaction."""

    def __init__(
        self,
        db: Transaction,
        settings: Settings,
        now: datetime,
        tally: Tally,
        lines: Sequence[Line],
        archive: Archive,
        files: FileStore | None,
        only: frozenset[str] | None = None,
    ) -> None:
        """`files`: None when nothing is to be stored; `only`: ids or Clerk ids of the users to import, None for all."""
        self.db, self.settings, self.now, self.tally, self.only = db, settings, now, tally, only
        self.archive, self.files = archive, files
        # Keys of the files stored so far.
        self.stored: list[str] = []
        self.entries: list[Entry] = []
        for line in lines:
            tally.found += 1
            if line.document is None:
                tally.skip(line.number, line.reason)
            else:
                self.entries.append(Entry(line.number, line.document))

    async def owned(self, entries: Iterable[Entry] | None = None) -> list[Entry]:
        """Return the documents whose `userId` is an account, with it; skip the others."""
        entries = list(self.entries if entries is None else entries)
        named = [str(entry.document.get("userId", "")) for entry in entries]
        rows = await self.db.fetch(
            """select id as old_id, id as user_id, clerk_id from users where id = any($1) and deleted_at is null
               union all select i.old_id, i.user_id, u.clerk_id from imported_ids i join users u on u.id = i.user_id
               where i.old_id = any($1) and u.deleted_at is null""",
            named,
        )
        # An account may be here already without having been chosen.
        owners = {
            row["old_id"]: row["user_id"]
            for row in rows
            if self.only is None or not self.only.isdisjoint({row["old_id"], row["user_id"], row["clerk_id"]})
        }
        found = []
        for entry, name in zip(entries, named, strict=True):
            if name in owners:
                found.append(entry._replace(user_id=owners[name]))
            else:
                self.tally.skip(entry.line, "its user is not there")
        return found

    async def present(self, table: str, ids: Iterable[object]) -> dict[str, str]:
        """Return which of these ids are rows of `table`, each with the id of its account."""
        wanted = [one for one in ids if isinstance(one, str)]
        rows = await self.db.fetch(f"select id, user_id from {table} where id = any($1)", wanted)  # noqa: S608 - a constant
        return {row["id"]: row["user_id"] for row in rows}

    async def insert(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> set[str]:
        """Insert rows, given as the arrays of `unnest` in `sql`, which returns the ids that are new; count them."""
        if not rows:
            return set()
        inserted = {row["id"] for row in await self.db.fetch(sql, *map(list, zip(*rows, strict=True)))}
        self.tally.imported += len(inserted)
        self.tally.known += len(rows) - len(inserted)
        return inserted

    async def never_notify(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """Note occasions (account, kind, subject) as told, so that no device is sent anything about them."""
        await self.execute(
            """insert into push_occasions (id, user_id, kind, subject, created_at, taken_at)
               select o.id, o.user_id, o.kind, o.subject, o.at, o.at
               from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
                 as o (id, user_id, kind, subject, at)
               on conflict do nothing""",
            [
                (derived_id("occasion", kind, subject), user_id, kind, subject, self.now)
                for user_id, kind, subject in rows
            ],
        )

    async def execute(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run a statement with the columns of `rows` as its arrays."""
        if rows:
            await self.db.execute(sql, *map(list, zip(*rows, strict=True)))


Importer = Callable[[Batch], Awaitable[None]]
