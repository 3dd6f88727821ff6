"""Signed addresses: one to upload a file to, and those that a photo or a video is fetched from.

/uploads/<upload id>/<signature>                           open as long as the row in `diary_uploads` says
/media/private/<file id>?expires=<second>&signature=<…>    good until then, as long as an entry has the file

The signature is the authorization: any client with an address may use it, as browsers and vendors send no header.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from daysong.features.diary_media.store import FIRST_PHOTO_SQL
from daysong.kernel.database.transactions import Reader
from daysong.kernel.keys import is_signature, signature
from daysong.kernel.settings import Settings

# An address holds for this time at least, and an hour more at most: within an hour a query shows the same address, so
# that an app need not fetch a photo again each time the query is rerun.
GOOD_FOR = timedelta(hours=24)
GOOD_FOR_VENDORS = timedelta(hours=1)
HOUR = 3600
LONGEST_SECOND = 12  # digits


def upload_address(settings: Settings, upload_id: str) -> str:
    """Return the address that a file is uploaded to."""
    return f"{settings.site_url}/uploads/{upload_id}/{signature(settings.hash_key, 'upload', upload_id)}"


def is_upload_address(settings: Settings, upload_id: str, given: str) -> bool:
    """Return whether we have signed an upload address."""
    return is_signature(given, settings.hash_keys, "upload", upload_id)


def media_address(settings: Settings, file_id: str, now: datetime) -> str:
    """Return the address of a photo or a video, good for 24 hours."""
    return _media_address(settings, file_id, _next_hour(now) + int(GOOD_FOR.total_seconds()))


def addresses_hold_until(now: datetime) -> datetime:
    """Return until when `media_address` returns the same address."""
    return datetime.fromtimestamp(_next_hour(now), UTC)


def _next_hour(now: datetime) -> int:
    return (int(now.timestamp()) // HOUR + 1) * HOUR


def is_media_address(settings: Settings, file_id: str, expires: str, given: str, now: datetime) -> bool:
    """Return whether we have signed the address of a file, and it has not expired."""
    if not (expires.isascii() and expires.isdecimal() and len(expires) <= LONGEST_SECOND):
        return False
    is_signed = is_signature(given, settings.hash_keys, "media", f"{file_id} {expires}")
    return is_signed and now.timestamp() < int(expires)


async def photo_address_for_vendor(db: Reader, settings: Settings, diary_id: str, now: datetime) -> str | None:
    """Return an address of the entry's first photo, good for an hour; None without a photo that vendors can read.

    Those are JPEG, PNG and WebP of at most 10 MB.
    """
    file_id = await db.fetchval(FIRST_PHOTO_SQL, diary_id)
    if file_id is None:
        return None
    return _media_address(settings, file_id, int((now + GOOD_FOR_VENDORS).timestamp()))


def _media_address(settings: Settings, file_id: str, expires: int) -> str:
    signed = signature(settings.hash_key, "media", f"{file_id} {expires}")
    return f"{settings.site_url}/media/private/{file_id}?expires={expires}&signature={signed}"
