"""OpenAI: lyrics out of a diary entry; a diary entry, or an answer, out of a talk. One chat completion each.

What is asked for stands in tasks.py, with a strict JSON schema.
The library's own retries are off, since it repeats even an exhausted quota; the job runner decides by VendorError.
It takes half a second to import, so that is done in a thread at the first request.
An answer is read only after its end state was looked at: a refusal, a filter and a cut-off all come with HTTP 200.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import httpx2
import msgspec

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.limits.budgets import Budget
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.limits.lines import Line
from daysong.kernel.settings import OPENAI_FEATURES, OpenAISettings
from daysong.kernel.time.clock import Clock, SystemClock
from daysong.vendors.alarms import alarm
from daysong.vendors.http import client, retry_after, slug
from daysong.vendors.openai.tasks import ANSWER, DIARY, SONG, Task
from daysong.vendors.text import clean, fit, fit_tags

if TYPE_CHECKING:
    import openai

MAX_LYRIC = 5000
MAX_STYLE = 1000
MAX_TITLE = 80
MAX_TALK = 12_000
MAX_DIARY = 5000
TIMEOUT = 90.0
# Reasoning models spend this budget on thinking too; a song or an entry itself needs about 600.
MAX_TOKENS = 8000

# Codes of 400 answers that speak about what was written rather than about how we asked.
_CONTENT_CODES = frozenset({"content_filter", "content_policy_violation", "invalid_prompt"})
_RETRIED_STATUSES = frozenset({408, 409, 429})
_FIRST_SERVER_ERROR = 500
_TOO_LARGE = 413
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# How often one text is paid for at most.
MOST_ANSWERS = 3
# Seconds until a request is tried again that failed by our own configuration.
MISCONFIGURED_PAUSE = 120.0
_TOO_MANY = 429
# Seconds, where OpenAI names none.
TOO_MANY_PAUSE = 5.0

_log = logs.get_logger("openai")


class Lyrics(msgspec.Struct, frozen=True):
    """What a song is made from: the words, and how they should sound."""

    lyric: str
    mood: str
    style: str
    title: str


class LyricsWriter(Protocol):
    """Turns a diary entry into lyrics."""

    async def write_lyrics(self, *, diary: str, style_hint: str | None, person: str) -> Lyrics: ...


class Diarist(Protocol):
    """Writes a talk down as a diary entry."""

    async def write_diary(self, *, talk: str, language: str, person: str) -> str: ...


class Heard(msgspec.Struct, frozen=True):
    """What a person said about being called, and whether they told anything besides."""

    consent: Literal["granted", "refused", "unclear"]
    stop_calling: bool
    told: bool


class AnswerReader(Protocol):
    """Reads in a talk whether the person agreed to be called."""

    async def read_answer(self, *, talk: str, language: str, person: str) -> Heard: ...


class _Entry(msgspec.Struct):
    diary: str


class _Findings(msgspec.Struct):
    consent: Literal["granted", "refused", "unclear"]
    stop_calling: Literal["yes", "no"]
    told: Literal["yes", "no"]


Written = TypeVar("Written")


class _Unusable(VendorError):
    """The model stumbled: what it answered cannot be used."""

    def __init__(self, code: str) -> None:
        super().__init__("openai", f"unusable answer: {code}", permanent=True, code=code)


# Compatible servers put all kinds of values where OpenAI has text or nothing.
class _Message(msgspec.Struct):
    content: Any = None
    refusal: Any = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: Any = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Any = None


class _Paid(msgspec.Struct):
    usage: Any = None


class OpenAI:
    """Writes with OpenAI, or with any server that speaks its chat completions."""

    def __init__(
        self,
        settings: OpenAISettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        timeout: float = TIMEOUT,
        clock: Clock | None = None,
        line: Line | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._model = settings.model
        self._features = set(settings.features)
        self._clock = clock or SystemClock()
        self._budget = budget
        self._settings = settings
        self._timeout = timeout
        self._http = client("openai", base_url=settings.base_url, timeout=timeout, transport=transport, line=line)
        self._api: openai.AsyncOpenAI | None = None

    async def close(self) -> None:
        """Release the connections."""
        await self._http.aclose()

    async def _loaded(self) -> openai.AsyncOpenAI:
        """Return the library's client. From here on `import openai` costs nothing."""
        if self._api is None:
            self._api = await asyncio.to_thread(self._library_client)
        return self._api

    def _library_client(self) -> openai.AsyncOpenAI:
        import openai  # noqa: PLC0415

        api = openai.AsyncOpenAI(
            api_key=self._settings.api_key,
            base_url=self._settings.base_url,
            timeout=self._timeout,
            max_retries=0,
            http_client=self._http,
        )
        # The library imports its parts as they are asked for.
        _ = api.chat.completions.with_raw_response, api.models
        return api

    async def model_known(self) -> str:
        """Say whether the model can be had; VendorError when the key or the model is refused. Costs nothing."""
        api = await self._loaded()
        import openai  # noqa: PLC0415

        try:
            await api.models.retrieve(self._model)
        except openai.PermissionDeniedError:
            return f"answers; the key may not look up models, so {self._model} is not proven"
        except openai.APIStatusError as error:
            raise self._by_status(error, SONG) from None
        return f"answers; model {self._model}"

    async def write_lyrics(self, *, diary: str, style_hint: str | None, person: str) -> Lyrics:
        """Lyrics for a diary entry, within Suno's limits; VendorError when there are none.

        `person` is an opaque hash (at most 128 characters) by which OpenAI can tell our users apart.
        """
        material = {"diary": diary, "style_hint": style_hint}
        return await self._answered(SONG, material, person, lambda body: _within_limits(_read(body, SONG, Lyrics)))

    async def write_diary(self, *, talk: str, language: str, person: str) -> str:
        """A diary entry in the first person of at most 5000 characters; VendorError when there is none.

        `talk` has a line for each turn, `Me: …` or `Companion: …`; what is past 12,000 characters is left out.
        `language` is a BCP 47 tag. For `person` see write_lyrics.
        """

        def entry(body: bytes) -> str:
            text = fit(clean(_read(body, DIARY, _Entry).diary), MAX_DIARY)
            if not text:
                raise _Unusable("empty_diary")
            return text

        material = {"talk": fit(talk, MAX_TALK), "language": language}
        return await self._answered(DIARY, material, person, entry)

    async def read_answer(self, *, talk: str, language: str, person: str) -> Heard:
        """What the person on the phone said about being called. VendorError; never paid for more than once.

        `talk` and `language` as for write_diary.
        """

        def heard(body: bytes) -> Heard:
            found = _read(body, ANSWER, _Findings)
            return Heard(found.consent, stop_calling=found.stop_calling == "yes", told=found.told == "yes")

        material = {"talk": fit(talk, MAX_TALK), "language": language}
        return await self._answered(ANSWER, material, person, heard, most=1)

    async def _answered(
        self,
        task: Task,
        material: dict[str, Any],
        person: str,
        read: Callable[[bytes], Written],
        *,
        most: int = MOST_ANSWERS,
    ) -> Written:
        """What was written. An answer that cannot be read is paid for all the same: it is asked for again twice."""
        failure: VendorError | None = None
        for _ in range(most):
            body = await self._asked(task, material, person)
            try:
                return read(body)
            except _Unusable as error:
                failure = error
                _log.warning("unusable answer", code=error.code, model=self._model)
        raise failure or _Unusable("no_answer")

    async def _asked(self, task: Task, material: dict[str, Any], person: str) -> bytes:
        """The body of OpenAI's answer; the material is data in a JSON object.

        An optional parameter that the server refuses is left out from then on.
        """
        api = await self._loaded()
        import openai  # noqa: PLC0415

        while True:
            try:
                answer = await api.chat.completions.with_raw_response.create(**self._request(task, material, person))
            except openai.APIStatusError as error:
                refused = self._refused_feature(error)
                if refused is None:
                    # Without its cause: OpenAI's own words may quote the person, and causes end up in logs.
                    raise self._by_status(error, task) from None
                self._features.remove(refused)
                _log.warning("parameter left out", parameter=refused, model=self._model)
                continue
            body: bytes = answer.content
            await self._pay(body, task)
            return body

    def _request(self, task: Task, material: dict[str, Any], person: str) -> dict[str, Any]:
        """The parameters of a completion, as far as the server takes them."""
        instructions = task.instructions
        optional: dict[str, Any] = {
            "max_completion_tokens": MAX_TOKENS,
            "max_tokens": MAX_TOKENS,
            "store": False,
            "safety_identifier": person,
        }
        request = {name: value for name, value in optional.items() if name in self._features}
        if "max_completion_tokens" in request:
            # The older name of the same: for servers that do not know the newer one.
            request.pop("max_tokens", None)
        if "json_schema" in self._features:
            schema = {"name": task.name, "strict": True, "schema": task.schema}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        else:
            fields = "\n".join(f'"{name}": {text}' for name, text in task.fields.items())
            instructions += f"\n\nAnswer with one JSON object and nothing else. Its fields, all text:\n{fields}"
        messages = [
            {"role": "system", "content": instructions},
            {"role": "user", "content": json.dumps(material, ensure_ascii=False)},
        ]
        return {"model": self._model, "messages": messages, **request}

    def _refused_feature(self, error: openai.APIStatusError) -> str | None:
        """The optional parameter of ours which an error of the request names."""
        if error.status_code not in {400, 422} or error.code in _CONTENT_CODES:
            return None
        sent = [name for name in OPENAI_FEATURES if name in self._features]
        if "max_completion_tokens" in sent and "max_tokens" in sent:
            sent.remove("max_tokens")
        if error.param:
            named = error.param.partition(".")[0].replace("response_format", "json_schema")
            return named if named in sent else None
        said = f"{error.message} {json.dumps(error.body, default=str)}".lower()
        for name in sent:
            # As a word of its own: "store" is part of other words.
            words = "json_schema|response_format" if name == "json_schema" else name
            if re.search(rf"(?<![a-z_])(?:{words})(?![a-z_])", said):
                return name
        return None

    async def _pay(self, body: bytes, task: Task) -> None:
        """Write down what an answer cost, whatever it is worth: OpenAI takes as much for an unusable one."""
        if self._budget is None:
            return
        given = written = 0.0
        try:
            usage = msgspec.json.decode(body, type=_Paid).usage
        except (msgspec.DecodeError, RecursionError):
            usage = None
        if isinstance(usage, dict):
            given, written = (_number(usage.get(name)) for name in ("prompt_tokens", "completion_tokens"))
        await self._budget.paid_for_tokens("openai", task.name, given, written)

    def _by_status(self, error: openai.APIStatusError, task: Task) -> VendorError:
        """Suit the error to its status and code: an exhausted quota is a 429 that waiting does not cure."""
        status, code = error.status_code, slug(error.code) or ""
        out_of_quota = "insufficient_quota" in {code, error.type}
        wait = retry_after(error.response.headers, self._clock.now())
        if status == _TOO_MANY and not out_of_quota:
            # Waiting is no failure.
            return Deferred("openai", wait or TOO_MANY_PAUSE, f"answered {status}", code=code or f"http_{status}")
        reason: dict[str, Any] = {}
        if code in _CONTENT_CODES:
            reason = {"reason": task.content_reason}
        elif code == "context_length_exceeded" or status == _TOO_LARGE:
            reason = {"reason": task.length_reason}
        elif out_of_quota or (status < _FIRST_SERVER_ERROR and status not in _RETRIED_STATUSES):
            # The key, the account, the model, a parameter: an operator mends it, and then it works.
            alarm(_log, "openai", code or f"http_{status}", status=status, model=self._model)
            wait = max(wait or 0.0, MISCONFIGURED_PAUSE)
        return VendorError(
            "openai",
            f"answered {status}, code {code or None}, parameter {slug(error.param)}",
            permanent=bool(reason),
            retry_after=wait,
            code=code or f"http_{status}",
            **reason,
        )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _read(body: bytes, task: Task, kind: type[Written]) -> Written:
    """What was written, out of a completion's body; a VendorError that says why there is nothing."""
    try:
        completion = msgspec.json.decode(body.removeprefix(_BYTE_ORDER_MARK), type=_Completion)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Unusable("unreadable_answer") from error
    if not completion.choices:
        raise _Unusable("no_choices")
    if isinstance(completion.usage, dict):
        used = (_number(completion.usage.get(name)) for name in ("prompt_tokens", "completion_tokens"))
        _log.info("tokens used", **dict(zip(("prompt", "completion"), used, strict=True)))
    choice = completion.choices[0]
    refused = isinstance(choice.message.refusal, str) and choice.message.refusal.strip()
    if refused or choice.finish_reason == "content_filter":
        code = "content_filter" if choice.finish_reason == "content_filter" else "refused"
        raise VendorError("openai", code, permanent=True, code=code, reason=task.content_reason)
    if choice.finish_reason == "length":
        raise _Unusable("cut_off")
    text = _json_in(_text_of(choice.message.content))
    try:
        # Unlike a strict parser this one takes line breaks inside of strings.
        return msgspec.convert(json.loads(text, strict=False), type=kind)
    except msgspec.ValidationError as error:
        raise _Unusable("wrong_shape") from error
    except (ValueError, RecursionError) as error:
        raise _Unusable("bad_json" if text else "empty_answer") from error


def _text_of(content: Any) -> str:
    """The text of a message, whether it comes as text or in parts."""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "".join(text for text in texts if isinstance(text, str))


def _json_in(text: str) -> str:
    """The JSON in an answer that may have thoughts before it and a code fence or a remark around it."""
    text = text.rpartition("</think>")[2].strip().removeprefix("\ufeff")
    if fenced := re.search(r"```(?:json)?\s*(\{.*\})\s*```", text, re.DOTALL | re.IGNORECASE):
        return fenced[1]
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text


def _within_limits(written: Lyrics) -> Lyrics:
    """The lyrics cleaned, and cut to what Suno takes: 5000 characters of words, 1000 of style, 80 of title."""
    lyric = fit(clean(written.lyric), MAX_LYRIC)
    title = fit(" ".join(clean(written.title).split()), MAX_TITLE)
    style = fit_tags(" ".join(clean(written.style).split()), MAX_STYLE)
    mood = fit_tags(" ".join(clean(written.mood).split()), MAX_TITLE)
    if not lyric:
        raise _Unusable("empty_lyric")
    if not title or not style:
        raise _Unusable("wrong_shape")
    return Lyrics(lyric=lyric, mood=mood, style=style, title=title)


def final_style(lyrics: Lyrics, hint: str | None) -> str:
    """Suno's style text: the person's hint word for word, then mood and style tags as far as 1000 characters reach."""
    parts = [hint] if hint and hint.strip() else []
    known = {tag.strip().lower() for part in parts for tag in part.split(",")}
    length = sum(map(len, parts))
    for tag in (tag.strip() for text in (lyrics.mood, lyrics.style) for tag in text.split(",")):
        if not tag or tag.lower() in known:
            continue
        length += len(tag) + (2 if parts else 0)
        if length > MAX_STYLE:
            break
        known.add(tag.lower())
        parts.append(tag)
    return ", ".join(parts)
