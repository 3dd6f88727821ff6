"""Parsing of Suno's untrusted data: tracks, tasks, timed lyrics and callbacks. Pure functions, no network.

Callbacks are snake_case, record-info is camelCase, and optional fields may be absent, null, empty or of another type.
Unknown fields are kept in `SunoTrack.raw`.
"""

from __future__ import annotations

import math
from typing import Any, Literal, cast

import msgspec

from daysong.kernel import logs
from daysong.vendors.envelopes import OK, whole_number
from daysong.vendors.text import clean, storable
from daysong.vendors.webhooks import MalformedEvent

Stage = Literal["text", "first", "complete", "error"]
State = Literal["working", "done", "failed", "unknown"]

STAGES = ("text", "first", "complete", "error")
FAILED = frozenset({"CREATE_TASK_FAILED", "GENERATE_AUDIO_FAILED", "SENSITIVE_WORD_ERROR"})
WORKING = frozenset({"PENDING", "TEXT_SUCCESS", "FIRST_SUCCESS"})


_OUR_FAULT = "Something went wrong on our side."
_CONTENT = "These lyrics were not accepted for a song. Changing the entry's words may help."
_NOT_MADE = "The song could not be made this time."
_REASONS = {
    400: _CONTENT,
    408: _NOT_MADE,
    413: "These lyrics are too long, or too close to an existing work, to be sung.",
    422: _CONTENT,
    451: _NOT_MADE,
    500: _NOT_MADE,
    501: _NOT_MADE,
    531: _NOT_MADE,
}

_log = logs.get_logger("suno")


class MalformedCallback(MalformedEvent):
    """A callback that cannot be parsed; the message names the field."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="MalformedCallback")


class SunoTrack(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two takes. Missing text is empty; missing links and numbers are None.

    audio_url  the first of `audio_urls`, which are all candidate URLs of its audio
    raw        the track as received
    """

    audio_id: str = ""
    title: str = ""
    lyric: str = ""
    tags: str = ""
    duration: float | None = None
    audio_url: str | None = None
    audio_urls: tuple[str, ...] = ()
    stream_url: str | None = None
    image_url: str | None = None
    model: str | None = None
    raw: dict[str, Any] = {}


class SunoTask(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a task.

    state   done: at least one track has audio; unknown: Suno does not know the task
    status  Suno's status, for the log
    reason  why it failed, shown to the user; empty otherwise
    """

    task_id: str
    state: State
    status: str = ""
    tracks: tuple[SunoTrack, ...] = ()
    code: int | None = None
    reason: str = ""


class AlignedWord(msgspec.Struct, frozen=True, rename="camel"):
    """A word with its start and end in seconds."""

    word: str
    start_s: float
    end_s: float
    palign: float = 0.0


class TimedLyrics(msgspec.Struct, frozen=True, rename="camel"):
    """The aligned words of a track, and its waveform for display."""

    aligned_words: tuple[AlignedWord, ...]
    waveform_data: tuple[float, ...] = ()
    hoot_cer: float | None = None


class SunoCallback(msgspec.Struct, frozen=True, kw_only=True):
    """A callback. `stage` is "error" for every code but 200, regardless of the body's `callbackType`.

    message  Suno's message, for the log
    reason   why it failed, shown to the user; empty otherwise
    """

    task_id: str
    stage: Stage
    code: int
    tracks: tuple[SunoTrack, ...] = ()
    message: str = ""
    reason: str = ""


def failure_reason(code: int | None) -> str:
    """Return the sentence shown to the user for an error code."""
    return _REASONS.get(code or 0, _OUR_FAULT)


def parse_callback(body: bytes, *, with_tracks: bool = True) -> SunoCallback:
    """Return the callback in a request's body, which has `task_id` or `taskId`. Errors: MalformedCallback.

    A failure may have no data; then `task_id` is empty. Tracks are never malformed, so that who only checks a callback
    can leave them out.
    """
    try:
        content = msgspec.json.decode(body)
        body.decode()
    except UnicodeDecodeError as error:
        raise MalformedCallback("The body is not UTF-8") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedCallback("The body is not JSON") from error
    if not isinstance(content, dict):
        raise MalformedCallback("The body is not an object")
    code = whole_number(content.get("code"))
    if code is None:
        raise MalformedCallback("`code` is missing or not a number")
    data = content.get("data")
    if not isinstance(data, dict):
        if code == OK:
            raise MalformedCallback("`data` is missing or not an object")
        data = {}
    task_id = _text(data, "task_id", "taskId")
    if not task_id and code == OK:
        raise MalformedCallback("`data.task_id` is missing or not text")
    stage = data.get("callbackType", data.get("callback_type"))
    if code != OK:
        stage = "error"
    if stage not in STAGES:
        raise MalformedCallback("`data.callbackType` is none of text, first, complete, error")
    failed = stage == "error"
    return SunoCallback(
        task_id=task_id,
        stage=cast("Stage", stage),
        code=code,
        tracks=parse_tracks(data.get("data")) if with_tracks and not failed else (),
        message=_text(content, "msg"),
        reason=failure_reason(code) if failed else "",
    )


def parse_task(task_id: str, data: Any) -> SunoTask:
    """Return the state of a task from record-info's `data`.

    CALLBACK_EXCEPTION means that our endpoint failed: the audio may exist anyway. Neither it nor SUCCESS is done until
    a track has audio.
    """
    if not isinstance(data, dict) or not (status := _text(data, "status")):
        return SunoTask(task_id=task_id, state="unknown")
    response = data.get("response")
    tracks = parse_tracks(response.get("sunoData")) if isinstance(response, dict) else ()
    if status in FAILED:
        code = whole_number(data.get("errorCode"))
        reason = _CONTENT if status == "SENSITIVE_WORD_ERROR" else failure_reason(code or 501)
        return SunoTask(task_id=task_id, state="failed", status=status, tracks=tracks, code=code, reason=reason)
    done = status not in WORKING and any(track.audio_url for track in tracks)
    if status not in WORKING | {"SUCCESS", "CALLBACK_EXCEPTION"}:
        _log.warning("unknown task status", status=status)
    return SunoTask(task_id=task_id, state="done" if done else "working", status=status, tracks=tracks)


def parse_tracks(value: Any) -> tuple[SunoTrack, ...]:
    """Return the tracks of a callback or of record-info, without entries that are not objects."""
    return tuple(_track(entry) for entry in value if isinstance(entry, dict)) if isinstance(value, list) else ()


def parse_timed_lyrics(data: Any) -> TimedLyrics | None:
    """Return the timed words of a track, possibly none; None when there is no timing yet."""
    if not isinstance(data, dict) or not isinstance(data.get("alignedWords"), list):
        return None
    words = tuple(word for entry in data["alignedWords"] if (word := _word(entry)) is not None)
    waveform = tuple(number for entry in _list(data, "waveformData") if (number := _number(entry)) is not None)
    return TimedLyrics(words, waveform, _number(data.get("hootCer")))


def _track(found: dict[str, Any]) -> SunoTrack:
    duration = _number(found.get("duration"))
    audio_urls = _links(found, "audio_url", "audioUrl", "source_audio_url", "sourceAudioUrl")
    return SunoTrack(
        audio_id=_text(found, "id", "audioId", "audio_id"),
        title=_text(found, "title"),
        lyric=_text(found, "prompt", "lyric"),
        tags=_text(found, "tags"),
        duration=duration if duration and duration > 0 else None,
        audio_url=next(iter(audio_urls), None),
        audio_urls=audio_urls,
        stream_url=_link(
            found, "stream_audio_url", "streamAudioUrl", "source_stream_audio_url", "sourceStreamAudioUrl"
        ),
        image_url=_link(found, "image_url", "imageUrl", "source_image_url", "sourceImageUrl"),
        model=_text(found, "model_name", "modelName") or None,
        raw=storable(found),
    )


def _word(entry: Any) -> AlignedWord | None:
    if not isinstance(entry, dict):
        return None
    start, end = _number(entry.get("startS")), _number(entry.get("endS"))
    word = entry.get("word")
    if not isinstance(word, str) or start is None or end is None:
        return None
    return AlignedWord(storable(word), start, end, _number(entry.get("palign")) or 0.0)


def _text(found: dict[str, Any], *names: str) -> str:
    """Return the first of the fields that is non-empty text."""
    return next((text for name in names if isinstance(value := found.get(name), str) and (text := clean(value))), "")


def _link(found: dict[str, Any], *names: str) -> str | None:
    """Return the first of the fields that is a web URL."""
    return next(iter(_links(found, *names)), None)


def _links(found: dict[str, Any], *names: str) -> tuple[str, ...]:
    """Return the fields that are web URLs, without duplicates; others must not become links in an app."""
    texts = (_text(found, name) for name in names)
    return tuple(dict.fromkeys(text for text in texts if text.startswith(("https://", "http://"))))


def _list(found: dict[str, Any], name: str) -> list[Any]:
    value = found.get(name)
    return value if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
