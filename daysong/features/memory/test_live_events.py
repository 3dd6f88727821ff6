"""Subscribers of an entry receive its events once they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from rehearsal.sync_socket import SyncSocket
from rehearsal.world import Person, World, free_port

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """Serve the whole app on a port."""
    async with World(database_url, data_dir, NOW, port=free_port()) as whole:
        yield whole


async def test_events_and_people_appear_by_themselves(world: World, alice: Person) -> None:
    """Also for queries of a module with a slash in its name."""
    diary = await alice.mutation("diaries:createDiary", content="I met Anna.")
    queries = [("diaries:getDiary", {"diaryId": diary["_id"]}), ("memory/people:listPeople", {})]
    async with SyncSocket(world.origin) as socket:
        await socket.connect()
        await socket.authenticate(0, alice.headers["Authorization"].removeprefix("Bearer "))
        changes = [
            {"type": "Add", "queryId": number, "udfPath": path, "args": [args]}
            for number, (path, args) in enumerate(queries)
        ]
        await socket.send({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": changes})
        values = values_in(await socket.transition(1))
        assert (values[0]["events"], values[1]) == ([], [])
        await world.pass_time(timedelta(seconds=31))
        values = {}
        while len(values) < len(queries):
            values |= values_in(await socket.receive(lambda message: message["type"] == "Transition"))
        assert [event["title"] for event in values[0]["events"]] == ["I met Anna"]
        assert [person["primaryName"] for person in values[1]] == ["Anna"]


def values_in(transition: dict[str, Any]) -> dict[int, Any]:
    """Return the values of a transition by query."""
    return {change["queryId"]: change["value"] for change in transition["modifications"]}
