"""Addresses of our own pages and files, as they are handed out to apps."""

from __future__ import annotations

from typing import Literal

from daysong.kernel.settings import Settings


def media_url(settings: Settings, file_id: str | None, vendor_url: str | None) -> str | None:
    """Where a track's audio or cover is fetched: our own copy, or the vendor's until ours is there."""
    return f"{settings.site_url}/media/{file_id}" if file_id else vendor_url or None


def shared_media_url(settings: Settings, share_id: str, what: Literal["audio", "cover"]) -> str:
    """Where the audio or the cover behind a share is fetched, for as long as the share is open."""
    return f"{settings.site_url}/media/shared/{share_id}/{what}"


def share_url(settings: Settings, share_id: str) -> str:
    """The address of a share page."""
    return f"{settings.share_base_url}/share/{share_id}"
