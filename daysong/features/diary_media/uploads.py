"""Uploads: addresses for one file each, and what is recorded of a file that was sent to one.

    generateUploadUrl            an address, open for an hour
    POST to it                   transport/http/uploads.py: beginUpload, the file into the storage, finishUpload
    createDiaryMedia             an entry takes the file
    removeUnattached             a job: a file that no entry has taken within 24 hours is deleted

An address may be tried again after a failure. Of files that arrive there at the same time the first one stays.
"""

from __future__ import annotations

from daysong.features.diary_media import store
from daysong.features.diary_media.addresses import upload_address
from daysong.features.diary_media.rules import (
    DAY,
    KEPT_UNATTACHED,
    MAX_ATTEMPTS,
    MAX_OUTSTANDING,
    MAX_PER_DAY,
    OPEN_FOR,
    StorageLimitReached,
    TooManyUploads,
    UploadsOfDayUsed,
)
from daysong.features.stored_files import StoredFiles, remove_stored_files
from daysong.features.subscriptions import accounts
from daysong.features.users import store as users
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.functions.context import ActionContext, MutationContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, action, mutation
from daysong.kernel.ids import UploadId


class OneUpload(Args):
    """An upload address, by its id."""

    upload_id: IdText


class UploadedFile(Args):
    """A file that is in our storage, and the upload address it was sent to."""

    upload_id: IdText
    file_id: IdText
    content_type: str
    size: int


class OpenedUpload(Result):
    """How many bytes the account may still store."""

    storage_left: int


@action
async def generate_upload_url(ctx: ActionContext, args: NoArgs) -> str:
    """Return a URL for one upload within an hour: POST the bytes of a photo or a video there, without Authorization.

    The response is `{"storageId": "…"}`, for `createDiaryMedia`. Errors: TooManyUploads, UploadsOfDayUsed,
    StorageLimitReached.
    """
    return upload_address(ctx.settings, await ctx.run_mutation(issue_upload, args))


@mutation
async def issue_upload(ctx: MutationContext, args: NoArgs) -> str:  # noqa: ARG001
    """Open an upload address of the caller, and return its id."""
    owner = await accounts.of_caller(ctx)
    outstanding, begun = await store.counts(ctx.db, owner, ctx.now, ctx.now - DAY)
    if outstanding >= MAX_OUTSTANDING:
        raise TooManyUploads
    if begun >= MAX_PER_DAY:
        raise UploadsOfDayUsed
    if await store.storage_left(ctx, owner) <= 0:
        raise StorageLimitReached
    upload_id = UploadId.new(ctx.now)
    await ctx.db.execute(
        "insert into diary_uploads (id, user_id, created_at, expires_at) values ($1, $2, $3, $4)",
        upload_id, owner, ctx.now, ctx.now + OPEN_FOR,
    )  # fmt: skip
    return upload_id


@mutation
async def begin_upload(ctx: MutationContext, args: OneUpload) -> OpenedUpload | None:
    """Count an attempt to send a file; None when the address has expired, was used, or was tried too often.

    Errors: StorageLimitReached.
    """
    owner = await _owner(ctx.db, args.upload_id)
    if owner is None:
        return None
    counted = await ctx.db.fetchval(
        """update diary_uploads set attempts = attempts + 1
           where id = $1 and uploaded_at is null and expires_at > $2 and attempts < $3 returning true""",
        args.upload_id, ctx.now, MAX_ATTEMPTS,
    )  # fmt: skip
    if not counted:
        return None
    left = await store.storage_left(ctx, owner)
    if left <= 0:
        raise StorageLimitReached
    return OpenedUpload(storage_left=left)


@mutation
async def finish_upload(ctx: MutationContext, args: UploadedFile) -> bool:
    """Record an uploaded file; False when the account is gone or another file came first. It waits for an entry.

    Errors: StorageLimitReached.
    """
    owner = await _owner(ctx.db, args.upload_id)
    if owner is None or await ctx.db.fetchval(
        "select uploaded_at is not null from diary_uploads where id = $1", args.upload_id
    ):  # fmt: skip
        return False
    if await store.storage_left(ctx, owner) < args.size:
        raise StorageLimitReached
    await ctx.db.execute(
        """insert into files (id, user_id, content_type, size, private, created_at)
           values ($1, $2, $3, $4, true, $5)""",
        args.file_id, owner, args.content_type, args.size, ctx.now,
    )  # fmt: skip
    await ctx.db.execute(
        "update diary_uploads set file_id = $2, uploaded_at = $3 where id = $1", args.upload_id, args.file_id, ctx.now
    )
    await ctx.schedule(remove_unattached, OneUpload(upload_id=args.upload_id), delay=KEPT_UNATTACHED)
    return True


@mutation
async def remove_unattached(ctx: MutationContext, args: OneUpload) -> None:
    """Delete the file of an upload that no entry has taken. A job."""
    await _owner(ctx.db, args.upload_id)
    file_id = await ctx.db.fetchval(
        """delete from files f using diary_uploads u
           where u.id = $1 and u.attached_at is null and f.id = u.file_id returning f.id""",
        args.upload_id,
    )
    if file_id is not None:
        await ctx.schedule(remove_stored_files, StoredFiles(file_ids=[file_id]))


async def _owner(db: Transaction, upload_id: str) -> str | None:
    """Lock and return the account of an upload address; None when it is deleted or suspended, or nothing is known."""
    owner: str | None = await db.fetchval("select user_id from diary_uploads where id = $1", upload_id)
    if owner is None or not await users.lock_account(db, owner):
        return None
    is_open = await db.fetchval("select suspension is null from users where id = $1", owner)
    return owner if is_open else None
