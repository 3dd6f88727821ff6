"""URLs of share pages and media files, as apps receive them."""

from __future__ import annotations

from typing import Literal

from daysong.kernel.settings import Settings


def media_url(settings: Settings, file_id: str | None, vendor_url: str | None) -> str | None:
    """Return the URL of a track's audio or cover: the stored copy, or the vendor's URL until there is one."""
    return f"{settings.site_url}/media/{file_id}" if file_id else vendor_url or None


def shared_media_url(settings: Settings, share_id: str, what: Literal["audio", "cover"]) -> str:
    """Return the URL of a shared track's audio or cover; it works while the share is open."""
    return f"{settings.site_url}/media/shared/{share_id}/{what}"


def share_url(settings: Settings, share_id: str) -> str:
    """Return the URL of a share page."""
    return f"{settings.share_base_url}/share/{share_id}"
