"""What other sites and apps read of a share page, to show a preview of its link."""

from __future__ import annotations

from html import escape

from daysong.kernel.settings import Settings
from daysong.transport.pages.shared import Shared

EMBED_WIDTH, EMBED_HEIGHT = 480, 176


def description(song: Shared) -> str:
    """Return the sentence below the title."""
    return f"A song{f' by {song.user_name}' if song.user_name else ''}, made from a day in a diary."


def previews(settings: Settings, share_id: str, song: Shared) -> str:
    """Return the meta elements of Open Graph and of X."""
    address = f"{settings.share_base_url}/share/{share_id}"
    image = song.cover
    properties = {
        "og:type": "music.song",
        "og:site_name": "daysong",
        "og:title": song.title,
        "og:url": address,
        "og:description": description(song),
        "og:image": image,
        "og:image:width": f"{song.image_width:.0f}" if image and song.image_width else None,
        "og:image:height": f"{song.image_height:.0f}" if image and song.image_height else None,
        "og:audio": song.audio,
        "music:duration": str(int(song.duration)) if song.duration else None,
    }
    named = {
        "description": description(song),
        "twitter:card": "summary_large_image" if image else "summary",
    }
    lines = [f'<meta property="{name}" content="{escape(text)}">' for name, text in properties.items() if text]
    lines += [f'<meta name="{name}" content="{escape(text)}">' for name, text in named.items() if text]
    return "\n".join(lines)
