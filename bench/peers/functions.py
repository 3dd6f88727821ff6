"""The measured functions: their requests to each contender, and the goals of docs/PERFORMANCE.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bench.peers.client import NUMBER
from bench.peers.data import Sample

REVENUECAT_SECRET = "a-webhook-secret-for-benchmarks"  # noqa: S105 - made up
VENDORS = Path(__file__).parents[2] / "daysong" / "vendors"

Contender = Literal["daysong", "floor", "usual"]
CONTENDERS: tuple[Contender, ...] = ("daysong", "floor", "usual")


class Someone(NamedTuple):
    """A person of the data: number, token, and what exists of them."""

    number: int
    token: str
    sample: Sample


class Goals(NamedTuple):
    """The least share of the floor's rate and multiple of the usual's, the least rate, and the largest p99 ratio."""

    of_floor: float | None
    of_usual: float | None
    rate: float | None = None
    p99: float = 1.5


READ, WRITE, HOOK = Goals(0.75, 6), Goals(0.85, 4), Goals(0.75, 4, rate=1000)


class Measurable(NamedTuple):
    """A function: its name and goals, and what makes its request to daysong (and the floor) and to the usual."""

    name: str
    about: str
    goals: Goals
    writes: bool
    own: Callable[[Someone], bytes]
    usual: Callable[[Someone], bytes]

    def request(self, contender: Contender, someone: Someone) -> bytes:
        """Return a person's request to that contender."""
        return (self.usual if contender == "usual" else self.own)(someone)


def _wire(method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    if body is not None:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + (body or b"")


def _token(someone: Someone) -> dict[str, str]:
    """Return a person's token, and their address as a proxy names it, by which limits count."""
    address = f"198.18.{someone.number // 256}.{someone.number % 256}"
    return {"Authorization": f"Bearer {someone.token}", "X-Forwarded-For": address}


def _call(kind: str, path: str, args: Callable[[Someone], Any] = lambda _: {}) -> Callable[[Someone], bytes]:
    def request(someone: Someone) -> bytes:
        body = json.dumps({"path": path, "args": args(someone), "format": "json"}).encode()
        return _wire("POST", f"/api/{kind}", body, _token(someone))

    return request


def _get(path: Callable[[Someone], str]) -> Callable[[Someone], bytes]:
    return lambda someone: _wire("GET", path(someone), None, _token(someone))


def _post(path: str, body: Callable[[Someone], Any]) -> Callable[[Someone], bytes]:
    return lambda someone: _wire("POST", path, json.dumps(body(someone)).encode(), _token(someone))


def _content(_: Someone) -> dict[str, str]:
    return {"content": f"Rain until noon, then a long walk by the river. Entry {NUMBER.decode()}."}


def _revenuecat(path: str) -> Callable[[Someone], bytes]:
    found = json.loads((VENDORS / "revenuecat/fixtures/webhook-renewal.json").read_bytes())

    def request(someone: Someone) -> bytes:
        clerk_id = f"user_bench_{someone.number}"
        event = found["event"] | {
            "id": f"event-{NUMBER.decode()}",
            "app_user_id": clerk_id,
            "original_app_user_id": clerk_id,
            "aliases": [clerk_id],
        }
        body = json.dumps(found | {"event": event}).encode()
        return _wire("POST", path, body, {"Authorization": f"Bearer {REVENUECAT_SECRET}"})

    return request


def _suno(path: str) -> Callable[[Someone], bytes]:
    found = json.loads((VENDORS / "suno/fixtures/callback-first.json").read_bytes())
    body = json.dumps(found | {"data": found["data"] | {"task_id": f"task-{NUMBER.decode()}"}}).encode()
    return lambda someone: _wire(
        "POST", f"{path}/{someone.sample.generation_id}/{someone.sample.callback_secret}", body, {}
    )


FUNCTIONS: Sequence[Measurable] = (
    Measurable(
        "getPlans",
        "no database",
        READ._replace(of_floor=0.6, of_usual=None),
        False,
        _call("query", "billing:getPlans"),
        _get(lambda _: "/plans"),
    ),
    Measurable(
        "getUserProfile",
        "one row",
        READ,
        False,
        _call("query", "users:getUserProfile"),
        _get(lambda _: "/me/profile"),
    ),
    Measurable(
        "listDiaries",
        "50 entries",
        READ,
        False,
        _call("query", "diaries:listDiaries"),
        _get(lambda _: "/diaries"),
    ),
    Measurable(
        "pageDiaries",
        "20 entries",
        READ,
        False,
        _call("query", "diaries:pageDiaries", lambda _: {"limit": 20}),
        _get(lambda _: "/diaries/page?limit=20"),
    ),
    Measurable(
        "getSharedMusic",
        "180 timed words",
        READ,
        False,
        _call("query", "sharing:getSharedMusic", lambda someone: {"shareId": someone.sample.share_id}),
        _get(lambda someone: f"/shared/{someone.sample.share_id}"),
    ),
    Measurable(
        "createDiary",
        "one row",
        WRITE,
        True,
        _call("mutation", "diaries:createDiary", _content),
        _post("/diaries", _content),
    ),
    Measurable(
        "startDiaryMusicGeneration",
        "eight rows",
        WRITE._replace(of_floor=None),
        True,
        _call("action", "music:startDiaryMusicGeneration", _content),
        _post("/songs", _content),
    ),
    Measurable(
        "revenueCatWebhook",
        "event and job",
        HOOK,
        True,
        _revenuecat("/http/revenuecat-webhook"),
        _revenuecat("/webhooks/revenuecat"),
    ),
    Measurable(
        "sunoWebhook",
        "event and job",
        HOOK,
        True,
        _suno("/http/suno-webhook"),
        _suno("/webhooks/suno"),
    ),
)


def comparable(body: bytes) -> Any:
    """Return the value of a response in a form that is equal for equal results.

    The random part of ids is left out, and fields that are null count as absent.
    """
    found = json.loads(re.sub(rb"\b([a-z]+)_[0-9a-z]{26}\b", rb"\1", body))
    return _without_nulls(found["value"] if isinstance(found, dict) and "value" in found else found)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
