"""The first song with the PyPI client "convex", live over a WebSocket.

pip install convex
DAYSONG_URL=http://127.0.0.1:8000 DAYSONG_TOKEN=… python examples/first_song.py "I walked home in the rain"
"""

from __future__ import annotations

import os
import sys

from convex import ConvexClient, ConvexError


def main(entry: str) -> str:
    """Return title and address of the song of an entry."""
    client = ConvexClient(os.environ["DAYSONG_URL"])
    client.set_auth(os.environ["DAYSONG_TOKEN"])
    started = client.action("music:startDiaryMusicGeneration", {"content": entry})
    # Yields the first result, and a new one each time it changes.
    for songs in client.subscribe("music:listPlaylistMusic"):
        song = next((one for one in songs if one.get("diaryId") == started["diaryId"]), None)
        if song is not None and song["status"] == "ready":
            return f"{song['title']} {song['audioUrl']}"
        if song is not None and song["status"] == "failed":
            raise SystemExit(song["reason"])
    raise SystemExit("the subscription ended")


if __name__ == "__main__":
    try:
        print(main(sys.argv[1] if len(sys.argv) > 1 else "I walked home in the rain"))
    except ConvexError as error:
        # What a user can act on has a code; see docs/FUNCTIONS.md for those of each function.
        sys.exit(f"{error.data['code']}: {error.data['message']}" if isinstance(error.data, dict) else str(error))
