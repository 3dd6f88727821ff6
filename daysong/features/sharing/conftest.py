"""Alice's song and its share."""

from __future__ import annotations

from typing import Any

import pytest

from daysong.kernel.functions.context import Caller
from rehearsal import library
from rehearsal.library import Song
from rehearsal.world import Person, World, viewer_of


@pytest.fixture
async def song(world: World, alice: Person) -> Song:
    """A finished song of Alice's."""
    [song] = await library.fill(world, "alice", 1)
    return song


class Shared:
    """Alice's song, shared; and short ways to look at it from every side."""

    def __init__(self, alice: Person, link: dict[str, str]) -> None:
        self._alice = alice
        self.share_id, self.url = link["shareId"], link["shareUrl"]

    async def row(self) -> Any:
        """How its owner sees it."""
        [row] = [row for row in await self._alice.query("sharing:listSharedMusic") if row["shareId"] == self.share_id]
        return row

    async def views(self) -> int:
        """How often it was looked at."""
        return int((await self.row())["viewCount"])

    async def seen_by(self, person: Person) -> bool:
        """Whether there is something behind the link."""
        return bool((await person.query("sharing:getSharedMusic", shareId=self.share_id))["found"])


@pytest.fixture
async def shared(alice: Person, song: Song) -> Shared:
    """The song behind a link."""
    return Shared(alice, await alice.mutation("sharing:createShareLink", musicId=song.music_id))


async def view_from(world: World, shared: Shared, address: str, times: int = 1) -> None:
    """Record the view of an anonymous caller at that address."""
    scope: Any = {"client": (address, 5000)}
    viewer = viewer_of(scope, world.clock.now(), world.settings.hash_key)
    for _ in range(times):
        args = {"shareId": shared.share_id}
        await world.app.call("sharing:recordShareView", args, caller=Caller(viewer=viewer))
