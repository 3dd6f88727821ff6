"""Parts that are switched off by MODULES, as clients, vendors and crons notice it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.declarations import Kind
from daysong.kernel.functions.registry import Registry
from daysong.kernel.parts import PARTS, empty_value
from daysong.surface import SURFACE
from daysong.transport.schedule import TIMETABLE, timetable
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

# Arguments of functions whose part is off: they are still checked first.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "blog:getBySlug": {"slug": "rain"},
    "blog:getDraftByPreviewToken": {"previewToken": "a-token"},
    "blog:incrementViewCount": {"postId": "post_1", "date": "2026-11-23"},
    "blog:listByTag": {"tag": "rain"},
    "callSettings:upsertCallSettings": {
        "phoneE164": "+14155550123", "timezone": "UTC", "timeOfDay": "09:00", "cadence": "daily", "active": True,
    },
    "emailNotify:addEmailNotification": {"email": "alice@example.test"},
    "events:getEvent": {"eventId": "event_1"},
    "events:updateEvent": {"eventId": "event_1"},
    "memory/people:generatePersonHighlight": {"personId": "person_1"},
    "memory/people:getPersonDetail": {"personId": "person_1"},
    "memory/people:mergePeople": {"personId": "person_1", "intoPersonId": "person_2"},
    "memory/people:updatePerson": {"personId": "person_1"},
    "pushNotifications:registerPushToken": {"token": "ExponentPushToken[aaaaaaaaaaaaaaaaaaaaaa]", "platform": "ios"},
    "videoActions:startVideoGeneration": {"musicId": "music_1"},
    "videos:getVideo": {"videoId": "video_1"},
    "videos:listVideosForMusic": {"musicId": "music_1"},
    "videos:setAsPrimaryVideo": {"videoId": "video_1"},
}  # fmt: skip


@pytest.fixture
async def bare(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """A world in which every part is off."""
    async with World(database_url, data_dir, NOW, {"MODULES": "none"}) as world:
        yield world


@pytest.fixture
async def dana(bare: World) -> Person:
    """A person with an account there."""
    return await bare.person("dana")


def switched(*, always: bool) -> list[tuple[str, Kind]]:
    """Return the public functions of parts: those that stay on, or those that do not."""
    registry = Registry(SURFACE)
    return [
        (function.identifier, function.kind)
        for module in SURFACE
        if module.part is not None
        for function in (registry.of(one.handler) for one in module.public)
        if (function.handler in module.always) is always
    ]


async def test_g65_of_what_is_off_queries_are_empty_and_the_rest_says_so(bare: World, dana: Person) -> None:
    """Each public function of a part, over HTTP: an empty value, or the error `part_is_off`."""
    for name, kind in switched(always=False):
        args = ARGUMENTS.get(name, {})
        if kind is Kind.QUERY:
            found = await dana.query(name, **args)
            assert found in (None, []) or set(found.values()) == {0}, name
        else:
            with pytest.raises(FunctionError) as refused:
                await dana.call(kind.value.lower(), name, args)
            assert refused.value.code == "part_is_off", name
    assert [plan["tier"] for plan in await dana.query("billing:getPlans")] == ["free"]
    assert (await dana.query("billing:getCurrentUserStatus"))["tier"] == "free"
    assert (await dana.query("callJobs:getDashboardStats"))["totalCalls"] == 0
    assert (await dana.query("featureFlags:getUserFlags")) == {"event-extraction": False}
    user_id = await bare.db.pool.fetchval("select id from users where clerk_id = 'user_dana'")
    shown = await bare.app.call("support/people:showPerson", {"userId": user_id}, caller=SYSTEM)
    assert shown.flags == {"event-extraction": False}
    assert (await dana.action("usage:checkUsageWithReconciliation"))["canGenerate"] is True
    assert await bare.asked("revenuecat") == []


async def test_g65_a_song_is_made_without_any_part(bare: World, dana: Person) -> None:
    """Songs need none of them: no events are read from the entry, and no notification is sent."""
    assert (await dana.song())["status"] == "ready"
    assert await bare.asked("expo") == []
    assert {call["path"] for call in await bare.asked("openai")} <= {"/v1/chat/completions"}
    assert await bare.db.pool.fetchval("select count(*) from readings") == 0
    assert await bare.db.pool.fetchval("select count(*) from push_occasions") == 0


async def test_g65_webhooks_of_what_is_off_have_no_address(bare: World) -> None:
    """Clerk's and Suno's are always there; documents list what is on alone."""
    for path, status in (("revenuecat-webhook", 404), ("vapi-webhook", 404), ("clerk-webhook", 401)):
        assert (await bare.http.post(f"/http/{path}", json={})).status_code == status
    document = (await bare.http.get("/openapi.json")).json()
    described = str(document["paths"].keys())
    assert "diaries" in described
    assert "callSettings" not in described


async def test_g65_no_call_is_placed_while_phone_is_off(world: World, alice: Person) -> None:
    """A call that was due when the part was switched off is canceled with a reason that its owner reads."""
    await alice.mutation("callSettings:upsertCallSettings", **ARGUMENTS["callSettings:upsertCallSettings"])
    await alice.mutation("callSettings:sendTestCall")
    world.app.runtime.settings = type(world.settings)(
        **{name: getattr(world.settings, name) for name in world.settings.__struct_fields__} | {"parts": ()}
    )
    await world.settle()
    [call] = await alice.query("callJobs:getCallJobs")
    assert (call["status"], call["errorCode"]) == ("canceled", "not_configured")
    assert [one for one in await world.asked("vapi") if one["method"] == "POST"] == []


def test_g65_crons_that_begin_work_of_a_part_are_off_with_it() -> None:
    """Those that end what was begun stay: no call stays open, and no video without its refund."""
    assert timetable() == TIMETABLE
    gone = {cron.name for cron in TIMETABLE} - {cron.name for cron in timetable(PARTS)}
    assert gone == {"call-executor", "call-replanner", "revenuecat-reconciliation"}


def test_g65_every_query_of_a_part_has_an_empty_value() -> None:
    """A new query whose result has none fails here, and not when an operator switches its part off."""
    for name, kind in switched(always=False):
        if kind is Kind.QUERY:
            empty_value(Registry(SURFACE).named(name).result_type)  # type: ignore[union-attr]
