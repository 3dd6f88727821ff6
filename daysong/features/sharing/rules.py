"""Share ids, and what keeps a song from being shared."""

from __future__ import annotations

import secrets

from daysong.kernel.errors import ExpectedError

# No character that could be taken for another: without 0, O, 1, I and l.
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
LENGTH = 10


class NotYoursToShare(ExpectedError):
    """The track is another person's."""

    code = "not_authorized_to_share"
    status = 403
    default_message = "Not authorized to share this music"


class DeletedMusic(ExpectedError):
    """The track was deleted."""

    code = "music_deleted"
    default_message = "Cannot share deleted music"


class MusicNotReady(ExpectedError):
    """The track is still being made, or failed."""

    code = "music_not_ready"
    status = 409
    default_message = "Music is not ready to be shared"


class ShareNotFound(ExpectedError):
    """No such share of the caller; another's looks exactly like one that does not exist."""

    code = "share_not_found"
    status = 404
    default_message = "Share not found"


def new_share_id() -> str:
    """Ten characters nobody can guess."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
