"""No request holds the loop of a server for long, whatever a stranger sends: others are served meanwhile."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from daysong.kernel.arguments import LARGEST
from rehearsal.server import Keys
from rehearsal.watched_server import Watched

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

HELD = 0.020  # seconds of CPU
SECRET = "a-secret-of-the-vendors"
# What is left for arguments of the largest size beside the rest of a body.
SIZE = LARGEST - 64
# The least of several counts: the first of a kind may fill caches, and another process may take them.
TRIES = 3

SHAPES: dict[str, str] = {
    "empty objects": "[" + "{}," * (SIZE // 3 - 1) + "{}]",
    "empty arrays": "[" + "[]," * (SIZE // 3 - 1) + "[]]",
    "numbers": "[" + "1," * (SIZE // 2 - 1) + "1]",
    "floats": "[" + "1.5," * (SIZE // 4 - 1) + "1]",
    "long numbers": "[" + ",".join(["9" * 300] * (SIZE // 301)) + "]",
    "empty strings": "[" + '"",' * (SIZE // 3 - 1) + '""]',
    "keys": "{" + ",".join(f'"{number:x}":1' for number in range(SIZE // 10)) + "}",
    "wrapped numbers": "[" + ",".join(['{"$integer":"BwAAAAAAAAA="}'] * (SIZE // 29)) + "]",
    "deep arrays": "[" * (SIZE // 2) + "]" * (SIZE // 2),
    "deep objects": '{"a":' * (SIZE // 6) + "1" + "}" * (SIZE // 6),
    "nesting of 900": "[" * 900 + "]" * 900,
    "a text": json.dumps("x" * (SIZE - 2)),
    "a text of commas": json.dumps("," * (SIZE - 2)),
    "escapes": '"' + "\\n" * (SIZE // 2 - 1) + '"',
    "backslashes": '"' + "\\\\" * (SIZE // 2 - 1) + '"',
    "quotes": '"' + '\\"' * (SIZE // 2 - 1) + '"',
    "escaped letters": '"' + "\\u00e9" * (SIZE // 6 - 1) + '"',
    "halves of pairs": '"' + "\\ud83d" * (SIZE // 6 - 1) + '"',
    "NUL characters": '"' + "\\u0000" * (SIZE // 6 - 1) + '"',
    "emoji": json.dumps("\U0001f3b5" * (SIZE // 4 - 1), ensure_ascii=False),
    "spaces": " " * (SIZE - 1) + "1",
}


@pytest.fixture(scope="module")
def watched(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A server as in production: no functions of test mode."""
    secrets = {"REVENUECAT_WEBHOOK_SECRET": SECRET, "VAPI_WEBHOOK_SECRET": SECRET}
    with Watched(environ | secrets | {"DAYSONG_TEST": ""}, tmp_path_factory.mktemp("watched")) as server:
        yield server


@pytest.fixture(scope="module")
def token(keys: Keys) -> str:
    return keys.token(f"user_{uuid.uuid4()}", email="alice@example.test")


BODIES: dict[str, tuple[str, str]] = {
    "an argument nobody asked for": ("/api/query", '{"path":"billing:getPlans","args":{"a":@}}'),
    "the arguments": ("/api/query", '{"path":"billing:getPlans","args":@}'),
    "arguments in an array": ("/api/query", '{"path":"billing:getPlans","args":[@]}'),
    "the text of an entry": ("/api/mutation", '{"path":"diaries:createDiary","args":{"content":@}}'),
    "an integer": ("/api/mutation", '{"path":"callSettings:upsertCallSettings","args":{"daysOfWeek":@}}'),
    "beside a float": ("/api/query", '{"path":"diaries:pageDiaries","args":{"limit":5.0,"cursor":@}}'),
    "an unknown function": ("/api/query", '{"path":"nobody:knows","args":{"a":@}}'),
    "the body": ("/api/query", "@"),
    "the path": ("/api/query", '{"path":@}'),
    "beside the arguments": ("/api/query", '{"path":"billing:getPlans","args":{},"b":@}'),
    "an address": ("/api/run/billing/getPlans", '{"args":{"a":@}}'),
    "a batch": ("/api/query_batch", '{"queries":[{"path":"nobody:knows","args":{"a":@}}]}'),
    "a webhook": ("/http/revenuecat-webhook", "@"),
    "an event": ("/http/revenuecat-webhook", '{"event":{"id":"one","type":"TEST","a":@}}'),
    "a report": ("/http/vapi-webhook", '{"message":{"type":"end-of-call-report","artifact":@}}'),
}


async def least(watched: Watched, act: Any) -> float:
    """The shortest time that the loop was held while that was done."""
    held = 1.0
    for _ in range(TRIES):
        watched.figures()
        await act()
        held = min(held, watched.figures().held)
        if held < HELD / 4:
            break
    return held


@pytest.mark.parametrize("shape", SHAPES)
async def test_g70_no_body_holds_the_loop(watched: Watched, token: str, shape: str) -> None:
    """Whatever its shape and wherever it is sent, up to the largest that is read."""
    seen = {}
    async with httpx2.AsyncClient(base_url=watched.origin, trust_env=False) as client:
        for name, (path, body) in BODIES.items():

            async def post(path: str = path, body: str = body.replace("@", SHAPES[shape])) -> None:
                headers = {"Authorization": f"Bearer {SECRET if path.startswith('/http') else token}"}
                answer = await client.post(path, content=body.encode(), headers=headers)
                assert answer.status_code < 500, answer.text

            seen[name] = await least(watched, post)
    worst = max(seen, key=seen.__getitem__)
    print(f"{shape}: held for {seen[worst] * 1000:.1f} ms of CPU by {worst}")
    assert seen[worst] < HELD, seen
