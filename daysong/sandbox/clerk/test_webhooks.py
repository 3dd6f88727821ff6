"""The sandboxed Clerk's webhooks: shaped like the recorded ones, and faulty on demand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from daysong.sandbox.conftest import NOW, recorded, shape
from rehearsal.world import World

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """The whole app, and not only the sandbox."""
    async with World(database_url, tmp_path, NOW) as whole:
        yield whole


async def messages(world: World) -> list[dict[str, Any]]:
    """Return every webhook so far."""
    found: list[dict[str, Any]] = (await world.http.get("/sandbox/clerk/webhooks")).json()
    return found


async def outcomes(world: World) -> list[str]:
    """Return the outcomes of those that arrived."""
    rows = await world.db.pool.fetch("select outcome from webhook_events order by id")
    return [row["outcome"] for row in rows]


async def a_life(world: World) -> None:
    """A user signs in for the first time, changes something, signs out, and is deleted."""
    await world.steer("clerk", "sign-in", sub="user_eve", email="eve@example.test", name="Eve Ernst")
    await world.settle()
    await world.steer("clerk", "update", sub="user_eve", name="Eve Eich", phone="+12125551234")
    await world.settle()
    await world.steer("clerk", "sign-out", sub="user_eve")
    await world.settle()
    await world.steer("clerk", "delete", sub="user_eve")
    await world.settle()


async def test_nothing_is_told_unless_asked_for(world: World) -> None:
    """A test has only the webhooks it sends."""
    await world.person("eve")
    await world.settle()
    assert await messages(world) == []


async def test_all_that_happens_is_told_once_it_is_asked_for(world: World) -> None:
    """In order, each accepted by the app."""
    await world.steer("clerk", "webhooks", automatic=True)
    await a_life(world)
    told = await messages(world)
    assert [one["type"] for one in told] == [
        "user.created", "session.created", "user.updated", "session.ended", "user.deleted"
    ]  # fmt: skip
    assert {one["status"] for one in told} == {200}


async def test_webhooks_are_shaped_like_the_recorded_ones(world: World) -> None:
    """The same names, none missing."""
    await world.steer("clerk", "webhooks", automatic=True)
    await a_life(world)
    for one in await messages(world):
        ours, theirs = json.loads(one["body"]), recorded(f"clerk/webhook-{one['type'].replace('.', '-')}")
        assert set(ours) == set(theirs)
        assert set(ours["data"]) == set(theirs["data"]), one["type"]
        if one["type"] == "user.created":
            mine, known = ours["data"]["email_addresses"][0], theirs["data"]["email_addresses"][0]
            assert set(mine) == set(known)
            assert shape(mine["verification"]).keys() == shape(known["verification"]).keys()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("lost", []),
        ("duplicated", ["created", "not used"]),
        ("reordered", ["not used", "created"]),
        ("bad_signature", []),
    ],
)
async def test_webhooks_can_be_spoilt(world: World, fault: str, told: list[str]) -> None:
    """The app handles each fault as it should."""
    await world.steer("clerk", "webhooks", automatic=True)
    await world.fault("clerk", webhooks=fault)
    await world.steer("clerk", "sign-in", sub="user_eve")
    await world.settle()
    assert await outcomes(world) == told
    if fault == "bad_signature":
        assert {one["status"] for one in await messages(world)} == {401}


async def test_webhooks_can_be_sent_and_redelivered_by_hand(world: World) -> None:
    """Any message Clerk might send; a redelivery has the same id."""
    sent = await world.steer("clerk", "send", type="user.created", data={"id": "user_eve", "email_addresses": []})
    again = await world.steer("clerk", "redeliver", svixId=sent["svixId"])
    assert [one["svixId"] for one in again] == [sent["svixId"]]
    await world.settle()
    assert await outcomes(world) == ["created"]


@pytest.mark.parametrize("what", ["update", "delete", "sign-out"])
async def test_strangers_cannot_be_changed(world: World, what: str) -> None:
    """404, as Clerk's Backend API."""
    assert (await world.http.post(f"/sandbox/clerk/{what}", json={"sub": "user_x"})).status_code == 404
    assert (await world.http.post(f"/sandbox/clerk/{what}", json={"who": "x"})).status_code == 400
