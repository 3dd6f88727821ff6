"""Clerk's webhooks, posted to the real route: each recorded one twice, in any order, and with a wrong signature."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks import Webhook

from daysong.kernel.inbox import MAX_BODY
from daysong.kernel.time.clock import to_ms
from rehearsal.world import FunctionError, World

pytestmark = pytest.mark.anyio

FIXTURES = Path(__file__).parent.parent.parent / "vendors" / "clerk" / "fixtures"
NAMES = sorted(path.stem.removeprefix("webhook-") for path in FIXTURES.glob("webhook-*.json"))
CLERK_ID = "user_2aaaaaaaaaaaaaaaaaaaaaaaaa1"
WRONG_SECRET = "whsec_c29tZWJvZHkgZWxzZSdz"


def payload(name: str) -> dict[str, Any]:
    """A recorded webhook."""
    body: dict[str, Any] = json.loads((FIXTURES / f"webhook-{name}.json").read_bytes())
    return body


def signing_secret(world: World) -> str:
    """The secret with which Clerk signs."""
    secret = world.settings.clerk.webhook_signing_secret
    assert secret is not None
    return secret


async def post(
    world: World, body: dict[str, Any] | bytes, message_id: str, *, secret: str | None = None, **headers: str
) -> httpx2.Response:
    """Post a webhook as Svix does, and run the jobs that it schedules."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    now = world.clock.now()
    signature = Webhook(secret or signing_secret(world)).sign(message_id, now, content.decode("utf-8", "replace"))
    signed = {"svix-id": message_id, "svix-timestamp": str(int(now.timestamp())), "svix-signature": signature}
    answer = await world.http.post(
        "/http/clerk-webhook", content=content, headers={"content-type": "application/json"} | signed | headers
    )
    await world.app.worker.drain(until=None, clock=world.clock)
    return answer


async def users(world: World) -> list[tuple[str | None, str | None, bool]]:
    """All users: e-mail, name, and whether they have a subscription row."""
    rows = await world.db.pool.fetch(
        "select email, name, exists (select from subscriptions s where s.user_id = u.id) as plan from users u"
    )
    return [(row["email"], row["name"], row["plan"]) for row in rows]


SAMPLE = ("sample.person@example.com", "Sample Person", True)
EFFECTS: dict[str, tuple[list[Any], list[Any], str]] = {
    # The users afterwards, without and with an account before; and the outcome without one.
    "user-created": ([SAMPLE], [SAMPLE], "created"),
    "user-created-email-code": ([SAMPLE], [SAMPLE], "created"),
    "user-created-timestamp-seconds": ([SAMPLE], [SAMPLE], "created"),
    "user-created-no-email-no-name": ([(None, None, True)], [(None, None, True)], "created"),
    "user-updated": (
        [("second@example.com", "Renamed Person", True)], [("second@example.com", "Renamed Person", True)], "created"
    ),
    "user-updated-banned": ([SAMPLE], [SAMPLE], "created"),
    "user-deleted": ([], [], "unknown user"),
    "user-deleted-external-id": ([], [], "unknown user"),
    "user-deleted-no-id": ([], [("old@example.com", "Old Name", True)], "names no user"),
}  # fmt: skip


async def existing_user(world: World) -> None:
    """Create the account of the recorded webhooks' user, with an older name."""
    await world.app.call("users:ensureCurrentUser", caller=world.acting_as(CLERK_ID, "old@example.com", "Old Name"))


@pytest.mark.parametrize("known_before", [False, True], ids=["stranger", "existing_user"])
@pytest.mark.parametrize("name", NAMES)
async def test_every_recorded_webhook_is_applied_once(world: World, name: str, known_before: bool) -> None:
    """A redelivered message is one event with one effect; one with a wrong signature is refused."""
    if known_before:
        await existing_user(world)
    before = await users(world)
    refused = await post(world, payload(name), "msg_1", secret=WRONG_SECRET)
    assert refused.status_code == httpx2.codes.UNAUTHORIZED
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0
    assert await users(world) == before

    new_user, known_user, outcome = EFFECTS.get(name, ([], [("old@example.com", "Old Name", True)], "not used"))
    for _ in range(2):
        assert (await post(world, payload(name), "msg_1")).status_code == httpx2.codes.OK
        assert await users(world) == (known_user if known_before else new_user)
    events = await world.db.pool.fetch("select type, outcome, handled_at from webhook_events")
    if name in {"user-deleted", "user-deleted-external-id"} and known_before:
        # The event is erased with its user. The redelivery leaves an event without the user's id.
        assert await world.db.pool.fetchval("select count(*) from webhook_events where body ~ 'user_'") == 0
        return
    [event] = events
    assert event["type"] == payload(name)["type"]
    assert event["handled_at"] is not None
    if not known_before:
        assert event["outcome"] == outcome


async def test_codes_and_addresses_are_not_stored(world: World) -> None:
    """Of events that no handler reads, only type and id are stored."""
    for number, name in enumerate(("sms-created", "session-created", "session-revoked")):
        await post(world, payload(name), f"msg_{number}")
    bodies = [row["body"] for row in await world.db.pool.fetch("select body from webhook_events order by id")]
    assert json.loads(bodies[0]) == {"type": "sms.created", "data": {"id": payload("sms-created")["data"]["id"]}}
    for secret in ("is your code", "+1202555", "203.0.113", "sample.person", CLERK_ID):
        assert not any(secret in body for body in bodies), secret


async def test_f02_events_are_applied_in_the_order_of_their_changes(world: World) -> None:
    """A creation after an update, or an update after a later one, has no effect."""
    await post(world, payload("user-updated"), "msg_2")
    renamed = [("second@example.com", "Renamed Person", True)]
    assert await users(world) == renamed
    for message, name in (("msg_1", "user-created"), ("msg_0", "user-created-timestamp-seconds")):
        assert (await post(world, payload(name), message)).status_code == httpx2.codes.OK
        assert await users(world) == renamed
    await post(world, payload("user-updated-banned"), "msg_3")
    assert await users(world) == [SAMPLE]
    await post(world, payload("user-updated"), "msg_4")
    assert await users(world) == [SAMPLE]
    outcomes = [row["outcome"] for row in await world.db.pool.fetch("select outcome from webhook_events order by id")]
    assert outcomes == ["created", "nothing new", "nothing new", "updated", "nothing new"]


async def test_of_two_events_with_the_same_time_of_change_the_later_sent_wins(world: World) -> None:
    """By the envelope's timestamp."""
    first, second = payload("user-updated"), payload("user-updated")
    second["timestamp"] += 5
    second["data"]["first_name"] = "Later"
    await post(world, second, "msg_2")
    await post(world, first, "msg_1")
    assert await users(world) == [("second@example.com", "Later Person", True)]


async def test_f02_a_deletion_is_final(world: World) -> None:
    """No later event, of any time, restores the account."""
    await existing_user(world)
    for number, name in enumerate(("user-deleted", "user-created", "user-updated", "user-updated-banned")):
        assert (await post(world, payload(name), f"msg_{number}")).status_code == httpx2.codes.OK
        await world.settle()
        assert await users(world) == []
    newer = payload("user-updated")
    newer["data"]["updated_at"] = to_ms(world.clock.now()) + 10_000_000
    await post(world, newer, "msg_9")
    assert await users(world) == []
    assert (
        await world.db.pool.fetchval("select count(*) from webhook_events where body like '%' || $1 || '%'", CLERK_ID)
        == 0
    )


async def test_f02_a_deletion_that_overtakes_the_creation_is_final_too(world: World) -> None:
    """A user unknown here is not created after Clerk deleted them."""
    await post(world, payload("user-deleted"), "msg_2")
    await post(world, payload("user-created"), "msg_1")
    assert await users(world) == []


async def test_f01_sign_in_and_webhook_make_one_account(world: World) -> None:
    """Ten concurrent sign-ins and webhooks give one account with one subscription row, which keeps working."""
    caller = world.acting_as(CLERK_ID, "sample.person@example.com", "Sample Person")
    await asyncio.gather(
        *(world.app.call("users:ensureCurrentUser", caller=caller) for _ in range(5)),
        *(post(world, payload("user-created"), f"msg_{number}") for number in range(5)),
    )
    await world.app.worker.drain(until=None, clock=world.clock)
    assert await users(world) == [SAMPLE]
    assert await world.db.pool.fetchval("select count(*) from subscriptions") == 1
    profile = await world.app.call("users:getUserProfile", caller=caller)
    assert profile.user.email == "sample.person@example.com"


async def test_f13_an_old_message_cannot_be_replayed(world: World) -> None:
    """Five minutes later by the app's clock, the same request is refused."""
    content = json.dumps(payload("user-created")).encode()
    now = world.clock.now()
    headers = {
        "svix-id": "msg_1",
        "svix-timestamp": str(int(now.timestamp())),
        "svix-signature": Webhook(signing_secret(world)).sign("msg_1", now, content.decode()),
    }
    world.clock.forward(timedelta(seconds=301))
    answer = await world.http.post("/http/clerk-webhook", content=content, headers=headers)
    assert answer.status_code == httpx2.codes.UNAUTHORIZED
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{not json", "not JSON"),
        (b"[]", "object"),
        (b'{"type":"user.created"}', "data"),
        (b'{"type":"user.created","data":{}}', "data.id"),
        (b'{"data":{"id":"user_1"}}', "type"),
        (b'{"type":"user.created","data":{"id":"a\\u0000b"}}', "data.id"),
        (b"", "not JSON"),
    ],
)
async def test_malformed_webhooks_are_refused_and_not_stored(world: World, body: bytes, field: str) -> None:
    """400 with the wrong field."""
    answer = await post(world, body, "msg_1")
    assert answer.status_code == httpx2.codes.BAD_REQUEST
    assert field in answer.json()["message"]
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"svix-id": ""},
        {"svix-timestamp": ""},
        {"svix-signature": ""},
        {"svix-timestamp": "soon"},
        {"svix-timestamp": "9" * 30},
        {"svix-signature": "v1"},
        {"svix-signature": "v1,=== v1,\xff"},
        {"svix-signature": "," * 1000},
        {"svix-id": "x" * 300},
    ],
)
async def test_malformed_signatures_are_refused(world: World, headers: dict[str, str]) -> None:
    """400 or 401, never 500, and nothing is stored."""
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = await post(world, payload("user-created"), "msg_1", **encoded)  # type: ignore[arg-type]
    assert answer.status_code in {httpx2.codes.BAD_REQUEST, httpx2.codes.UNAUTHORIZED}
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0


async def test_other_methods_and_large_bodies_are_refused(world: World) -> None:
    """405, and 413 over 1 MiB."""
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = await world.http.request(method, "/http/clerk-webhook")
        assert answer.status_code == httpx2.codes.METHOD_NOT_ALLOWED
    answer = await world.http.post("/http/clerk-webhook", content=b"x" * (MAX_BODY + 1))
    assert answer.status_code == httpx2.codes.CONTENT_TOO_LARGE


async def test_an_event_of_an_unknown_type_is_stored(world: World) -> None:
    """Clerk may add types: 200, without an effect."""
    body = {"type": "moon.risen", "data": {"id": "moon_1", "secret": "cheese"}, "timestamp": 1795161600000}
    assert (await post(world, body, "msg_1")).status_code == httpx2.codes.OK
    row = await world.db.pool.fetchrow("select * from webhook_events")
    assert row is not None
    assert (row["type"], row["outcome"], json.loads(row["body"])["data"]) == (
        "moon.risen",
        "not used",
        {"id": "moon_1"},
    )


async def test_a_token_older_than_an_event_does_not_revert_it(world: World) -> None:
    """After a change of e-mail, an older token still has the old address for a minute."""
    alice = await world.person("alice")
    world.clock.forward(timedelta(seconds=5))
    await world.steer("clerk", "update", sub="user_alice", email="new@example.test")
    await world.settle()
    await alice.mutation("users:ensureCurrentUser")
    assert (await alice.query("users:getUserProfile"))["user"]["email"] == "new@example.test"


async def test_f02_a_user_deleted_at_clerk_is_refused_at_once(world: World) -> None:
    """Before erasure, although the token has not expired."""
    alice = await world.person("alice")
    await alice.mutation("diaries:createDiary", content="Rain")
    await world.steer("clerk", "delete", sub="user_alice")
    await world.app.worker.drain(until=None, clock=world.clock)
    with pytest.raises(FunctionError) as refused:
        await alice.mutation("diaries:createDiary", content="More rain")
    assert refused.value.code == "unauthorized"
    assert await alice.query("diaries:listDiaries") == []
