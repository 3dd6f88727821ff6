"""Deletes orphan files: stored files without a row, left when a row was deleted while its file was being copied."""

from __future__ import annotations

from datetime import timedelta

from daysong.kernel import logs
from daysong.kernel.functions.context import ActionContext, QueryContext
from daysong.kernel.functions.declarations import Args, query
from daysong.kernel.ids import FileId
from daysong.vendors.storage import INCOMING, FileStore

log = logs.get_logger("files")

# A file is stored before its row is inserted, and the job in between may be retried for hours.
MIN_AGE = timedelta(days=1)
# With more orphans than both, the storage probably belongs to another database, and nothing is deleted.
MAX_ORPHANS = 100
MAX_ORPHAN_SHARE = 0.1


class StoredIds(Args):
    """Ids of stored files."""

    file_ids: list[str]


@query(reads=("files",))
async def files_without_row(ctx: QueryContext, args: StoredIds) -> list[str]:
    """Return those of the files that have no row."""
    rows = await ctx.db.fetch(
        "select id from unnest($1::text[]) as stored(id) where not exists (select from files where id = stored.id)",
        args.file_ids,
    )
    return [row["id"] for row in rows]


async def remove_orphan_files(ctx: ActionContext) -> None:
    """Delete orphan files that are over a day old, unless there are suspiciously many."""
    store = ctx.vendor(FileStore)
    orphans: list[str] = []
    unfinished: list[str] = []
    seen = 0
    async for page in store.list():
        unfinished += [
            file.key for file in page
            if file.key.startswith(f"{INCOMING}/") and file.stored_at < ctx.now - MIN_AGE
        ]  # fmt: skip
        ours = [file for file in page if file.key.startswith(f"{FileId.prefix}_")]
        seen += len(ours)
        old = [file.key for file in ours if file.stored_at < ctx.now - MIN_AGE]
        orphans += await ctx.run_query(files_without_row, StoredIds(file_ids=old)) if old else []
    # Uploads that were interrupted by the end of a process.
    await store.delete(unfinished)
    if len(orphans) > max(MAX_ORPHANS, MAX_ORPHAN_SHARE * seen):
        log.error(
            "too many files without a row, none removed: storage of another database?",
            files=len(orphans),
        )
        return
    await store.delete(orphans)
    if orphans:
        log.info("files without a row removed", files=len(orphans))
