"""The real Expo client against the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from daysong.kernel.errors import VendorError
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.time.clock import MovableClock
from daysong.sandbox.app import Sandbox
from daysong.sandbox.conftest import NOW, ORIGIN, failure, recorded, shape
from daysong.sandbox.expo.api import ERRORS
from daysong.vendors.expo.answers import Receipt
from daysong.vendors.expo.client import Expo, PushMessage

pytestmark = pytest.mark.anyio

ALICE, BOB = "ExponentPushToken[alices-phone]", "ExponentPushToken[bobs-phone]"


class Stage:
    """The sandbox, and the real client pointed at it."""

    def __init__(self, data_dir: Path) -> None:
        self.clock = MovableClock(NOW)
        self._http = httpx2.AsyncClient()
        self.sandbox = Sandbox(ORIGIN, data_dir=data_dir, http=self._http, clock=self.clock)
        self.wire = httpx2.ASGITransport(self.sandbox.asgi)
        self.client = Expo(self.sandbox.expo_settings(), transport=self.wire, timeout=1.0, clock=self.clock)
        self.http = httpx2.AsyncClient(transport=self.wire, base_url=f"{ORIGIN}/sandbox/expo/")

    async def fault(self, **faults: Any) -> None:
        (await self.http.post("faults", json=faults)).raise_for_status()

    async def notifications(self) -> list[Any]:
        found: list[Any] = (await self.http.get("notifications")).raise_for_status().json()
        return found

    async def close(self) -> None:
        await self.sandbox.close()
        await self.client.close()
        await self.http.aclose()
        await self._http.aclose()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    opened = Stage(tmp_path)
    yield opened
    await opened.close()


def message(to: str, **more: Any) -> PushMessage:
    return PushMessage(to=to, title="Your song is ready", body="Listen.", **more)


async def test_what_is_sent_is_shown_and_has_a_receipt(stage: Stage) -> None:
    """For a day; an unknown id has none."""
    first, second = await stage.client.send([message(ALICE), message(BOB)])
    assert [shown["to"] for shown in await stage.notifications()] == [ALICE, BOB]
    assert first.id
    assert second.id
    assert await stage.client.receipts([first.id, second.id, "other"]) == {first.id: Receipt(), second.id: Receipt()}
    stage.clock.move_to(NOW + timedelta(days=1, seconds=1))
    assert await stage.client.receipts([first.id]) == {}
    await stage.http.delete("notifications")
    assert await stage.notifications() == []


async def test_a_message_replaces_the_one_before_it(stage: Stage) -> None:
    """By its collapse id, on the same phone."""
    for to in (ALICE, ALICE, BOB):
        await stage.client.send([message(to, collapse_id="song 1")])
    assert [(shown["to"], shown["replaced"]) for shown in await stage.notifications()] == [(ALICE, 1), (BOB, 0)]


@pytest.mark.parametrize("error", ERRORS)
async def test_a_token_names_its_error(stage: Stage, error: str) -> None:
    """Of the ticket, or of the receipt; neither is shown."""
    tokens = [f"ExponentPushToken[{error}-1]", f"ExponentPushToken[receipt-{error}-1]", ALICE]
    refused, taken, fine = await stage.client.send([message(token) for token in tokens])
    assert refused.error == error
    assert taken.id
    assert fine.id
    receipts = await stage.client.receipts([taken.id, fine.id])
    assert [receipts[taken.id].error, receipts[fine.id].error] == [error, None]
    assert [shown["to"] for shown in await stage.notifications()] == [ALICE]


async def test_faults_are_on_for_every_token(stage: Stage) -> None:
    """Tickets, receipts, missing receipts, and answers that do not fit."""
    await stage.fault(ticket="InvalidCredentials")
    assert [ticket.error for ticket in await stage.client.send([message(ALICE)])] == ["InvalidCredentials"]
    await stage.fault(receipt="DeviceNotRegistered")
    [ticket] = await stage.client.send([message(ALICE)])
    assert ticket.id
    assert (await stage.client.receipts([ticket.id]))[ticket.id].failure == "unregistered"
    await stage.fault(receipts="missing")
    assert await stage.client.receipts([ticket.id]) == {}
    for fault in ({"answer": "short"}, {"answer": "garbage"}, {"drop": True}):
        await stage.fault(**fault)
        assert (await failure(stage.client.send([message(ALICE), message(BOB)]))).ambiguous
    for code in ("UNAUTHORIZED", "VALIDATION_ERROR"):
        await stage.fault(code=code)
        assert (await failure(stage.client.send([message(ALICE)]))).permanent
    await stage.fault(status=429)
    assert isinstance(await failure(stage.client.send([message(ALICE)])), Deferred)


async def test_tokens_of_another_project_are_sent_apart(stage: Stage) -> None:
    """A request with both is refused, and the client then sends two."""
    other = "ExponentPushToken[other-project-1]"
    assert all(ticket.id for ticket in await stage.client.send([message(ALICE), message(other), message(BOB)]))
    assert len(await stage.notifications()) == 3


async def test_only_the_access_token_opens_it(stage: Stage) -> None:
    """As with enhanced security."""
    settings = msgspec.structs.replace(stage.sandbox.expo_settings(), access_token="guess")
    stranger = Expo(settings, transport=stage.wire)
    with pytest.raises(VendorError) as refused:
        await stranger.send([message(ALICE)])
    assert refused.value.code == "UNAUTHORIZED"
    await stranger.close()


async def test_answers_have_the_shape_of_the_recorded_ones(stage: Stage) -> None:
    """Tickets, receipts, and errors of whole requests."""
    headers = {"Authorization": f"Bearer {stage.sandbox.expo_settings().access_token}"}

    async def asked(path: str, content: Any, status: int = 200) -> Any:
        answer = await stage.http.post(f"--/api/v2/push/{path}", json=content, headers=headers)
        assert answer.status_code == status
        return answer.json()

    plain = {"to": ALICE, "title": "a", "body": "b"}
    assert shape(await asked("send", [plain, plain])) == shape(recorded("expo/send-200-ok"))
    single = await asked("send", plain)
    assert shape(single) == shape(recorded("expo/send-200-single"))
    too_big = await asked("send", [plain | {"body": "b" * 5000}])
    assert shape(too_big) == shape(recorded("expo/send-200-message-too-big"))
    receipts = await asked("getReceipts", {"ids": [single["data"]["id"]]})
    assert shape(list(receipts["data"].values())) == shape([{"status": "ok"}])
    assert shape(await asked("getReceipts", {}, 400)) == shape(recorded("expo/receipts-400"))
    assert shape(await asked("send", [plain] * 101, 400)) == shape(recorded("expo/send-400-too-many"))
    assert shape(await asked("send", [{}], 400)) == shape(recorded("expo/send-400-validation"))
