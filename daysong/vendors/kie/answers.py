"""Parsing of Kie's untrusted data: the state of a task, and callbacks. Pure functions, no network.

`state` alone decides: failMsg and failCode are present on success too, as null or empty text. `resultJson` is JSON as
text, or an object.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from daysong.kernel import logs
from daysong.kernel.keys import any_equal
from daysong.vendors.envelopes import whole_number
from daysong.vendors.http import slug
from daysong.vendors.text import clean
from daysong.vendors.webhooks import MalformedEvent, UnsignedEvent

State = Literal["working", "done", "failed", "unknown"]

WORKING = frozenset({"waiting", "queuing", "generating"})
# Seconds that the time of a signed callback may differ from now.
SIGNATURE_WINDOW = 300
_LONGEST_TIME = 12

_OUR_FAULT = "Something went wrong on our side."
_CONTENT = "This song's video was not accepted. Changing the entry's words may help."
_NOT_MADE = "The video could not be made this time."
_REASONS = {400: _CONTENT, 422: _CONTENT, 500: _NOT_MADE, 501: _NOT_MADE}

_log = logs.get_logger("kie")


class MalformedCallback(MalformedEvent):
    """A callback that cannot be parsed; the message names the field."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="MalformedCallback")


class KieTask(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a task.

    state         unknown: Kie does not know the task
    status        Kie's own word for it, for the log
    result_urls   URLs of the clip; not empty when `state` is done
    callback_url  the callback URL that the task was ordered with
    reason        why it failed, shown to the user; empty otherwise
    """

    task_id: str
    state: State
    status: str = ""
    result_urls: tuple[str, ...] = ()
    callback_url: str | None = None
    code: str = ""
    reason: str = ""


class KieCallback(msgspec.Struct, frozen=True, kw_only=True):
    """A callback: which task has ended, and how. Neither is proven by it."""

    task_id: str
    state: Literal["success", "fail"]


def failure_reason(code: int | None) -> str:
    """Return the sentence shown to the user for an error code."""
    return _REASONS.get(code or 0, _OUR_FAULT)


def parse_task(task_id: str, data: Any) -> KieTask:
    """Return the state of a task from recordInfo's `data`.

    A success without a result is still working: the URL may follow.
    """
    if not isinstance(data, dict) or not isinstance(status := data.get("state"), str) or not status:
        return KieTask(task_id=task_id, state="unknown")
    callback_url = _ordered_callback(data.get("param"))
    if status == "fail":
        code = whole_number(data.get("failCode"))
        return KieTask(
            task_id=task_id, state="failed", status=status, callback_url=callback_url,
            code=slug(data.get("failCode")) or "failed", reason=failure_reason(code or 501),
        )  # fmt: skip
    urls = _result_urls(data.get("resultJson")) if status == "success" else ()
    if status not in WORKING | {"success"}:
        _log.warning("unknown task state", state=slug(status))
    return KieTask(
        task_id=task_id,
        state="done" if urls else "working",
        status=status,
        result_urls=urls,
        callback_url=callback_url,
    )


def parse_callback(body: bytes) -> KieCallback:
    """Return the callback in a request's body. Errors: MalformedCallback."""
    try:
        content = msgspec.json.decode(body)
        body.decode()
    except UnicodeDecodeError as error:
        raise MalformedCallback("The body is not UTF-8") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedCallback("The body is not JSON") from error
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, dict):
        raise MalformedCallback("`data` is missing or not an object")
    task_id = data.get("taskId")
    if not isinstance(task_id, str) or not clean(task_id):
        raise MalformedCallback("`data.taskId` is missing or not text")
    state = data.get("state")
    if state not in {"success", "fail"}:
        raise MalformedCallback("`data.state` is neither success nor fail")
    return KieCallback(task_id=clean(task_id), state=state)


def verify(headers: Mapping[str, str], body: bytes, now: datetime, *keys: str) -> None:
    """Check the signature of a callback, made with one of the keys. Errors: UnsignedEvent.

    It covers the task's id and a timestamp, but not the rest of the body.
    """
    sent, signature = headers.get("x-webhook-timestamp", ""), headers.get("x-webhook-signature", "")
    if not sent.isascii() or not sent.isdigit() or len(sent) > _LONGEST_TIME or not signature:
        raise UnsignedEvent("The callback has no signature")
    if abs(now.timestamp() - int(sent)) > SIGNATURE_WINDOW:
        raise UnsignedEvent("The callback's timestamp is too far from now")
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        content = None
    data = content.get("data") if isinstance(content, dict) else None
    task_id = data.get("taskId") if isinstance(data, dict) else None
    if not isinstance(task_id, str):
        raise UnsignedEvent("The signature names no task")
    signed = f"{task_id}.{sent}".encode("utf-8", "surrogatepass")
    expected = [base64.b64encode(hmac.digest(key.encode(), signed, hashlib.sha256)) for key in keys]
    if not any_equal(expected, [signature.encode("utf-8", "surrogateescape")]):
        raise UnsignedEvent("The signature does not match")


def _result_urls(value: Any) -> tuple[str, ...]:
    found = _object(value).get("resultUrls")
    texts = [clean(entry) for entry in found if isinstance(entry, str)] if isinstance(found, list) else []
    return tuple(dict.fromkeys(text for text in texts if text.startswith(("https://", "http://"))))


def _ordered_callback(param: Any) -> str | None:
    url = _object(param).get("callBackUrl")
    return url if isinstance(url, str) and url else None


def _object(value: Any) -> dict[str, Any]:
    """Return an object that may be given as JSON text; an empty one for anything else."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            return {}
    return value if isinstance(value, dict) else {}
