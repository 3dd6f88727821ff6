"""OpenAI's client: each task is one chat completion with a strict JSON schema (tasks.py, completions.py).

The library's own retries are off, since it retries even an exhausted quota; the job runner decides by VendorError.
Importing the library takes half a second, so that happens in a thread at the first request.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

import httpx2
import msgspec

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.limits.breakers import Breaker
from daysong.kernel.limits.budgets import Budget
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.limits.lines import Line
from daysong.kernel.settings import OPENAI_FEATURES, OpenAISettings
from daysong.kernel.time.clock import Clock, SystemClock
from daysong.vendors.alarms import alarm
from daysong.vendors.http import client, retry_after, slug
from daysong.vendors.openai.completions import Output, UnusableAnswer, parse, token_usage
from daysong.vendors.openai.lyrics import Lyrics, within_limits
from daysong.vendors.openai.tasks import ANSWER, DIARY, SONG, Task
from daysong.vendors.text import clean, fit

if TYPE_CHECKING:
    import openai

MAX_TALK = 12_000
MAX_DIARY = 5000
TIMEOUT = 90.0
# Includes the tokens of a model's reasoning; a song or an entry itself needs about 600.
MAX_TOKENS = 8000

# Error codes caused by the content of a request, not by its parameters.
_CONTENT_CODES = frozenset({"content_filter", "content_policy_violation", "invalid_prompt"})
_RETRIED_STATUSES = frozenset({408, 409, 429})
_FIRST_SERVER_ERROR = 500
_TOO_LARGE = 413
# Completions requested for one text, when the answers are unusable.
MAX_COMPLETIONS = 3
# Seconds before a request is retried that failed because of our configuration.
MISCONFIGURED_PAUSE = 120.0
_TOO_MANY = 429
# Seconds before a retry after a 429 without Retry-After.
TOO_MANY_PAUSE = 5.0

_log = logs.get_logger("openai")


class LyricsWriter(Protocol):
    """Writes lyrics for a diary entry."""

    async def write_lyrics(self, *, diary: str, style_hint: str | None, person: str) -> Lyrics: ...


class Diarist(Protocol):
    """Writes a diary entry from the transcript of a call."""

    async def write_diary(self, *, talk: str, language: str, person: str) -> str: ...


class CallAnswer(msgspec.Struct, frozen=True):
    """What the transcript says about consent, and whether it has anything to write a diary entry from."""

    consent: Literal["granted", "refused", "unclear"]
    stop_calling: bool
    has_content: bool


class AnswerReader(Protocol):
    """Reads from a transcript whether the person consented to the call."""

    async def read_answer(self, *, talk: str, language: str, person: str) -> CallAnswer: ...


class _Entry(msgspec.Struct):
    diary: str


class _CallAnswer(msgspec.Struct):
    consent: Literal["granted", "refused", "unclear"]
    stop_calling: Literal["yes", "no"]
    told: Literal["yes", "no"]


class OpenAI:
    """Client of OpenAI, or of any server with compatible chat completions."""

    def __init__(
        self,
        settings: OpenAISettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        timeout: float = TIMEOUT,
        clock: Clock | None = None,
        line: Line | None = None,
        breaker: Breaker | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._model = settings.model
        self._features = set(settings.features)
        self._clock = clock or SystemClock()
        self._budget = budget
        self._settings = settings
        self._timeout = timeout
        self._http = client(
            "openai", base_url=settings.base_url, timeout=timeout, transport=transport, line=line, breaker=breaker
        )
        self._api: openai.AsyncOpenAI | None = None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _load(self) -> openai.AsyncOpenAI:
        """Return the library's client; afterwards `import openai` is instant."""
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
        # The library imports these parts on first access.
        _ = api.chat.completions.with_raw_response, api.models
        return api

    async def check_model(self) -> str:
        """Check the key and the model, at no cost. VendorError if either is refused."""
        api = await self._load()
        import openai  # noqa: PLC0415

        try:
            await api.models.retrieve(self._model)
        except openai.PermissionDeniedError:
            return f"answers; the key may not look up models, so {self._model} is not proven"
        except openai.APIStatusError as error:
            raise self._vendor_error(error, SONG) from None
        return f"answers; model {self._model}"

    async def write_lyrics(self, *, diary: str, style_hint: str | None, person: str) -> Lyrics:
        """Return lyrics for a diary entry, within Suno's limits. VendorError.

        `person` is an opaque hash of at most 128 characters that identifies the user to OpenAI.
        """
        material = {"diary": diary, "style_hint": style_hint}
        return await self.complete(SONG, material, person, lambda body: within_limits(parse(body, SONG, Lyrics)))

    async def write_diary(self, *, talk: str, language: str, person: str) -> str:
        """Return a diary entry in the first person, of at most 5000 characters. VendorError.

        `talk` has a line for each turn, `Me: …` or `Companion: …`, and is cut to 12,000 characters.
        `language` is a BCP 47 tag. For `person` see write_lyrics.
        """

        def entry(body: bytes) -> str:
            text = fit(clean(parse(body, DIARY, _Entry).diary), MAX_DIARY)
            if not text:
                raise UnusableAnswer("empty_diary")
            return text

        material = {"talk": fit(talk, MAX_TALK), "language": language}
        return await self.complete(DIARY, material, person, entry)

    async def read_answer(self, *, talk: str, language: str, person: str) -> CallAnswer:
        """Return what the person on the phone answered about consent. VendorError. Requests one completion at most.

        For the arguments see write_diary.
        """

        def answer(body: bytes) -> CallAnswer:
            found = parse(body, ANSWER, _CallAnswer)
            return CallAnswer(found.consent, stop_calling=found.stop_calling == "yes", has_content=found.told == "yes")

        material = {"talk": fit(talk, MAX_TALK), "language": language}
        return await self.complete(ANSWER, material, person, answer, attempts=1)

    async def complete(
        self,
        task: Task,
        material: dict[str, Any],
        person: str,
        read: Callable[[bytes], Output],
        *,
        attempts: int = MAX_COMPLETIONS,
    ) -> Output:
        """Return a completion as `read` parses it. An unusable one is paid for too, and requested again."""
        failure: VendorError | None = None
        for _ in range(attempts):
            body = await self._request_completion(task, material, person)
            try:
                return read(body)
            except UnusableAnswer as error:
                failure = error
                _log.warning("unusable answer", code=error.code, model=self._model)
        raise failure or UnusableAnswer("no_answer")

    async def _request_completion(self, task: Task, material: dict[str, Any], person: str) -> bytes:
        """Return the body of a completion. The material is sent as data in a JSON object.

        An optional parameter that the server refuses is left out of this and later requests.
        """
        api = await self._load()
        import openai  # noqa: PLC0415

        while True:
            try:
                answer = await api.chat.completions.with_raw_response.create(**self._parameters(task, material, person))
            except openai.APIStatusError as error:
                refused = self._refused_feature(error)
                if refused is None:
                    # Without its cause, which may quote the diary and would be logged.
                    raise self._vendor_error(error, task) from None
                self._features.remove(refused)
                _log.warning("parameter left out", parameter=refused, model=self._model)
                continue
            body: bytes = answer.content
            await self._record_cost(body, task)
            return body

    def _parameters(self, task: Task, material: dict[str, Any], person: str) -> dict[str, Any]:
        """Return the parameters of a completion request, without those the server refuses."""
        instructions = task.instructions
        optional: dict[str, Any] = {
            "max_completion_tokens": MAX_TOKENS,
            "max_tokens": MAX_TOKENS,
            "store": False,
            "safety_identifier": person,
        }
        request = {name: value for name, value in optional.items() if name in self._features}
        if "max_completion_tokens" in request:
            # The same parameter's older name, for servers that do not know the newer one.
            request.pop("max_tokens", None)
        if "json_schema" in self._features:
            schema = {"name": task.name, "strict": True, "schema": task.schema}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        else:
            instructions += f"\n\n{task.format}"
        messages = [
            {"role": "system", "content": instructions},
            {"role": "user", "content": json.dumps(material, ensure_ascii=False)},
        ]
        return {"model": self._model, "messages": messages, **request}

    def _refused_feature(self, error: openai.APIStatusError) -> str | None:
        """Return the optional parameter an error is about, or None."""
        if error.status_code not in {400, 422} or error.code in _CONTENT_CODES:
            return None
        sent = [name for name in OPENAI_FEATURES if name in self._features]
        if "max_completion_tokens" in sent and "max_tokens" in sent:
            sent.remove("max_tokens")
        if error.param:
            named = error.param.partition(".")[0].replace("response_format", "json_schema")
            return named if named in sent else None
        text = f"{error.message} {json.dumps(error.body, default=str)}".lower()
        for name in sent:
            # Whole words only: "store" is part of other words.
            words = "json_schema|response_format" if name == "json_schema" else name
            if re.search(rf"(?<![a-z_])(?:{words})(?![a-z_])", text):
                return name
        return None

    async def _record_cost(self, body: bytes, task: Task) -> None:
        """Record the cost of a completion, usable or not."""
        if self._budget is not None:
            await self._budget.paid_for_tokens("openai", task.name, *token_usage(body))

    def _vendor_error(self, error: openai.APIStatusError, task: Task) -> VendorError:
        """Return the VendorError for an error answer. An exhausted quota is a 429 too, but needs an operator."""
        status, code = error.status_code, slug(error.code) or ""
        out_of_quota = "insufficient_quota" in {code, error.type}
        wait = retry_after(error.response.headers, self._clock.now())
        if status == _TOO_MANY and not out_of_quota:
            # A rate limit postpones the job without using up an attempt.
            return Deferred("openai", wait or TOO_MANY_PAUSE, f"answered {status}", code=code or f"http_{status}")
        reason: dict[str, Any] = {}
        if code in _CONTENT_CODES:
            reason = {"reason": task.content_reason}
        elif code == "context_length_exceeded" or status == _TOO_LARGE:
            reason = {"reason": task.length_reason}
        elif out_of_quota or (status < _FIRST_SERVER_ERROR and status not in _RETRIED_STATUSES):
            # The key, the account, the model or a parameter: an operator must fix it, then retries succeed.
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
