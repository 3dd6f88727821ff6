"""Share ids, and what keeps a song from being shared."""

from __future__ import annotations

import re
import secrets

from daysong.kernel.errors import ExpectedError
from daysong.kernel.visible import shows, trimmed

# No character that could be taken for another: without 0, O, 1, I and l.
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# Those of imported links, too.
SHARE_ID = re.compile(r"[0-9A-Za-z_-]{4,64}")
LENGTH = 10

UNTITLED = "Untitled Track"
LONGEST_NAME = 40
# What of a track and its owner must be so for a share to show it; `s`, `m` and `u` are their rows.
OPEN_SQL = "not s.is_private and m.deleted_at is null and m.status = 'ready' and u.deleted_at is null"


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


def shown_title(title: str | None) -> str:
    """The title of a shared song; "Untitled Track" where there is none to be seen."""
    return trimmed(title or "") or UNTITLED


def shown_name(name: str | None) -> str | None:
    """What strangers see of an owner's name: its first word; None when there is none to be seen."""
    first = next((word for word in (name or "").split() if shows(word)), None)
    return None if first is None else trimmed(first)[:LONGEST_NAME]


def new_share_id() -> str:
    """Return ten random characters."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def is_share_id(text: str) -> bool:
    """Whether a text can be the id in a link: one of ours, or one of the earlier backend's."""
    return SHARE_ID.fullmatch(text) is not None
