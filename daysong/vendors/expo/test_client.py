"""Each recorded answer of Expo is understood, and each of its errors has its meaning."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
import structlog

from daysong.kernel.errors import VendorError
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.settings import ExpoSettings
from daysong.kernel.time.clock import MovableClock
from daysong.vendors.conftest import Answerer, fixture
from daysong.vendors.expo import client as expo
from daysong.vendors.expo.answers import Receipt, Ticket
from daysong.vendors.expo.client import Expo, PushMessage, is_token

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 20, tzinfo=UTC)
SETTINGS = ExpoSettings(base_url="http://expo.test", access_token="expo-secret")
TOKENS = [f"ExponentPushToken[xxxxxxxxxxxxxxxxxxxxx{number}]" for number in (1, 2)]
RECEIPT = "00000000-0000-4000-8000-00000000000"


@pytest.fixture
async def notifier(answerer: Answerer) -> AsyncIterator[Expo]:
    notifier = Expo(SETTINGS, transport=answerer.transport, clock=MovableClock(NOW))
    yield notifier
    await notifier.close()


def messages(count: int = 2) -> list[PushMessage]:
    """So many messages, to the two tokens of the recorded answers first."""
    tokens = TOKENS + [f"ExponentPushToken[{number:022}]" for number in range(count)]
    return [PushMessage(to=token, title="Your song is ready", body="Listen.") for token in tokens[:count]]


async def failure(notifier: Expo, count: int = 2) -> VendorError:
    with pytest.raises(VendorError) as caught:
        await notifier.send(messages(count))
    return caught.value


def alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client's log lines be captured."""
    monkeypatch.setattr(expo, "_log", structlog.get_logger())


async def test_messages_are_answered_by_tickets_in_order(notifier: Expo, answerer: Answerer) -> None:
    """One request has the messages; what is not set is left out."""
    answerer.will_answer(200, fixture("expo/send-200-ok.json"))
    assert await notifier.send(messages()) == [Ticket(id=f"{RECEIPT}1"), Ticket(id=f"{RECEIPT}2")]
    (asked,) = answerer.asked
    assert (asked.method, asked.path) == ("POST", "/--/api/v2/push/send")
    assert asked.headers["authorization"] == "Bearer expo-secret"
    assert asked.json() == [{"to": token, "title": "Your song is ready", "body": "Listen."} for token in TOKENS]


async def test_every_recorded_field_of_a_message_can_be_sent(notifier: Expo, answerer: Answerer) -> None:
    """As the recorded request has them."""
    answerer.will_answer(200, fixture("expo/send-200-single.json"))
    recorded = json.loads(fixture("expo/send-request.json").read_bytes())[0]
    names = {"channelId": "channel_id"}
    await notifier.send([PushMessage(**{names.get(name, name): value for name, value in recorded.items()})])
    assert answerer.asked[0].json() == [recorded]


async def test_without_an_access_token_none_is_sent(answerer: Answerer) -> None:
    """Projects without enhanced security need none."""
    answerer.will_answer(200, fixture("expo/send-200-ok.json"))
    notifier = Expo(ExpoSettings(base_url="http://expo.test"), transport=answerer.transport)
    await notifier.send(messages())
    await notifier.close()
    assert "authorization" not in answerer.asked[0].headers


async def test_a_single_ticket_may_come_without_a_list(notifier: Expo, answerer: Answerer) -> None:
    """One message, one ticket."""
    answerer.will_answer(200, fixture("expo/send-200-single.json"))
    assert await notifier.send(messages(1)) == [Ticket(id=f"{RECEIPT}1")]


async def test_larger_requests_are_compressed(notifier: Expo, answerer: Answerer) -> None:
    """Above one kilobyte, and up to a hundred messages; more are refused before they are sent."""
    answerer.will_answer(200, {"data": [{"status": "ok", "id": f"id{number}"} for number in range(100)]})
    tickets = await notifier.send(messages(100))
    assert [ticket.id for ticket in tickets] == [f"id{number}" for number in range(100)]
    (asked,) = answerer.asked
    assert asked.headers["content-encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(asked.body))) == 100
    with pytest.raises(ValueError, match="too many messages"):
        await notifier.send(messages(101))


@pytest.mark.parametrize(
    ("name", "ticket"),
    [
        ("send-200-invalid-credentials", Ticket(None, "InvalidCredentials", "configuration")),
        ("send-200-message-too-big", Ticket(None, "MessageTooBig", "too_big")),
    ],
)
async def test_a_ticket_of_our_own_fault_raises_an_alarm(
    notifier: Expo, answerer: Answerer, monkeypatch: pytest.MonkeyPatch, name: str, ticket: Ticket
) -> None:
    """Credentials and sizes are mended by people; neither says anything about the token."""
    answerer.will_answer(200, fixture(f"expo/{name}.json"))
    with structlog.testing.capture_logs() as lines:
        alarms(monkeypatch)
        assert await notifier.send(messages(1)) == [ticket]
    assert [line["code"] for line in lines if line["log_level"] == "error"] == [ticket.error]


@pytest.mark.parametrize(
    ("error", "failure_kind"),
    [
        ("DeviceNotRegistered", "unregistered"),
        ("MessageRateExceeded", "too_often"),
        ("MismatchSenderId", "configuration"),
        ("DeveloperError", "configuration"),
        ("ExpoError", "passing"),
        ("ProviderError", "passing"),
        ("SomethingNew", "passing"),
    ],
)
async def test_each_error_of_a_ticket_has_its_meaning(
    notifier: Expo, answerer: Answerer, error: str, failure_kind: str
) -> None:
    """Only one of them says that the device is gone."""
    told = {"status": "error", "message": "words with a token", "details": {"error": error}}
    answerer.will_answer(200, {"data": [told, {"status": "ok", "id": "one"}]})
    assert await notifier.send(messages()) == [Ticket(None, error, failure_kind), Ticket("one")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "name", "permanent", "alarmed"),
    [
        (400, "send-400-too-many", True, True),
        (400, "send-400-validation", True, True),
        (401, "send-401-unauthorized", True, True),
    ],
)
async def test_each_recorded_refusal_of_a_request_is_certain(
    notifier: Expo,
    answerer: Answerer,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    name: str,
    permanent: bool,
    alarmed: bool,
) -> None:
    """None of its messages was taken, and trying again does not help."""
    answerer.will_answer(status, fixture(f"expo/{name}.json"))
    with structlog.testing.capture_logs() as lines:
        alarms(monkeypatch)
        error = await failure(notifier)
    assert (error.permanent, error.ambiguous) == (permanent, False)
    assert error.code == json.loads(fixture(f"expo/{name}.json").read_bytes())["errors"][0]["code"]
    assert any(line["log_level"] == "error" for line in lines) is alarmed


async def test_too_many_requests_are_tried_later(notifier: Expo, answerer: Answerer) -> None:
    """After a second at least, or when Expo says; that is no failed attempt."""
    answerer.will_answer(429, fixture("expo/send-429.json"))
    answerer.will_answer(429, fixture("expo/send-429.json"), {"retry-after": "30"})
    for pause in (1.0, 30.0):
        error = await failure(notifier)
        assert isinstance(error, Deferred)
        assert (error.retry_after, error.ambiguous) == (pause, False)


@pytest.mark.parametrize(
    ("status", "body", "permanent", "ambiguous"),
    [
        (500, {"errors": [{"code": "INTERNAL_SERVER_ERROR", "message": "x"}]}, False, False),
        (200, {"errors": [{"code": "SOMETHING_NEW", "message": "x"}]}, False, False),
        (500, b"<html>", False, True),
        (502, b"<html>", False, True),
        (503, b"<html>", False, False),
        (504, b"<html>", False, True),
        (408, b"", False, True),
        (200, b"<html>", False, True),
        (200, {"data": []}, False, True),
        (200, {"data": [{"status": "ok", "id": "one"}]}, False, True),
        (200, {"data": [{"status": "ok"}, {"status": "ok", "id": 7}]}, False, True),
        (200, {"data": "one"}, False, True),
        (200, [], False, True),
        (413, b"", True, False),
        (403, b"", True, False),
    ],
)
async def test_what_may_have_been_taken_is_told_from_what_was_not(
    notifier: Expo, answerer: Answerer, status: int, body: Any, permanent: bool, ambiguous: bool
) -> None:
    """Expo's own word that a request failed is certain; a gateway's is not, nor an answer that cannot be read."""
    answerer.will_answer(status, body)
    error = await failure(notifier)
    assert (error.permanent, error.ambiguous) == (permanent, ambiguous)
    if not permanent and not ambiguous:
        assert error.retry_after == 1.0


async def test_messages_to_several_projects_are_sent_by_project(notifier: Expo, answerer: Answerer) -> None:
    """Nothing was taken, and the error says which token belongs where; the tickets keep the order of the messages."""
    answerer.will_answer(400, fixture("expo/send-400-too-many-experiences.json"))
    answerer.will_answer(200, {"data": [{"status": "ok", "id": "first"}]})
    answerer.will_answer(200, {"data": [{"status": "ok", "id": "second"}]})
    answerer.will_answer(502, b"")
    found = await notifier.send(messages(3))
    assert found == [Ticket("first"), Ticket("second"), Ticket(None, expo.LOST, "unknown")]
    assert [[message["to"] for message in asked.json()] for asked in answerer.asked[1:]] == [
        [message.to] for message in messages(3)
    ]


async def test_receipts_are_read_by_id(notifier: Expo, answerer: Answerer) -> None:
    """Each error with its meaning; those Expo does not have are missing."""
    answerer.will_answer(200, fixture("expo/receipts-200.json"))
    answerer.will_answer(200, fixture("expo/receipts-200-missing.json"))
    ids = json.loads(fixture("expo/receipts-request.json").read_bytes())["ids"]
    assert await notifier.receipts(ids) == {
        f"{RECEIPT}1": Receipt(),
        f"{RECEIPT}2": Receipt("DeviceNotRegistered", "unregistered"),
        f"{RECEIPT}3": Receipt("MessageTooBig", "too_big"),
        f"{RECEIPT}4": Receipt("MessageRateExceeded", "too_often"),
        f"{RECEIPT}5": Receipt("MismatchSenderId", "configuration"),
        f"{RECEIPT}6": Receipt("InvalidCredentials", "configuration"),
        f"{RECEIPT}7": Receipt("ProviderError", "passing"),
    }
    assert answerer.asked[0].json() == {"ids": ids}
    assert answerer.asked[0].path == "/--/api/v2/push/getReceipts"
    assert list(await notifier.receipts(ids)) == [f"{RECEIPT}1"]
    with pytest.raises(ValueError, match="too many ids"):
        await notifier.receipts(["id"] * 301)


@pytest.mark.parametrize(("status", "body"), [(400, "receipts-400"), (500, b""), (200, b"<html>"), (200, {"data": []})])
async def test_receipts_that_cannot_be_read_are_never_ambiguous(
    notifier: Expo, answerer: Answerer, status: int, body: Any
) -> None:
    """Asking again changes nothing."""
    answerer.will_answer(status, fixture(f"expo/{body}.json") if isinstance(body, str) else body)
    with pytest.raises(VendorError) as caught:
        await notifier.receipts(["id"])
    assert not caught.value.ambiguous
    assert caught.value.permanent is (status == 400)


async def test_at_most_six_requests_are_open_at_once() -> None:
    """As Expo asks of its clients."""
    opened, most = 0, 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal opened, most
        opened += 1
        most = max(most, opened)
        await asyncio.sleep(0.01)
        opened -= 1
        body = json.dumps({"data": {}}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    notifier = Expo(SETTINGS, transport=httpx2.ASGITransport(app))
    await asyncio.gather(*(notifier.receipts(["id"]) for _ in range(20)))
    await notifier.close()
    assert most == 6


class CountingLine:
    """Counts the turns that requests take."""

    def __init__(self) -> None:
        self.turns = 0

    async def wait(self) -> None:
        self.turns += 1

    async def hold(self, seconds: float) -> None:
        raise NotImplementedError


async def test_the_rate_counts_messages(answerer: Answerer) -> None:
    """600 a second are messages, not requests."""
    answerer.will_answer(200, {"data": [{"status": "ok", "id": f"id{number}"} for number in range(7)]})
    line = CountingLine()
    notifier = Expo(SETTINGS, transport=answerer.transport, line=line)  # type: ignore[arg-type]
    await notifier.send(messages(7))
    await notifier.close()
    assert line.turns == 7


@pytest.mark.parametrize(
    ("text", "well_formed"),
    [
        ("ExponentPushToken[xxxxxxxxxxxxxxxxxxxxxx]", True),
        ("ExpoPushToken[xxxxxxxxxxxxxxxxxxxxxx]", True),
        ("F5741A13-BCDA-434B-A316-5DC0E6FFA94F", True),
        ("ExponentPushToken[]", False),
        ("ExponentPushToken[xxxxxxxxxxxxxxxxxxxxxx]\n", False),
        ("ExponentPushToken[xxxxxxxxxxx\x00xxxxxxxxxx]", False),
        (f"ExponentPushToken[{'x' * 101}]", False),
        ("xxxxxxxxxxxxxxxxxxxxxx", False),
        ("", False),
    ],
)
def test_tokens_are_known_by_their_form(text: str, well_formed: bool) -> None:
    """The three forms that Expo's own libraries accept."""
    assert is_token(text) is well_formed
