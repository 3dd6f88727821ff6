"""What the library takes, and why a song of another's is not available. No database."""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

from daysong.kernel.errors import ExpectedError

Ownership = Literal["owned", "shared"]
Unavailable = Literal["deleted", "unshared"]

# Songs of others in one library.
MOST_SHARED = 10_000


class ShareLinkNotFound(ExpectedError):
    """The link is unknown, revoked or private."""

    code = "share_link_not_found"
    status = 404
    default_message = "Share link not found or inactive"


class MusicNotAvailable(ExpectedError):
    """The song behind the link is deleted, or not ready."""

    code = "music_not_available"
    status = 409
    default_message = "Music not available"


class LibraryFull(ExpectedError):
    """The library has as many songs of others as it takes."""

    code = "library_full"
    status = 409
    default_message = "Your library is full. Please remove a song first."


class UserSongNotFound(ExpectedError):
    """No such song of another's in the caller's library."""

    code = "user_song_not_found"
    status = 404
    default_message = "Song not found in your library"


class NotAPrimaryTrack(ExpectedError):
    """The track is not the first of its song."""

    code = "not_a_primary_track"
    default_message = "Only musicIndex 0 tracks should be linked to userSongs"


def owner_key(hash_key: str, caller: str, owner: str) -> str:
    """Return a key for an owner, different for each caller, from which the owner's id cannot be found."""
    digest = hmac.digest(hash_key.encode(), f"owner {owner} for {caller}".encode(), hashlib.sha256)
    return f"owner_{digest[:10].hex()}"
