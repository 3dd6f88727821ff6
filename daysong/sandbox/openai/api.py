"""OpenAI, running here: chat completions with structured outputs, answered by rules instead of a model."""

from __future__ import annotations

import itertools
import re
from typing import Any, ClassVar

import msgspec

from daysong.kernel.time.clock import Clock
from daysong.sandbox.faults import Faults, OpenAIFaults
from daysong.sandbox.openai.chronicler import read_entry, write_highlight
from daysong.sandbox.openai.diarist import write_diary
from daysong.sandbox.openai.director import write_prompt
from daysong.sandbox.openai.listener import read_answer
from daysong.sandbox.openai.lyricist import write_song
from daysong.sandbox.vendor import Answer, Call, Vendor, reply

API_KEY = "sk-sandbox"
MODEL = "gpt-5.4-mini"
# Retired by OpenAI; the last does not exist, for tests of a retired model.
RETIRED = ("gpt-4.1-nano", "o4-mini", "gpt-4-turbo", "gpt-4", "gpt-3.5", "gpt-3.5-turbo", "gpt-retired")
LONGEST_CONTEXT = 400_000  # tokens
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_KNOWN = frozenset(
    {
        "model",
        "messages",
        "response_format",
        "max_completion_tokens",
        "store",
        "safety_identifier",
        "prompt_cache_key",
        "reasoning_effort",
        "verbosity",
        "temperature",
        "top_p",
        "n",
        "seed",
        "stop",
        "metadata",
        "service_tier",
        "user",
    }
)

_CODES_BY_STATUS = {
    400: ("invalid_request_error", None, "Bad request."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: (
        "request_forbidden",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    500: ("server_error", None, "The server had an error while processing your request."),
    503: (
        "service_unavailable_error",
        None,
        "The engine is currently overloaded, please try again later.",
    ),
}
_STATUS_BY_CODE = {
    "insufficient_quota": 429,
    "rate_limit_exceeded": 429,
    "invalid_api_key": 401,
    "model_not_found": 404,
    "unsupported_country_region_territory": 403,
}


class Refusal(Exception):
    """A request OpenAI would refuse."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = _error(message, "invalid_request_error", param, code)


class SandboxOpenAI(Vendor):
    """Writes lyrics and diaries by rule instead of by model."""

    name: ClassVar[str] = "openai"
    fault_type: ClassVar[type[Faults]] = OpenAIFaults

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._numbers = itertools.count(1)

    async def control(self, call: Call) -> Answer | None:  # noqa: ARG002
        """Serve nothing: only faults are controlled."""
        return None

    def error(self, status: int | None, code: int | str | None) -> tuple[int, Any]:
        """`{"error": {message, type, param, code}}`."""
        status = status or _STATUS_BY_CODE.get(str(code), 400)
        kind, usual, message = _CODES_BY_STATUS.get(status, ("invalid_request_error", None, "The sandbox says no."))
        if code == "insufficient_quota":
            kind, message = code, "You exceeded your current quota, please check your plan and billing details."
        return status, _error(message, kind, None, usual if code is None else str(code))

    async def serve(self, call: Call, faults: Faults) -> Answer:
        """Serve chat completions and the retrieval of a model; 404 for any other path."""
        if call.bearer != API_KEY:
            status, body = self.error(401, None)
            return reply(body, status)
        if call.method == "GET" and call.path.startswith("/v1/models/"):
            model = call.path.removeprefix("/v1/models/")
            return reply({"id": model, "object": "model", "created": 1_767_225_600, "owned_by": "system"})
        if (call.method, call.path) != ("POST", "/v1/chat/completions"):
            return reply(_error(f"Invalid URL ({call.method} {call.path})", "invalid_request_error", None, None), 404)
        try:
            asked = _checked(call.json())
        except Refusal as refusal:
            return reply(refusal.body, refusal.status)
        return reply(self._completion(asked, faults.answer))

    def _completion(self, asked: dict[str, Any], fault: str | None) -> dict[str, Any]:
        prompt = "\n".join(_text(message) for message in asked["messages"])
        content: str | None = _content(asked)
        finish, refusal = "stop", None
        match fault:
            case "refusal":
                content, refusal = None, "I'm sorry, but I can't help with that."
            case "content_filter":
                content, finish = None, "content_filter"
            case "truncated":
                content, finish = (content or "")[: len(content or "") // 2], "length"
            case "empty":
                content = ""
            case "bad_json":
                content = "Here is your song! {"
            case "wrong_shape":
                content = '{"lyrics": 5}'
            case "empty_lyric":
                content = '{"lyric": " ", "mood": "calm", "style": "folk", "title": "Nothing"}'
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": content, "refusal": refusal, "annotations": []},
            "logprobs": None,
            "finish_reason": finish,
        }
        read, written = _tokens(prompt), _tokens(content or refusal or "")
        return {
            "id": f"chatcmpl-{next(self._numbers):08d}",
            "object": "chat.completion",
            "created": int(self.clock.now().timestamp()),
            "model": asked["model"],
            "choices": [] if fault == "empty_choices" else [choice],
            "usage": {
                "prompt_tokens": read,
                "completion_tokens": written,
                "total_tokens": read + written,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {
                    "reasoning_tokens": 0,
                    "audio_tokens": 0,
                    "accepted_prediction_tokens": 0,
                    "rejected_prediction_tokens": 0,
                },
            },
            "service_tier": "default",
            "system_fingerprint": None,
        }


def _checked(asked: Any) -> dict[str, Any]:
    """Return the request if OpenAI would accept it; raises Refusal."""
    if not isinstance(asked, dict):
        raise Refusal(400, "We could not parse the JSON body of your request.")
    model = asked.get("model")
    if not isinstance(model, str) or not model:
        raise Refusal(400, "you must provide a model parameter")
    if model in RETIRED:
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise Refusal(404, message, code="model_not_found")
    if "max_tokens" in asked:
        message = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        raise Refusal(400, message, param="max_tokens", code="unsupported_parameter")
    if unknown := sorted(asked.keys() - _KNOWN):
        raise Refusal(400, f"Unrecognized request argument supplied: {unknown[0]}", param=unknown[0])
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "Invalid 'messages': empty array.", param="messages", code="empty_array")
    if not all(isinstance(entry, dict) and entry.get("role") in _ROLES for entry in messages):
        raise Refusal(400, "Invalid value for 'messages[0].role'.", param="messages[0].role", code="invalid_value")
    if len(str(asked.get("safety_identifier") or "")) > 128:
        raise Refusal(400, "Invalid 'safety_identifier': string too long.", param="safety_identifier")
    if sum(_tokens(_text(message)) for message in messages) > LONGEST_CONTEXT:
        message = "This model's maximum context length is exceeded."
        raise Refusal(400, message, param="messages", code="context_length_exceeded")
    _check_format(asked.get("response_format"))
    return asked


def _check_format(wanted: Any) -> None:
    if wanted is None or (isinstance(wanted, dict) and wanted.get("type") in {"text", "json_object"}):
        return
    described = wanted.get("json_schema") if isinstance(wanted, dict) else None
    if not isinstance(described, dict):
        raise Refusal(400, "Missing required parameter: 'response_format.json_schema'.", param="response_format")
    name = described.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refusal(400, "Invalid 'response_format.json_schema.name'.", param="response_format.json_schema.name")
    if described.get("strict"):
        _check_strict(name, described.get("schema"))


def _check_strict(name: str, schema: Any) -> None:
    """Strict schemas close every object and require all of its properties."""
    complaint = f"Invalid schema for response_format '{name}': "
    if not isinstance(schema, dict):
        raise Refusal(400, complaint + "schema must be an object.", param="response_format")
    if schema.get("type") == "object" or "properties" in schema:
        if schema.get("additionalProperties") is not False:
            message = complaint + "'additionalProperties' is required to be supplied and to be false."
            raise Refusal(400, message, param="response_format")
        properties = schema.get("properties") or {}
        if sorted(schema.get("required") or []) != sorted(properties):
            message = (
                complaint
                + "'required' is required to be supplied and to be an array including every key in properties."
            )
            raise Refusal(400, message, param="response_format")
        for inner in properties.values():
            _check_strict(name, inner)
    if "items" in schema:
        _check_strict(name, schema["items"])


def _content(asked: dict[str, Any]) -> str:
    """Return the song or the diary entry, as an object with the requested properties, or as plain text."""
    said = [_text(message) for message in asked["messages"] if message["role"] == "user"]
    material = said[-1] if said else ""
    try:
        found = msgspec.json.decode(material)
    except msgspec.DecodeError:
        found = None
    text, fields = _written(found if isinstance(found, dict) else {}, material)
    described = (asked.get("response_format") or {}).get("json_schema")
    if not described:
        return text
    wanted = described["schema"].get("properties", {})
    return msgspec.json.encode({name: fields.get(name, "") for name in wanted}).decode()


def _written(found: dict[str, Any], material: str) -> tuple[str, dict[str, Any]]:
    """What is written out of the material: its text, and the fields there are of it."""
    if isinstance(talk := found.get("talk"), str):
        entry = write_diary(talk)
        return entry, {"diary": entry, **read_answer(talk)}
    if isinstance(lyric := found.get("lyric"), str):
        prompt = write_prompt(str(found.get("title") or ""), lyric)
        return prompt, {"prompt": prompt}
    if isinstance(found.get("entry"), str):
        events = read_entry(found)
        return "\n".join(event["title"] for event in events), {"events": events}
    if isinstance(found.get("person"), str):
        summary = write_highlight(found)
        return summary, {"summary": summary}
    diary, hint = found.get("diary"), found.get("style_hint")
    if isinstance(diary, str):
        song = write_song(diary, hint if isinstance(hint, str) else None)
    else:
        song = write_song(material)
    return song.lyric, {"lyrics": song.lyric, **msgspec.structs.asdict(song)}


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _tokens(text: str) -> int:
    """Estimate tokens: four letters each."""
    return -(-len(text) // 4)


def _error(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
