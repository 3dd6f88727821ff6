"""Suno, running here: orders are sung by the sandbox's composer, and told to the callback address stage by stage.

Besides Suno's own API:

    GET  /sandbox/suno/files/<id>.<ext>   a track's audio, or its cover as .png; the audio also without an ending
    GET  /sandbox/suno/files/hum<any>.<ext>   six seconds of a tone, or a cover, for addresses that tests make up
    POST /sandbox/suno/deliver            {taskId?, stage?, code?} → {delivered}: one stage by hand, also one that is
                                          past or not yet due; without a stage, all that is outstanding
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import httpx2
import msgspec

from daysong.kernel.time.clock import Clock
from daysong.sandbox.faults import Faults, SunoFaults
from daysong.sandbox.music.on_demand import plain_cover, tone
from daysong.sandbox.suno.callbacks import Callbacks, Delivery, Pace
from daysong.sandbox.suno.files import part_of, spoilt
from daysong.sandbox.suno.tasks import FILE_TYPES, Compose, Order, Studio, Task
from daysong.sandbox.vendor import Answer, Call, Vendor, reply

API_KEY = "sandbox-suno-key"
MODELS = frozenset({"V4", "V4_5", "V4_5PLUS", "V4_5ALL", "V5", "V5_5"})
CREDITS = 10_000
CREDITS_PER_ORDER = 12
LIMITS = {"V4": (3000, 200, 80), "V4_5ALL": (5000, 1000, 80)}
USUAL_LIMITS = (5000, 1000, 100)

MESSAGES = {
    400: "Song Description contained a blocked term.",
    401: "You do not have access permissions",
    404: "Not Found",
    405: "Rate limit exceeded",
    413: "The prompt or style is too long",
    429: "The current credits are insufficient. Please top up.",
    430: "Your call frequency is too high. Please try again later.",
    451: "Unauthorized: failed to fetch the file",
    455: "The website is being maintained, please try again later",
    500: "Internal Error, Please try again later.",
}


class Deliver(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What to deliver by hand."""

    task_id: str | None = None
    stage: Literal["text", "first", "complete", "error"] | None = None
    code: int = 501


class SandboxSuno(Vendor):
    """Takes orders, records them, and sends callbacks."""

    name: ClassVar[str] = "suno"
    fault_type: ClassVar[type[Faults]] = SunoFaults
    api: ClassVar[str] = "/api/"

    def __init__(
        self,
        clock: Clock,
        origin: str,
        data_dir: Path,
        *,
        pace: Pace | None,
        http: httpx2.AsyncClient,
        compose: Compose,
    ) -> None:
        super().__init__(clock)
        self.base_url = f"{origin}/sandbox/suno"
        self.credits = CREDITS
        self.studio = Studio(data_dir / "suno", compose)
        self.tasks: dict[str, Task] = {}
        self._callbacks = Callbacks(clock, http, self.studio, self.base_url, pace, faults=lambda: self._mischief)

    @property
    def _mischief(self) -> SunoFaults:
        return cast("SunoFaults", self.faults)

    async def settle(self) -> list[Delivery]:
        """Deliver whatever is outstanding, at once."""
        delivered: list[Delivery] = []
        for task in list(self.tasks.values()):
            delivered += await self._callbacks.finish(task)
        return delivered

    async def close(self) -> None:
        """Stop background deliveries."""
        await self._callbacks.close()
        self.studio.close()

    async def song_titled(self, title: str) -> tuple[bytes, bytes] | None:
        """Return the cover and the audio file of the newest song of that title; None when there is none."""
        task = next((task for task in reversed(self.tasks.values()) if task.order.title == title and task.sung), None)
        if task is None:
            return None
        cover = await self.studio.read(await self.studio.cover(task, 0))
        sound = await self.studio.read((await self.studio.recording(task, 0)).file)
        return None if cover is None or sound is None else (cover, sound)

    def error(self, status: int | None, code: int | str | None) -> tuple[int, Any]:
        """Return an error envelope: with HTTP 200 when only a code was given, as Suno does."""
        number = int(code if code is not None else status or 500)
        return status or 200, {"code": number, "msg": MESSAGES.get(number, "The sandbox says no."), "data": None}

    async def control(self, call: Call) -> Answer | None:
        """Serve the sandbox's own endpoints."""
        if (call.method, call.path) != ("POST", "/deliver"):
            return None
        try:
            wanted = msgspec.json.decode(call.body or b"{}", type=Deliver)
        except msgspec.DecodeError as error:
            return reply({"error": str(error)}, 400)
        if wanted.task_id is not None and wanted.task_id not in self.tasks:
            return reply({"error": f"no task {wanted.task_id!r}"}, 404)
        tasks = list(self.tasks.values()) if wanted.task_id is None else [self.tasks[wanted.task_id]]
        delivered: list[Delivery] = []
        for task in tasks:
            if wanted.stage is None:
                delivered += await self._callbacks.finish(task)
            else:
                delivered += await self._callbacks.by_hand(task, wanted.stage, wanted.code)
        return reply({"delivered": delivered})

    async def serve(self, call: Call, faults: Faults) -> Answer:  # noqa: ARG002 - a fault of its kind spoils callbacks
        """Serve the API, and the files beside it."""
        if call.method == "GET" and call.path.startswith("/files/"):
            return part_of(await self._file(call.path.removeprefix("/files/")), call.headers.get("range"))
        if call.bearer != API_KEY:
            return self._envelope(401)
        match call.method, call.path:
            case "POST", "/api/v1/generate":
                return self._generate(call)
            case "GET", "/api/v1/generate/record-info":
                return self._record(call)
            case "POST", "/api/v1/generate/get-timestamped-lyrics":
                return await self._timed_lyrics(call)
            case "GET", "/api/v1/generate/credit":
                return reply({"code": 200, "msg": "success", "data": self.credits})
        return self._envelope(404)

    def _envelope(self, code: int, message: str | None = None) -> Answer:
        _, body = self.error(None, code)
        return reply(body if message is None else body | {"msg": message})

    def _generate(self, call: Call) -> Answer:
        asked = call.json()
        if not isinstance(asked, dict):
            return self._envelope(400, "Request body is not valid JSON")
        if complaint := _complaint(asked):
            return self._envelope(*complaint)
        if self.credits < CREDITS_PER_ORDER:
            return self._envelope(429)
        self.credits -= CREDITS_PER_ORDER
        task = Task.new(Order.read(asked), self.clock.now(), tracks=self._mischief.tracks)
        self.tasks[task.task_id] = task
        self._callbacks.begin(task)
        return reply({"code": 200, "msg": "success", "data": {"taskId": task.task_id}})

    def _record(self, call: Call) -> Answer:
        task = self.tasks.get(call.query.get("taskId", [""])[0])
        if task is None:
            return self._envelope(422, "recordInfo is null")
        return reply(
            {
                "code": 200,
                "msg": "success",
                "data": task.record(self.base_url, self.studio, nameless=self._mischief.audio == "nameless"),
            }
        )

    async def _timed_lyrics(self, call: Call) -> Answer:
        asked = call.json()
        asked = asked if isinstance(asked, dict) else {}
        task = self.tasks.get(str(asked.get("taskId")))
        if task is None:
            return self._envelope(400, "taskId does not exist")
        take = task.take_of(str(asked.get("audioId")))
        if take is None:
            return self._envelope(400, "audioId does not exist")
        words = None
        if take < task.sung and not task.order.instrumental:
            recording = await self.studio.recording(task, take)
            words = {
                "alignedWords": [
                    {
                        "word": word.word,
                        "success": True,
                        "startS": round(word.start, 3),
                        "endS": round(word.end, 3),
                        "palign": 0,
                    }
                    for word in recording.words
                ],
                "waveformData": list(recording.waveform),
                "hootCer": 0.02,
                "isStreamed": False,
            }
        return reply({"code": 200, "msg": "success", "data": words})

    async def _file(self, name: str) -> Answer:
        audio_id, _, ending = name.partition(".")
        if name.startswith("hum"):
            picture = Answer(200, plain_cover(), "image/png")
            return picture if ending in {"png", "jpeg"} else Answer(200, tone(220.0), "audio/mpeg")
        take: int | None = None
        for task in self.tasks.values():
            take = task.take_of(audio_id)
            if take is None:
                continue
            name = (
                await self.studio.cover(task, take)
                if ending == "png"
                else (await self.studio.recording(task, take)).file
            )
            break
        content = await self.studio.read(name)
        if content is None:
            return Answer(404, b"", "text/plain")
        answer = Answer(200, content, FILE_TYPES[name.rpartition(".")[2]])
        return answer if take is None else spoilt(answer, self._mischief, take)


def _complaint(asked: dict[str, Any]) -> tuple[int, str] | None:
    """Return the code and message by which Suno would refuse the order; None when it would accept it."""
    for wrong, message in _CHECKS:
        if wrong(asked):
            return 400, message
    prompt, style, title = LIMITS.get(asked["model"], USUAL_LIMITS)
    if not asked["customMode"]:
        prompt = 500
    for field, limit in (("prompt", prompt), ("style", style), ("title", title)):
        if len(asked.get(field) or "") > limit:
            return 413, f"The {field} length cannot exceed {limit} characters"
    return None


def _missing(asked: dict[str, Any], field: str) -> bool:
    return not isinstance(asked.get(field), str) or not asked[field].strip()


_CHECKS: list[tuple[Callable[[dict[str, Any]], bool], str]] = [
    (lambda asked: not isinstance(asked.get("customMode"), bool), "customMode cannot be null"),
    (lambda asked: not isinstance(asked.get("instrumental"), bool), "instrumental cannot be null"),
    (lambda asked: asked.get("model") not in MODELS, "model is invalid"),
    (
        lambda asked: not str(asked.get("callBackUrl") or "").startswith(("http://", "https://")),
        "Please enter callBackUrl.",
    ),
    (lambda asked: asked["customMode"] and _missing(asked, "style"), "Please enter style."),
    (lambda asked: asked["customMode"] and _missing(asked, "title"), "Please enter title."),
    (
        lambda asked: not (asked["customMode"] and asked["instrumental"]) and _missing(asked, "prompt"),
        "Please enter prompt.",
    ),
]
