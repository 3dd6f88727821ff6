"""What Kie says of a task, in recordInfo and in callbacks: judged by `state`, and signed only in part."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.vendors.conftest import fixture, fixtures
from daysong.vendors.envelopes import whole_number
from daysong.vendors.kie.answers import (
    MalformedCallback,
    parse_callback,
    parse_task,
    verify,
)
from daysong.vendors.webhooks import UnsignedEvent

TASK = "00000000000000000000000000000aa1"
CLIP = "https://files.kie.example/00000000000000000000000000000aa1.mp4"
CALLBACK = "https://api.diary.example/hooks/kie/TASKTOKEN0001"
STATES = {"waiting": "working", "queuing": "working", "generating": "working", "success": "done", "fail": "failed"}


def recorded(name: str) -> Any:
    return json.loads(fixture(f"kie/{name}.json").read_bytes())


@pytest.mark.parametrize("name", [name for name in fixtures("kie", "recordinfo-*") if "unknown" not in name])
def test_the_state_of_a_recorded_task_decides(name: str) -> None:
    """failCode and failMsg are there on success too; the callback address of the order is in `param`."""
    task = parse_task(TASK, recorded(name)["data"])
    assert task.state == STATES[name.partition("-")[2]]
    assert task.result_urls == ((CLIP,) if task.state == "done" else ())
    assert task.callback_url == CALLBACK
    assert bool(task.reason) is bool(task.code) is (task.state == "failed")


def test_a_task_without_data_is_unknown() -> None:
    """As recordInfo answers for an id it does not know."""
    assert parse_task(TASK, recorded("recordinfo-unknown-task")["data"]).state == "unknown"


@pytest.mark.parametrize("failed", [None, "", "500", 0])
def test_a_success_is_one_whatever_its_fail_fields_hold(failed: Any) -> None:
    """And its result may be an object in place of JSON text."""
    told = recorded("recordinfo-success")["data"] | {"failCode": failed, "failMsg": failed}
    told["resultJson"] = json.loads(told["resultJson"])
    task = parse_task(TASK, told)
    assert (task.state, task.result_urls, task.code) == ("done", (CLIP,), "")


@pytest.mark.parametrize("result", [None, "", "{", "[]", "{}", {"resultUrls": None}, {"resultUrls": ["ftp://x/a", 5]}])
def test_a_success_without_a_result_is_not_done_yet(result: Any) -> None:
    """There is nothing to fetch."""
    task = parse_task(TASK, recorded("recordinfo-success")["data"] | {"resultJson": result})
    assert (task.state, task.result_urls) == ("working", ())


def test_callbacks_name_the_task_and_its_end() -> None:
    """Both recorded ones; the code, 200 or 501, says nothing more."""
    assert parse_callback(fixture("kie/callback-success-result-object.json").read_bytes()).state == "success"
    failed = parse_callback(fixture("kie/callback-fail.json").read_bytes())
    assert (failed.task_id, failed.state) == (TASK, "fail")


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"[]", b"{}", b'{"data":[]}', b'{"data":{"taskId":5,"state":"fail"}}',
     b'{"data":{"taskId":"x","state":"generating"}}', b'{"data":{"taskId":" ","state":"fail"}}', b"[" * 5000],
)  # fmt: skip
def test_other_bodies_are_malformed(body: bytes) -> None:
    """The sender is told which field."""
    with pytest.raises(MalformedCallback):
        parse_callback(body)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(), st.lists, max_leaves=5))
def test_no_value_breaks_the_parsing(value: Any) -> None:
    """Every field may hold anything."""
    task = parse_task(TASK, {"state": "success", "resultJson": {"resultUrls": value}, "param": value})
    assert task.state in {"working", "done"}
    assert parse_task(TASK, {"state": "fail", "failCode": value, "param": value}).state == "failed"
    assert parse_task(TASK, value).state == "unknown"
    whole_number(value)


def signed_example() -> tuple[dict[str, str], bytes, datetime, str]:
    example = recorded("signature-example")
    headers = {name.lower(): value for name, value in example["headers"].items()}
    body = json.dumps({"data": {"taskId": example["task_id"]}}).encode()
    return headers, body, datetime.fromtimestamp(example["now_unix"], UTC), example["key"]


def test_the_recorded_signature_is_right() -> None:
    """It is made of the task's id and the timestamp."""
    verify(*signed_example())


@pytest.mark.parametrize(
    "change",
    [
        {"x-webhook-signature": ""},
        {"x-webhook-signature": "äöü"},
        {"x-webhook-signature": "AAAA"},
        {"x-webhook-timestamp": "1795161601"},
        {"x-webhook-timestamp": "9" * 400},
        {"x-webhook-timestamp": "²"},
        {"x-webhook-timestamp": ""},
    ],
)
def test_a_wrong_signature_is_refused(change: dict[str, str]) -> None:
    """Another time, another signature, or none."""
    headers, body, now, key = signed_example()
    with pytest.raises(UnsignedEvent):
        verify(headers | change, body, now, key)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"data":{"taskId":"another"}}', b'{"data":{"taskId":"\\ud800"}}'])
def test_a_signature_is_for_its_task_and_its_time(body: bytes) -> None:
    """Not for another task, another key or five minutes later."""
    headers, good, now, key = signed_example()
    with pytest.raises(UnsignedEvent):
        verify(headers, body, now, key)
    with pytest.raises(UnsignedEvent):
        verify(headers, good, now, "another key", "a third")
    with pytest.raises(UnsignedEvent):
        verify(headers, good, datetime.fromtimestamp(now.timestamp() + 301, UTC), key)
