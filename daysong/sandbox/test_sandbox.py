"""What all sandboxed vendors have in common: keys, logs, and faults."""

from __future__ import annotations

from pathlib import Path

import httpx2
import msgspec
import pytest

from daysong.sandbox import faults as vocabulary
from daysong.sandbox.conftest import NOW, ORIGIN, World, failure
from daysong.sandbox.faults import (
    ClerkFaults,
    ExpoFaults,
    KieFaults,
    OpenAIFaults,
    RevenueCatFaults,
    SunoFaults,
    VapiFaults,
)
from daysong.vendors.clerk.client import ClerkUsers
from daysong.vendors.openai.client import OpenAI
from daysong.vendors.suno.client import Suno

pytestmark = pytest.mark.anyio


async def test_a_wrong_key_is_refused_by_every_vendor(world: World, tmp_path: Path) -> None:
    """401, as an alarm."""
    wire = httpx2.ASGITransport(world.sandbox.asgi)
    suno = Suno(msgspec.structs.replace(world.sandbox.suno_settings(), api_key="wrong"), transport=wire)
    openai = OpenAI(msgspec.structs.replace(world.sandbox.openai_settings(), api_key="wrong"), transport=wire)
    users = ClerkUsers(msgspec.structs.replace(world.sandbox.clerk_settings(), secret_key="wrong"), transport=wire)
    assert (await failure(suno.credits())).code == "suno_401"
    assert (await failure(openai.write_lyrics(diary="x", style_hint=None, person="p"))).code == "invalid_api_key"
    assert (await failure(users.delete_user("user_alice"))).code == "http_401"
    for each in (suno, openai, users):
        await each.close()


async def test_the_log_tells_what_each_vendor_was_asked(world: World) -> None:
    """Method, path, body and time, without the steering."""
    task_id = await world.order()
    await world.sandbox.settle()
    await world.write()
    await world.sign_in()
    (ordered,) = (await world.steering.get("suno/log")).json()
    assert ordered["body"]["callBackUrl"] == "http://app.test/hooks/suno/SECRET"
    assert (ordered["method"], ordered["path"], ordered["time"]) == ("POST", "/api/v1/generate", NOW.timestamp() * 1000)
    (asked,) = (await world.steering.get("openai/log")).json()
    assert (asked["path"], asked["body"]["store"]) == ("/v1/chat/completions", False)
    assert (await world.steering.get("clerk/log")).json() == []
    assert (await world.steering.delete("suno/log")).json() == []
    await world.suno.task(task_id)
    assert [call["path"] for call in (await world.steering.get("suno/log")).json()] == ["/api/v1/generate/record-info"]


@pytest.mark.parametrize(
    ("vendor", "fault"),
    [
        ("openai", {"stats": 500}),
        ("openai", {"answer": "nonsense"}),
        ("openai", {"callbacks": "lost"}),
        ("suno", {"answer": "refusal"}),
        ("suno", {"callbacks": "late"}),
        ("suno", {"status": 200}),
        ("suno", {"times": 0}),
        ("kie", {"file": "late"}),
        ("clerk", {"latency": -1}),
        ("vapi", {"webhooks": "late"}),
        ("clerk", []),
    ],
)
async def test_a_fault_nobody_knows_is_refused(world: World, vendor: str, fault: object) -> None:
    """400, and the current faults stay on."""
    await world.steer(f"{vendor}/faults", {"status": 503})
    answer = await world.steering.post(f"{vendor}/faults", json=fault)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert (await world.steering.get(f"{vendor}/faults")).json() == {"status": 503}


@pytest.mark.parametrize("clear", ["empty", "delete"])
async def test_faults_are_cleared(world: World, clear: str) -> None:
    """By an empty object or DELETE."""
    await world.steer("suno/faults", {"code": 500})
    assert (await failure(world.order())).code == "suno_500"
    if clear == "empty":
        await world.steer("suno/faults", {})
    else:
        await world.steering.delete("suno/faults")
    assert await world.order()


async def test_faults_can_be_aimed_and_counted(world: World) -> None:
    """Only calls whose path contains the text are spoilt, and only so many."""
    await world.steer("suno/faults", {"code": 500, "path": "credit", "times": 2})
    assert await world.order()
    for _ in range(2):
        assert (await failure(world.suno.credits())).code == "suno_500"
    assert await world.suno.credits()
    await world.steer("suno/faults", {"status": 404, "path": "/files/"})
    await world.sandbox.settle()
    url = world.told[-1].tracks[0].audio_url
    assert url is not None
    assert not (await failure(world.files.fetch(url, max_bytes=10_000_000))).permanent


def test_every_fault_is_explained() -> None:
    """The table at the top of faults.py names each of them."""
    text = vocabulary.__doc__ or ""
    for kind in (OpenAIFaults, SunoFaults, KieFaults, ClerkFaults, RevenueCatFaults, VapiFaults, ExpoFaults):
        for field in msgspec.structs.fields(kind):
            assert f" {field.encode_name} " in text, field.encode_name


async def test_other_vendors_and_addresses_are_not_found(world: World) -> None:
    """Also when the app was mounted and the prefix is gone."""
    assert (await world.steering.get("paypal/send")).status_code == 404
    assert (await world.steering.get("clerk/v1/sessions")).status_code == 404
    assert (await world.steering.get(f"{ORIGIN}/clerk/.well-known/jwks.json")).status_code == 200
    head = await world.steering.head("clerk/.well-known/jwks.json")
    assert head.content == b""
