"""URLs of share pages and media files, as apps receive them."""

from __future__ import annotations

from typing import Literal

from daysong.kernel.keys import is_signature, signature
from daysong.kernel.settings import Settings

# The kind of signature of an owner's address.
OWN = "own media"


def media_url(settings: Settings, file_id: str | None, vendor_url: str | None) -> str | None:
    """Return the URL of a track's audio or cover: the stored copy, or the vendor's URL until there is one."""
    if not file_id:
        return vendor_url or None
    signed = f".{signature(settings.hash_key, OWN, file_id)}" if settings.media_redirect else ""
    return f"{settings.site_url}/media/{file_id}{signed}"


def opened_file(settings: Settings, name: str) -> str | None:
    """Return the id of the file that `/media/<name>` opens, None if it opens none.

    With MEDIA_REDIRECT the id alone is not enough: a listener of a share finds it in the bucket's address.
    """
    file_id, dot, signed = name.partition(".")
    if (dot or settings.media_redirect) and not is_signature(signed, settings.hash_keys, OWN, file_id):
        return None
    return file_id


def shared_media_url(settings: Settings, share_id: str, what: Literal["audio", "cover"]) -> str:
    """Return the URL of a shared track's audio or cover; it works while the share is open."""
    return f"{settings.site_url}/media/shared/{share_id}/{what}"


def share_url(settings: Settings, share_id: str) -> str:
    """Return the URL of a share page."""
    return f"{settings.share_base_url}/share/{share_id}"
