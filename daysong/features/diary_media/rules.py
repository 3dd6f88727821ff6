"""How many photos and videos there may be, how large they may be, and how long an upload may wait."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from daysong.features.subscriptions.rules import Tier
from daysong.kernel.errors import ExpectedError

MIB = 2**20

MAX_PHOTO = 25 * MIB
MAX_VIDEO = 250 * MIB
MAX_PER_ENTRY = 30

# Of one account: uploads whose address is open or whose file waits for an entry, and addresses given out in a day.
MAX_OUTSTANDING = 20
MAX_PER_DAY = 200
DAY = timedelta(days=1)

# How long an upload address is open, how often it may be tried, and how long its file waits for an entry.
OPEN_FOR = timedelta(hours=1)
MAX_ATTEMPTS = 5
KEPT_UNATTACHED = timedelta(hours=24)

# MiB of photos and videos by plan; MEDIA_STORAGE overrides them.
STORAGE: Mapping[Tier, int] = {"free": 500, "weekly": 20 * 1024, "monthly": 20 * 1024, "yearly": 20 * 1024}


class MediaNotFound(ExpectedError):
    """No such photo or video; or no such upload of the caller, or an entry has it already."""

    code = "media_not_found"
    status = 404
    default_message = "Media not found"


class TooManyMedia(ExpectedError):
    """The entry has 30 photos and videos."""

    code = "too_many_media"
    default_message = f"An entry can have at most {MAX_PER_ENTRY} photos and videos."


class StorageLimitReached(ExpectedError):
    """The photos and videos of the account fill the storage of its plan."""

    code = "storage_limit_reached"
    status = 413
    default_message = "You have used all your storage."


class TooManyUploads(ExpectedError):
    """20 uploads of the caller are outstanding."""

    code = "too_many_uploads"
    status = 429
    default_message = f"You have begun {MAX_OUTSTANDING} uploads. Please finish them before you begin more."


class UploadsOfDayUsed(ExpectedError):
    """The caller has begun 200 uploads within a day."""

    code = "daily_uploads_reached"
    status = 429
    default_message = "You have uploaded a lot today. Please try again tomorrow."


def storage_of(tier: Tier, overrides: Mapping[Tier, int]) -> int:
    """Return how many bytes of photos and videos a plan includes."""
    return overrides.get(tier, STORAGE[tier]) * MIB


def largest(content_type: str) -> int:
    """Return how many bytes a file of that type may have."""
    return MAX_VIDEO if content_type.startswith("video/") else MAX_PHOTO
