"""Checks whether a track's audio is playable, by fetching and parsing its beginning."""

from __future__ import annotations

import asyncio

import msgspec

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import ActionContext
from daysong.kernel.settings import Settings
from daysong.vendors.files import FileFetcher, FileHosts
from daysong.vendors.sound import HEAD, Sound, may_be_sound, recognized
from daysong.vendors.suno.answers import SunoTrack

log = logs.get_logger("songs")

MAX_AUDIO = 64 * 1024 * 1024


def fetchable(settings: Settings, track: SunoTrack) -> SunoTrack:
    """Return the track without URLs on hosts that files are not fetched from; apps must not get those either."""
    hosts = FileHosts(settings.suno.file_hosts, settings.trusted_origins)

    def allowed_url(url: str | None) -> str | None:
        return url if url and hosts.allows(url) else None

    allowed = msgspec.structs.replace(
        track,
        audio_url=next((url for url in track.audio_urls if hosts.allows(url)), None),
        audio_urls=tuple(url for url in track.audio_urls if hosts.allows(url)),
        stream_url=allowed_url(track.stream_url),
        image_url=allowed_url(track.image_url),
    )
    if (allowed.audio_urls, allowed.image_url) != (track.audio_urls, track.image_url):
        log.error("suno's file host not in SUNO_FILE_HOSTS")
    return allowed


async def playable(ctx: ActionContext, track: SunoTrack) -> SunoTrack | None:
    """Return the track with the first of its URLs that is a song; None when none is.

    VendorError when that cannot be determined now.
    """
    for url in fetchable(ctx.settings, track).audio_urls:
        sound = await _sound_at(ctx.vendor(FileFetcher), url)
        if sound is not None and sound.is_song:
            return msgspec.structs.replace(track, audio_url=url, duration=track.duration or sound.duration)
    return None


async def _sound_at(fetcher: FileFetcher, url: str) -> Sound | None:
    try:
        beginning = await fetcher.beginning(url, HEAD)
        # Parsing takes milliseconds, more for hostile bytes: not on the event loop.
        found = await asyncio.to_thread(recognized, beginning.content, beginning.size)
        if found is None and len(beginning.content) == HEAD and may_be_sound(beginning.content):
            whole = await fetcher.fetch(url, max_bytes=MAX_AUDIO)
            found = await asyncio.to_thread(recognized, whole.content)
    except VendorError as error:
        if error.permanent or error.code == "file_missing":
            return None
        raise
    return found
