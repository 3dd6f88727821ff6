"""Stored files that no row tells of: left behind when something was deleted while a copy of it was on its way."""

from __future__ import annotations

from datetime import timedelta

from daysong.kernel import logs
from daysong.kernel.functions.context import ActionContext, QueryContext
from daysong.kernel.functions.declarations import Args, query
from daysong.kernel.ids import FileId
from daysong.vendors.storage import FileStore

log = logs.get_logger("files")


# A file is stored a moment before its row is written, and that moment may last as long as a job is tried again.
SETTLED = timedelta(days=1)
# More of them than both are no leftovers: then this is not the storage of this database, and nothing is removed.
FEW = 100
SHARE = 0.1


class StoredIds(Args):
    """Files by id."""

    file_ids: list[str]


@query(reads=("files",))
async def files_without_row(ctx: QueryContext, args: StoredIds) -> list[str]:
    """Those of these files that no row tells of."""
    rows = await ctx.db.fetch(
        "select id from unnest($1::text[]) as stored(id) where not exists (select from files where id = stored.id)",
        args.file_ids,
    )
    return [row["id"] for row in rows]


async def remove_orphan_files(ctx: ActionContext) -> None:
    """Remove the files over a day old that no row tells of, unless there are suspiciously many."""
    store = ctx.vendor(FileStore)
    orphans: list[str] = []
    seen = 0
    async for page in store.list():
        ours = [file for file in page if file.key.startswith(f"{FileId.prefix}_")]
        seen += len(ours)
        old = [file.key for file in ours if file.stored_at < ctx.now - SETTLED]
        orphans += await ctx.run_query(files_without_row, StoredIds(file_ids=old)) if old else []
    if len(orphans) > max(FEW, SHARE * seen):
        log.error("too many files without a row, none is removed: another database's storage?", files=len(orphans))
        return
    await store.delete(orphans)
    if orphans:
        log.info("files without a row removed", files=len(orphans))
