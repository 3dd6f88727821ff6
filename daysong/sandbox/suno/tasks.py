"""The sandboxed Suno's orders, what they look like from outside at each stage, and the recordings behind them."""

from __future__ import annotations

import asyncio
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import msgspec

from daysong.kernel.time.clock import to_ms
from daysong.sandbox.music.on_demand import draw_cover
from daysong.sandbox.music.recording import Recording
from daysong.sandbox.music.timing import SungWord

Stage = Literal["text", "first", "complete", "error"]
STAGES: tuple[Stage, ...] = ("text", "first", "complete")
STATUSES = ("PENDING", "TEXT_SUCCESS", "FIRST_SUCCESS", "SUCCESS")
MODEL_NAMES = {"V4": "chirp-v4", "V5": "chirp-crow", "V5_5": "chirp-fenix"}
FILE_TYPES = {"mp3": "audio/mpeg", "ogg": "audio/ogg", "wav": "audio/wav", "flac": "audio/flac", "png": "image/png"}
ENDINGS = {"audio/mpeg": "mp3", "audio/ogg": "ogg", "audio/wav": "wav", "audio/x-wav": "wav", "audio/flac": "flac"}


class Compose(Protocol):
    """Turns lyrics into a recording, such as `composer.compose`."""

    def __call__(self, *, title: str, lyrics: str, style: str, take: int, seed: str) -> Recording: ...


class Order(msgspec.Struct, frozen=True):
    """An order; `request` is the whole request, as record-info echoes it."""

    lyrics: str
    style: str
    title: str
    model: str
    instrumental: bool
    callback_url: str
    request: dict[str, Any]

    @classmethod
    def read(cls, asked: dict[str, Any]) -> Self:
        """Return an order from a valid request."""
        return cls(
            lyrics="" if asked["instrumental"] else asked.get("prompt") or "",
            style=asked.get("style") or "warm indie folk",
            title=asked.get("title") or "Untitled",
            model=MODEL_NAMES.get(asked["model"], "chirp-auk"),
            instrumental=asked["instrumental"],
            callback_url=asked["callBackUrl"],
            request=asked,
        )


class Task(msgspec.Struct):
    """One order on its way.

    stage   how many of text, first and complete it has passed
    failed  the code and words of its failure
    """

    task_id: str
    order: Order
    audio_ids: tuple[str, ...]
    created_ms: int
    stage: int = 0
    failed: tuple[int, str] | None = None
    unheard: bool = False
    lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)

    @classmethod
    def new(cls, order: Order, now: datetime, *, tracks: int) -> Self:
        """Return a new task of two takes, or fewer."""
        ids = tuple(str(uuid.uuid4()) for _ in range(tracks))
        return cls(uuid.uuid4().hex, order, ids, int(to_ms(now)))

    @property
    def settled(self) -> bool:
        """Return whether the task has ended."""
        return self.failed is not None or self.stage == len(STAGES)

    @property
    def sung(self) -> int:
        """Return how many takes have their audio."""
        return self.takes_sung_at(self.stage) if self.failed is None else 0

    def takes_sung_at(self, stage: int) -> int:
        """How many takes have their audio after so many stages: one at `first`, all at `complete`."""
        return {0: 0, 1: 0, 2: 1}.get(stage, len(self.audio_ids))

    def take_of(self, audio_id: str) -> int | None:
        """Return the index of the take with that id."""
        return self.audio_ids.index(audio_id) if audio_id in self.audio_ids else None

    def record(self, base_url: str, studio: Studio, *, nameless: bool = False) -> dict[str, Any]:
        """Return what record-info shows: camelCase, the request echoed as text, no tracks before their text exists."""
        failed = self.failed
        status = STATUSES[self.stage]
        if failed is not None:
            status = "SENSITIVE_WORD_ERROR" if failed[0] == 400 else "GENERATE_AUDIO_FAILED"
        elif self.unheard:
            status = "CALLBACK_EXCEPTION"
        tracks = [self._recorded(base_url, studio, take, nameless=nameless) for take in range(len(self.audio_ids))]
        shown = failed is None and self.stage > 0
        return {
            "taskId": self.task_id,
            "parentMusicId": "",
            "param": json.dumps(self.order.request, ensure_ascii=False),
            "response": {"taskId": self.task_id, "sunoData": tracks} if shown else None,
            "status": status,
            "type": self.order.model,
            "operationType": "generate",
            "errorCode": failed[0] if failed else None,
            "errorMessage": failed[1] if failed else None,
            "createTime": self.created_ms,
        }

    def _recorded(self, base_url: str, studio: Studio, take: int, *, nameless: bool) -> dict[str, Any]:
        told = self.track(base_url, studio, take, sung=self.sung, created_ms=self.created_ms, nameless=nameless)
        camel = {_camel(name): value for name, value in told.items()}
        return {"audioUrl": "", "sourceAudioUrl": "", "duration": None} | camel

    def track(
        self, base_url: str, studio: Studio, take: int, *, sung: int, created_ms: int, nameless: bool = False
    ) -> dict[str, Any]:
        """A track as callbacks have it: no duration and no source_audio_url before it is sung.

        A `nameless` one has an address of audio that is not there.
        """
        address = f"{base_url}/files/{self.audio_ids[take]}"
        told: dict[str, Any] = {
            "audio_url": "",
            "createTime": created_ms,
            "id": self.audio_ids[take],
            "image_url": f"{address}.png",
            "model_name": self.order.model,
            "prompt": self.order.lyrics,
            "source_image_url": f"{address}.png",
            "source_stream_audio_url": address,
            "stream_audio_url": address,
            "tags": self.order.style,
            "title": self.order.title,
        }
        heard = studio.known(self, take)
        if take < sung and heard is not None:
            audio = f"{base_url}/files/{'None.mp3' if nameless else heard.file}"
            told |= {"audio_url": audio, "source_audio_url": audio, "duration": round(heard.duration, 2)}
        return told


class Tape(msgspec.Struct, frozen=True):
    """What is remembered of a recording: all but its sound, which is on disk."""

    file: str
    content_type: str
    duration: float
    words: tuple[SungWord, ...]
    waveform: tuple[float, ...]


class Studio:
    """Records takes, each once, beside the event loop. Audio and covers are files, so that links outlive a restart."""

    def __init__(self, folder: Path, compose: Compose) -> None:
        self._folder = folder
        self._compose = compose
        self._tapes: dict[str, Tape] = {}
        self._recording: dict[str, asyncio.Future[Tape]] = {}
        # A song takes a few seconds of computing: more at a time would only slow all of them down.
        self._players = ThreadPoolExecutor(max_workers=2, thread_name_prefix="studio")

    def close(self) -> None:
        """Stop recording."""
        self._players.shutdown(wait=False, cancel_futures=True)

    def known(self, task: Task, take: int) -> Tape | None:
        """Return the recording, once it exists."""
        return self._tapes.get(task.audio_ids[take])

    def prepare(self, task: Task, take: int) -> asyncio.Future[Tape]:
        """Start the recording, unless it is under way or done; concurrent callers share it."""
        audio_id = task.audio_ids[take]
        if audio_id not in self._recording:
            loop = asyncio.get_running_loop()
            self._recording[audio_id] = loop.run_in_executor(self._players, self._record, task, take)
        return self._recording[audio_id]

    async def recording(self, task: Task, take: int) -> Tape:
        """The take's words and loudness, once it is recorded."""
        return await asyncio.shield(self.prepare(task, take))

    def _record(self, task: Task, take: int) -> Tape:
        order, audio_id = task.order, task.audio_ids[take]
        made = self._compose(title=order.title, lyrics=order.lyrics, style=order.style, take=take, seed=task.task_id)
        file = f"{audio_id}.{ENDINGS[made.content_type]}"
        self._keep(file, made.audio)
        if made.cover is not None:
            self._keep(f"{audio_id}.png", made.cover)
        tape = Tape(file, made.content_type, made.duration, made.words, made.waveform)
        self._tapes[audio_id] = tape
        return tape

    async def cover(self, task: Task, take: int) -> str:
        """Return the name of the take's cover file, drawn if necessary."""
        return await asyncio.to_thread(self._draw, task, take)

    def _draw(self, task: Task, take: int) -> str:
        file = f"{task.audio_ids[take]}.png"
        if not (self._folder / file).exists():
            order = task.order
            self._keep(file, draw_cover(title=order.title, style=order.style, seed=f"{task.task_id}{take}"))
        return file

    async def read(self, file: str) -> bytes | None:
        """Return a file's bytes; None when it does not exist."""
        name, _, ending = file.partition(".")
        if ending not in FILE_TYPES or not name.replace("-", "").isalnum():
            return None
        try:
            return await asyncio.to_thread((self._folder / file).read_bytes)
        except FileNotFoundError:
            return None

    def _keep(self, file: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / file).write_bytes(content)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
