"""Kie, running here: videos from a prompt or a picture, told to the callback URL when they have ended.

Besides Kie's own API:

    GET  /sandbox/kie/files/<task>.mp4   a finished video
    POST /sandbox/kie/deliver            {taskId?, state?, failCode?} → {delivered}: end a task by hand and send its
                                         callback, also once more; without a state, all that is outstanding

A song's video has its cover and its sound if the prompt has the title of a song of the sandbox's Suno in quotation
marks; further quotations are lines to be shown.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import httpx2
import msgspec

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.time.clock import Clock, to_ms
from daysong.sandbox.faults import Faults, KieFaults
from daysong.sandbox.kie.clips import Film
from daysong.sandbox.music.on_demand import draw_cover
from daysong.sandbox.sender import Sender
from daysong.sandbox.suno.files import NOISE_BYTES, PAGE, part_of
from daysong.sandbox.vendor import Answer, Call, Vendor, reply

API_KEY = "sandbox-kie-key"
HMAC_KEY = "sandbox-kie-hmac-key"
CREDITS = 5_000
CREDITS_PER_ORDER = 30
LONGEST_PROMPT = 10_000
TEXT_MODEL = "sora-2-text-to-video"
IMAGE_MODEL = "bytedance/v1-pro-fast-image-to-video"
# Seconds from an order to its end, where videos are delivered by themselves.
PACE = 4.0
MESSAGES = {
    401: "You do not have access permissions",
    402: "Credits insufficient",
    404: "Not Found",
    422: "The parameters are invalid",
    429: "Your call frequency is too high. Please try again later.",
    455: "The service is being maintained",
    500: "Server exception, please try again later",
    501: "Generation failed",
    505: "The feature is disabled",
}
# An address that no client should fetch from.
FOREIGN = "http://169.254.169.254/latest/meta-data/video.mp4"
_QUOTED = re.compile(r"“([^“”]{1,200})”")

_log = logs.get_logger("sandbox")


class Song(msgspec.Struct, frozen=True):
    """The cover and the audio file of a song."""

    cover: bytes
    sound: bytes


class Task(msgspec.Struct):
    """One order on its way."""

    task_id: str
    request: dict[str, Any]
    created_ms: int
    state: Literal["waiting", "queuing", "generating", "success", "fail"] = "waiting"
    fail_code: int | None = None
    ended_ms: int = 0
    lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)

    @property
    def ended(self) -> bool:
        """Return whether the task has ended."""
        return self.state in {"success", "fail"}

    def record(self, url: str) -> dict[str, Any]:
        """Return what recordInfo shows: failCode and failMsg as empty text unless it failed, the result as text."""
        failed = self.fail_code
        return {
            "taskId": self.task_id,
            "model": self.request["model"],
            "state": self.state,
            "param": json.dumps(self.request, ensure_ascii=False),
            "resultJson": json.dumps({"resultUrls": [url]}) if self.state == "success" else "",
            "failCode": "" if failed is None else str(failed),
            "failMsg": "" if failed is None else MESSAGES.get(failed, "The sandbox was told to fail."),
            "costTime": max(0, self.ended_ms - self.created_ms),
            "completeTime": self.ended_ms,
            "createTime": self.created_ms,
            "updateTime": self.ended_ms or self.created_ms,
        }


class Callback(msgspec.Struct):
    """A callback that was sent; `status` is the endpoint's last answer, None without one."""

    task_id: str
    url: str
    body: bytes
    status: int | None = None


class Deliver(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """What to deliver by hand."""

    task_id: str | None = None
    state: Literal["success", "fail"] | None = None
    fail_code: int = 500


class Callbacks(Sender[Callback]):
    """Sends callbacks: 15 seconds for an answer, three retries, signed."""

    tries: ClassVar[int] = 4
    deadline: ClassVar[float] = 15.0

    def __init__(self, http: httpx2.AsyncClient, clock: Clock, faults: Callable[[], KieFaults], *, live: bool) -> None:
        super().__init__(http, "", live=live)
        self._clock = clock
        self._faults = faults

    def send(self, callback: Callback) -> None:
        """Send a callback, at once or when it is settled."""
        self.messages.append(callback)
        self._enqueue(callback)

    def _url_of(self, message: Callback) -> str:
        return message.url

    def _signed(self, message: Callback) -> tuple[bytes, dict[str, str]]:
        sent = str(int(self._clock.now().timestamp()))
        key = "another key" if self._faults().callbacks == "bad_signature" else HMAC_KEY
        signature = base64.b64encode(hmac.digest(key.encode(), f"{message.task_id}.{sent}".encode(), hashlib.sha256))
        body = b'{"code": 200, "data": {"ta' if self._faults().callbacks == "malformed" else message.body
        return body, {
            "Content-Type": "application/json",
            "X-Webhook-Timestamp": sent,
            "X-Webhook-Signature": signature.decode(),
        }

    def _deliveries(self, outstanding: list[Callback]) -> list[Callback]:
        match self._faults().callbacks:
            case "lost":
                return []
            case "duplicated":
                return [message for message in outstanding for _ in range(2)]
        return outstanding

    def _is_taken(self, status: int) -> bool:
        return status == httpx2.codes.OK


class SandboxKie(Vendor):
    """Takes orders, renders videos, and sends callbacks."""

    name: ClassVar[str] = "kie"
    fault_type: ClassVar[type[Faults]] = KieFaults
    api: ClassVar[str] = "/api/"

    def __init__(
        self,
        clock: Clock,
        origin: str,
        data_dir: Path,
        *,
        http: httpx2.AsyncClient,
        live: bool,
        film: Film,
        song_titled: Callable[[str], Awaitable[Song | None]],
    ) -> None:
        super().__init__(clock)
        self.base_url = f"{origin}/sandbox/kie"
        self.credits = CREDITS
        self.tasks: dict[str, Task] = {}
        self._folder = data_dir / "kie"
        self._http = http
        self._live = live
        self._film = film
        self._song_titled = song_titled
        self._rendering: set[asyncio.Task[None]] = set()
        self.callbacks = Callbacks(http, clock, lambda: self._mischief, live=live)

    @property
    def _mischief(self) -> KieFaults:
        return cast("KieFaults", self.faults)

    async def settle(self) -> None:
        """End every task and deliver its callback."""
        for task in list(self.tasks.values()):
            await self._finish(task)
        await self.callbacks.settle()

    async def close(self) -> None:
        """Stop rendering and sending."""
        for rendering in list(self._rendering):
            rendering.cancel()
        await asyncio.gather(*self._rendering, return_exceptions=True)
        await self.callbacks.close()

    def error(self, status: int | None, code: int | str | None) -> tuple[int, Any]:
        """Return an error envelope: with HTTP 200 when only a code was given, as Kie does."""
        number = int(code if code is not None else status or 500)
        return status or 200, {"code": number, "msg": MESSAGES.get(number, "The sandbox says no."), "data": None}

    async def control(self, call: Call) -> Answer | None:
        """Serve the sandbox's own endpoint."""
        if (call.method, call.path) != ("POST", "/deliver"):
            return None
        try:
            wanted = msgspec.json.decode(call.body or b"{}", type=Deliver)
        except msgspec.DecodeError as error:
            return reply({"error": str(error)}, 400)
        if wanted.task_id is not None and wanted.task_id not in self.tasks:
            return reply({"error": f"no task {wanted.task_id!r}"}, 404)
        tasks = list(self.tasks.values()) if wanted.task_id is None else [self.tasks[wanted.task_id]]
        told = len(self.callbacks.messages)
        for task in tasks:
            if wanted.state is None:
                await self._finish(task)
            else:
                await self._finish(task, wanted.fail_code if wanted.state == "fail" else None, again=True)
        await self.callbacks.settle()
        sent = self.callbacks.messages[told:]
        return reply({"delivered": [{"taskId": each.task_id, "status": each.status} for each in sent]})

    async def serve(self, call: Call, faults: Faults) -> Answer:  # noqa: ARG002 - a fault of its kind spoils callbacks
        """Serve the API, and the files beside it."""
        if call.method == "GET" and call.path.startswith("/files/"):
            return part_of(await self._file(call.path.removeprefix("/files/")), call.headers.get("range"))
        if call.bearer != API_KEY:
            return self._envelope(401)
        match call.method, call.path:
            case "POST", "/api/v1/jobs/createTask":
                return self._create(call.json())
            case "GET", "/api/v1/jobs/recordInfo":
                task = self.tasks.get(call.query.get("taskId", [""])[0])
                if task is None:
                    return self._envelope(422, "recordInfo is null")
                return reply({"code": 200, "msg": "success", "data": task.record(self._url_of(task))})
            case "GET", "/api/v1/chat/credit":
                return reply({"code": 200, "msg": "success", "data": self.credits})
        return self._envelope(404)

    def _envelope(self, code: int, message: str | None = None) -> Answer:
        _, body = self.error(None, code)
        return reply(body if message is None else body | {"msg": message})

    def _url_of(self, task: Task) -> str:
        return FOREIGN if self._mischief.file == "foreign" else f"{self.base_url}/files/{task.task_id}.mp4"

    def _create(self, asked: Any) -> Answer:
        if complaint := _complaint(asked):
            return self._envelope(422, complaint)
        if self.credits < CREDITS_PER_ORDER:
            return self._envelope(402)
        self.credits -= CREDITS_PER_ORDER
        task = Task(uuid.uuid4().hex, asked, int(to_ms(self.clock.now())))
        self.tasks[task.task_id] = task
        if self._live:
            rendering = asyncio.create_task(self._at_pace(task))
            self._rendering.add(rendering)
            rendering.add_done_callback(self._rendering.discard)
        return reply({"code": 200, "msg": "success", "data": {"taskId": task.task_id}})

    async def _at_pace(self, task: Task) -> None:
        task.state = "generating"
        await asyncio.sleep(PACE)
        try:
            await self._finish(task)
        except Exception as error:  # noqa: BLE001 - this task is not awaited: its failure must be logged
            _log.error("sandboxed video failed", error=logs.describe(error))

    async def _finish(self, task: Task, fail_code: int | None = None, *, again: bool = False) -> None:
        """End a task and send its callback, if it has not ended yet, or `again`."""
        async with task.lock:
            faults = self._mischief
            if faults.stuck or (task.ended and not again):
                task.state = task.state if task.ended else "generating"
                return
            fail_code = fail_code or faults.fail_code
            if not task.ended:
                if fail_code is None:
                    fail_code = await self._render(task)
                task.state, task.fail_code = ("success", None) if fail_code is None else ("fail", fail_code)
                task.ended_ms = int(to_ms(self.clock.now()))
            self.callbacks.send(Callback(task.task_id, str(task.request["callBackUrl"]), self._body(task)))

    def _body(self, task: Task) -> bytes:
        """Return the callback's body, in which fields without a failure are null."""
        told = task.record(self._url_of(task))
        told |= {"failCode": told["failCode"] or None, "failMsg": told["failMsg"] or None}
        failed = task.state == "fail"
        envelope = {"code": 501 if failed else 200, "msg": "Playground task failed." if failed else "success"}
        return msgspec.json.encode({**envelope, "data": told})

    async def _render(self, task: Task) -> int | None:
        """Store the video; the code of a failure if the picture cannot be fetched."""
        given = task.request["input"]
        quoted = tuple(_QUOTED.findall(given["prompt"]))
        title, lines = (quoted[0], quoted[1:]) if quoted else ("", ())
        song = await self._song_titled(title) if title else None
        if task.request["model"] == IMAGE_MODEL:
            picture = await self._fetched(given["image_url"])
            if picture is None:
                return 422
        else:
            picture = (
                song.cover
                if song
                else await asyncio.to_thread(draw_cover, title=title, style=given["prompt"], seed=task.task_id)
            )
        seconds = float(given.get("n_frames") or given.get("duration") or 5)
        sound = song.sound if song else None
        content = await asyncio.to_thread(self._film, seconds, picture, title, lines, sound)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{task.task_id}.mp4").write_bytes(content)
        return None

    async def _fetched(self, url: str) -> bytes | None:
        try:
            answer = await self._http.get(url)
        except (httpx2.RequestError, httpx2.InvalidURL, VendorError):
            return None
        return answer.content if answer.is_success else None

    async def _file(self, name: str) -> Answer:
        task_id, _, ending = name.partition(".")
        match self._mischief.file:
            case "missing":
                return Answer(404, b"", "text/plain")
            case "page":
                return Answer(200, PAGE, "video/mp4")
            case "noise":
                return Answer(200, bytes(NOISE_BYTES), "video/mp4")
            case "empty":
                return Answer(200, b"", "video/mp4")
        if ending != "mp4" or not task_id.isalnum():
            return Answer(404, b"", "text/plain")
        try:
            content = await asyncio.to_thread((self._folder / name).read_bytes)
        except FileNotFoundError:
            return Answer(404, b"", "text/plain")
        # As storage networks label it.
        return Answer(200, content, "application/octet-stream")


def _complaint(asked: Any) -> str | None:
    """Return the message by which Kie would refuse an order; None when it would accept it."""
    if not isinstance(asked, dict) or not isinstance(given := asked.get("input"), dict):
        return "This field is required: input"
    if not str(asked.get("callBackUrl") or "").startswith(("http://", "https://")):
        return "callBackUrl is invalid"
    prompt = given.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > LONGEST_PROMPT:
        return "prompt is empty or too long"
    match asked.get("model"):
        case "sora-2-text-to-video":
            if given.get("n_frames") not in {"10", "15"}:
                return "n_frames is not within the range of allowed options"
            if given.get("aspect_ratio") not in {"portrait", "landscape"}:
                return "aspect_ratio is not within the range of allowed options"
        case "bytedance/v1-pro-fast-image-to-video":
            if not str(given.get("image_url") or "").startswith(("http://", "https://")):
                return "image_url is invalid"
            if given.get("duration") not in {"5", "10"} or given.get("resolution") not in {"720p", "1080p"}:
                return "duration or resolution is not within the range of allowed options"
        case _:
            return "The model name you specified is not supported"
    return None
