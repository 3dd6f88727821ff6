"""The import as a whole: every table in order, in batches that are one transaction with their progress.

A run that is killed goes on after its last batch; a run of an archive that was imported does nothing. Without `apply`
everything happens in one transaction that is rolled back, so that the report is the one an import would give.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from daysong.features.subscriptions.reconciliation import reconcile_stale_subscriptions
from daysong.kernel.database import connections
from daysong.kernel.database.transactions import Database, Transaction
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.declarations import NoArgs
from daysong.kernel.jobs.queue import Queue
from daysong.kernel.settings import Settings
from daysong.vendors.storage import FileStore
from daysong.workflows.moving import accounts, calls, library, media, memory, others, songs, videos
from daysong.workflows.moving.archive import SYSTEM, Archive, Line
from daysong.workflows.moving.batches import Batch, Importer, Tally

AT_ONCE = 500
LOCK = "import of a snapshot"


class Step(NamedTuple):
    """A pass over a table. One that is not `counted` adds nothing to the report."""

    table: str
    importer: Importer
    counted: bool = True

    @property
    def name(self) -> str:
        """Return what progress is kept under."""
        return f"{self.table} {self.importer.__name__}"


# Tables that others refer to come first.
STEPS = (
    Step("users", accounts.stage_users, counted=False),
    Step("users", accounts.import_users),
    Step("subscriptionStatuses", accounts.import_subscriptions),
    Step("subscriptionLog", accounts.import_subscription_log),
    Step("diaries", songs.import_diaries),
    Step("music", songs.import_music),
    Step("diaries", songs.import_primary_songs, counted=False),
    Step("sharedMusic", songs.import_shares),
    Step("userSongs", library.import_user_songs),
    Step("_storage", media.stage_files, counted=False),
    Step("diaryMedia", media.import_media),
    Step("people", memory.import_people),
    Step("userTags", memory.import_tags),
    Step("events", memory.import_events),
    Step("musicVideos", videos.import_videos),
    Step("music", videos.import_primary_videos, counted=False),
    Step("callSettings", calls.import_call_settings),
    Step("callJobs", calls.import_call_jobs),
    Step("callSessions", calls.import_call_sessions),
    Step("pushTokens", others.import_push_tokens),
    Step("emailNotify", others.import_invitations),
    Step("featureFlags", others.import_feature_flags),
    Step("blogPosts", others.import_blog_posts),
    Step("blogPostRevisions", others.import_blog_revisions),
    Step("blogPostAnalytics", others.import_blog_views),
)
# What these note is deleted when an import, this or another one, is finished.
STAGING = (accounts.stage_users, media.stage_files)


class Report(msgspec.Struct):
    """What an import did, or would do.

    tables   the tally of each table
    unknown  tables of the archive that are left
    files    stored files of the archive that no document names
    applied  whether anything was written
    """

    tables: dict[str, Tally]
    unknown: list[str]
    files: int
    applied: bool


class ImportRunning(DaysongError):
    """Another import is running on this database."""

    def __init__(self) -> None:
        super().__init__("Another import is running on this database: wait until it has ended.")


class _RollBack(Exception):
    pass


class Import:
    """One archive, one database."""

    def __init__(
        self, archive: Archive, database: Database, queue: Queue, files: FileStore, settings: Settings, now: datetime,
        tell: Callable[[str], None] = lambda _: None, only: frozenset[str] | None = None,
    ) -> None:  # fmt: skip
        """`only`: ids or Clerk ids of the users to import; None for all."""
        self._archive, self._database, self._queue, self._files = archive, database, queue, files
        self._settings, self._now = settings, now
        self._tell, self._only = tell, only
        chosen = b"" if only is None else "\n".join(sorted(only)).encode()
        self._digest = sha256(archive.digest().encode() + chosen).hexdigest()

    async def run(self, *, apply: bool) -> Report:
        """Import the archive and return the report. Errors: ImportRunning, MalformedArchive."""
        async with self._alone():
            return await (self._import() if apply else self._rehearse())

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Be the only import of this database, by a lock of a connection of its own, which ends with the process."""
        connection = await connections.connect(self._settings.listen_url, name="daysong import")
        try:
            if not await connection.fetchval("select pg_try_advisory_lock(hashtextextended($1, 0))", LOCK):
                raise ImportRunning
            yield
        finally:
            await connection.close()

    async def _import(self) -> Report:
        await self._database.mutate(self._stage_again)
        for step in STEPS:
            await self._apply(step)
        await self._database.mutate(self._finish)
        return await self._database.mutate(lambda tx: self._report(tx, applied=True))

    async def _rehearse(self) -> Report:
        """Import everything in one transaction, and roll it back."""
        report: list[Report] = []

        async def rehearse(tx: Transaction) -> None:
            for step in STEPS:
                tally = Tally()
                for lines in self._batches(step.table, 0):
                    await self._one(tx, step, tally, lines, None)
                await self._save(tx, step, 0, tally, done=True)
            report.append(await self._report(tx, applied=False))
            raise _RollBack

        with contextlib.suppress(_RollBack):
            await self._database.mutate(rehearse)
        return report[-1]

    async def _stage_again(self, tx: Transaction) -> None:
        """Have an import that was killed stage its users and files again: another import may have deleted them."""
        if not (await self._progress(tx, STEPS[-1]))[2]:
            await tx.execute(
                "delete from import_progress where archive = $1 and step = any($2)",
                self._digest, [step.name for step in STEPS if step.importer in STAGING],
            )  # fmt: skip

    async def _apply(self, step: Step) -> None:
        """Run a step from where it was left."""
        after, tally, done = await self._database.mutate(lambda tx: self._progress(tx, step))
        if done:
            return
        for lines in self._batches(step.table, after):

            async def work(tx: Transaction, lines: list[Line] = lines, before: Tally = tally) -> Tally:
                # A retried transaction begins with the tally as it was.
                counted = copy.deepcopy(before)
                await self._one(tx, step, counted, lines, self._files)
                await self._save(tx, step, lines[-1].number, counted, done=False)
                return counted

            tally = await self._database.mutate(work)
            after = lines[-1].number
        await self._database.mutate(lambda tx: self._save(tx, step, after, tally, done=True))
        if step.counted and step.table in self._archive.tables:
            self._tell(f"{step.table}: {tally.imported} imported of {tally.found}")

    def _batches(self, table: str, after: int) -> Iterator[list[Line]]:
        lines = self._archive.lines(table, after)
        while batch := list(itertools.islice(lines, AT_ONCE)):
            yield batch

    async def _one(self, tx: Transaction, step: Step, tally: Tally, lines: list[Line], files: FileStore | None) -> None:
        counted = tally if step.counted else Tally()
        batch = Batch(tx, self._settings, self._now, counted, lines, self._archive, files, self._only)
        try:
            await step.importer(batch)
        except BaseException:
            if files is not None:
                await files.delete(batch.stored)
            raise

    async def _progress(self, tx: Transaction, step: Step) -> tuple[int, Tally, bool]:
        row = await tx.fetchrow(
            "select line, tally, finished_at from import_progress where archive = $1 and step = $2",
            self._digest, step.name,
        )  # fmt: skip
        if row is None:
            return 0, Tally(), False
        return row["line"], msgspec.convert(row["tally"], Tally), row["finished_at"] is not None

    async def _save(self, tx: Transaction, step: Step, line: int, tally: Tally, *, done: bool) -> None:
        await tx.execute(
            """insert into import_progress (archive, step, line, tally, updated_at, finished_at)
               values ($1, $2, $3, $4, $5, $6)
               on conflict (archive, step) do update
                 set line = $3, tally = $4, updated_at = $5, finished_at = $6""",
            self._digest, step.name, line, msgspec.to_builtins(tally), self._now, self._now if done else None,
        )  # fmt: skip

    async def _finish(self, tx: Transaction) -> None:
        """Schedule what follows: RevenueCat is asked about every plan, and files are copied while vendors have them."""
        await tx.execute("delete from import_users")
        await tx.execute("delete from import_files")
        hour = int(self._now.timestamp() // 3600)
        for handler, args in (
            (reconcile_stale_subscriptions, NoArgs()),
            (songs.copy_imported_files, songs.CopyFiles()),
        ):
            await self._queue.schedule(
                tx, handler, args, due_at=self._now, delay=timedelta(0),
                key=f"import {self._digest[:16]} {handler.__name__} {hour}",
            )  # fmt: skip

    async def _report(self, tx: Transaction, *, applied: bool) -> Report:
        tables: dict[str, Tally] = {}
        for step in STEPS:
            if step.counted and step.table in self._archive.tables:
                _, tables[step.table], _ = await self._progress(tx, step)
        known = {step.table for step in STEPS} | SYSTEM
        stored = self._archive.stored
        ids = [*stored, *(videos.file_id_of(self._settings, one) for one in stored)]
        named = await tx.fetchval("select count(*) from files where id = any($1)", ids)
        unknown = sorted(self._archive.tables.keys() - known)
        return Report(tables, unknown, len(stored) - named, applied)


def as_text(report: Report) -> Iterator[str]:
    """Yield the report, a line for each table and problem."""
    yield "imported:" if report.applied else "nothing was written; with --apply this is imported:"
    for name, tally in report.tables.items():
        skipped: Any = sum(tally.skipped.values())
        yield (
            f"{name}: found {tally.found}, imported {tally.imported}, merged {tally.merged}, "
            f"there already {tally.known}, skipped {skipped}"
        )
        for reason, count in sorted(tally.skipped.items(), key=lambda item: -item[1]):
            yield f"    {count} skipped: {reason}"
        for problem in tally.problems:
            yield f"    line {problem.line}: {problem.reason}"
    if report.files:
        yield f"_storage: {report.files} files that no imported document names, left"
    for name in report.unknown:
        yield f"{name}: not known here, left"
