"""Parsing of chat completions. Refusals, filtered and truncated answers all come with HTTP 200."""

from __future__ import annotations

import json
import math
import re
from typing import Any, TypeVar

import msgspec

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.vendors.openai.tasks import Task

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_log = logs.get_logger("openai")

Output = TypeVar("Output")


class UnusableAnswer(VendorError):
    """The completion cannot be parsed, or lacks what was requested. Another one may be fine."""

    def __init__(self, code: str) -> None:
        super().__init__("openai", f"unusable answer: {code}", permanent=True, code=code)


# Compatible servers send values of any type where OpenAI sends text or null.
class _Message(msgspec.Struct):
    content: Any = None
    refusal: Any = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: Any = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None


class _OnlyUsage(msgspec.Struct):
    usage: Any = None


def parse(body: bytes, task: Task, kind: type[Output]) -> Output:
    """Return the JSON object in a completion, as `kind`. UnusableAnswer, or VendorError for a refusal."""
    try:
        completion = msgspec.json.decode(body.removeprefix(_BYTE_ORDER_MARK), type=_Completion)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnusableAnswer("unreadable_answer") from error
    if not completion.choices:
        raise UnusableAnswer("no_choices")
    if isinstance(completion.usage, dict):
        prompt, written = _tokens(completion.usage)
        _log.info("tokens used", prompt=prompt, completion=written)
    choice = completion.choices[0]
    refused = isinstance(choice.message.refusal, str) and choice.message.refusal.strip()
    if refused or choice.finish_reason == "content_filter":
        code = "content_filter" if choice.finish_reason == "content_filter" else "refused"
        raise VendorError("openai", code, permanent=True, code=code, reason=task.content_reason)
    if choice.finish_reason == "length":
        raise UnusableAnswer("cut_off")
    text = _find_json(_text(choice.message.content))
    try:
        # strict=False accepts line breaks inside strings.
        return msgspec.convert(json.loads(text, strict=False), type=kind)
    except msgspec.ValidationError as error:
        raise UnusableAnswer("wrong_shape") from error
    except (ValueError, RecursionError) as error:
        raise UnusableAnswer("bad_json" if text else "empty_answer") from error


def token_usage(body: bytes) -> tuple[float, float]:
    """Return the prompt and completion tokens a completion reports; 0 where it reports none."""
    try:
        usage = msgspec.json.decode(body, type=_OnlyUsage).usage
    except (msgspec.DecodeError, RecursionError):
        return 0.0, 0.0
    return _tokens(usage) if isinstance(usage, dict) else (0.0, 0.0)


def _tokens(usage: dict[str, Any]) -> tuple[float, float]:
    return _number(usage.get("prompt_tokens")), _number(usage.get("completion_tokens"))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _text(content: Any) -> str:
    """Return the text of a message's content, which is a string or a list of parts."""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "".join(text for text in texts if isinstance(text, str))


def _find_json(text: str) -> str:
    """Return the JSON object in an answer, without a <think> block, a code fence or remarks around it."""
    text = text.rpartition("</think>")[2].strip().removeprefix("\ufeff")
    if fenced := re.search(r"```(?:json)?\s*(\{.*\})\s*```", text, re.DOTALL | re.IGNORECASE):
        return fenced[1]
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text
