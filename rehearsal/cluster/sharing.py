"""A shared song that its owner closes and opens again and again, and strangers who read it after each time.

A read that shows what was before an acknowledged change is stale, whether it was on the primary or on a standby.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx2

READERS = 4
PAUSE = 0.4  # seconds between two changes: LIMIT_WRITES_ACCOUNT allows four a second
SONG_WITHIN = 60.0  # seconds
WHERE = re.compile(
    r'^daysong_replica_reads_total\{.*\bname="sharing:getSharedMusic",place="(\w+)"\} (\S+)$', re.MULTILINE
)


@dataclass
class SharedReads:
    """How strangers' reads of the shared song ended."""

    changes: int = 0
    right: int = 0
    stale: int = 0
    failed: int = 0


class Share(NamedTuple):
    """A link: its id, and that of its row."""

    link: str
    row: str


class Sharing:
    """The owner of a shared song, and its readers."""

    def __init__(self, http: httpx2.AsyncClient, token: str) -> None:
        self._http = http
        self._token = token
        self._stopping = False
        self.reads = SharedReads()

    def stop(self) -> None:
        """Change and read no more."""
        self._stopping = True

    async def song(self) -> Share:
        """Make a song and share it."""
        await self._owner("action", "music:startDiaryMusicGeneration", content="I walked home in the rain")
        async with asyncio.timeout(SONG_WITHIN):
            while not (ready := [one for one in await self._playlist() if one["status"] == "ready"]):
                await asyncio.sleep(0.5)
        link = await self._owner("mutation", "sharing:createShareLink", musicId=ready[0]["_id"])
        [row] = await self._owner("query", "sharing:listSharedMusic")
        return Share(link["shareId"], row["_id"])

    async def change(self, share: Share) -> None:
        """Close the link and open it again, until stopped; after each change strangers read it."""
        is_private = False
        while not self._stopping:
            try:
                await self._owner(
                    "mutation", "sharing:setSharePrivacy", sharedMusicId=share.row, isPrivate=not is_private
                )
            except (httpx2.HTTPError, ValueError):
                # Done or not: asked again, until it is answered.
                await asyncio.sleep(PAUSE)
                continue
            is_private = not is_private
            self.reads.changes += 1
            await asyncio.gather(*(self._read(share, found=not is_private) for _ in range(READERS)))
            await asyncio.sleep(PAUSE)

    async def _playlist(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._owner("query", "music:listPlaylistMusic")
        return found

    async def _read(self, share: Share, *, found: bool) -> None:
        try:
            shown = (await self._call("query", "sharing:getSharedMusic", {"shareId": share.link}))["found"]
        except (httpx2.HTTPError, ValueError):
            self.reads.failed += 1
        else:
            self.reads.right += shown is found
            self.reads.stale += shown is not found

    async def _owner(self, kind: str, path: str, **args: Any) -> Any:
        return await self._call(kind, path, args, Authorization=f"Bearer {self._token}")

    async def _call(self, kind: str, path: str, args: dict[str, Any], **headers: str) -> Any:
        """Return a function's result. Errors: HTTPError, ValueError."""
        answer = await self._http.post(
            f"/api/{kind}",
            json={"path": path, "args": args, "format": "json"},
            headers={"X-Forwarded-For": "198.18.1.1", **headers},
        )
        said = answer.raise_for_status().json()
        if said["status"] != "success":
            raise ValueError(said)
        return said["value"]


async def places(metrics: list[str]) -> dict[str, int]:
    """Return how many of those reads went to a standby ("replica") and to the primary, by the servers' /metrics."""
    found = {"replica": 0, "primary": 0}
    async with httpx2.AsyncClient(trust_env=False) as http:
        for address in metrics:
            for place, count in WHERE.findall((await http.get(address)).raise_for_status().text):
                found[place] += int(float(count))
    return found
