"""Removing files from our storage, once no row refers to them."""

from __future__ import annotations

from datetime import timedelta

from daysong.kernel.functions.context import ActionContext
from daysong.kernel.functions.declarations import Args, Retry, action
from daysong.kernel.limits.lanes import Lane
from daysong.vendors.storage import FileStore


class StoredFiles(Args):
    """Files in our storage, by id."""

    file_ids: list[str]


@action(retry=Retry(attempts=12, first=timedelta(seconds=5), longest=timedelta(hours=2)), lane=Lane.FILES)
async def remove_stored_files(ctx: ActionContext, args: StoredFiles) -> None:
    """Remove files from our storage. A job; missing files are ignored."""
    await ctx.vendor(FileStore).delete(args.file_ids)
