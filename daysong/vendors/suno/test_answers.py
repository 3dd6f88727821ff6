"""Every callback Suno is known to send is read, and nothing it could send breaks the reader."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daysong.vendors.conftest import fixture, fixtures
from daysong.vendors.envelopes import whole_number
from daysong.vendors.suno.answers import (
    MalformedCallback,
    SunoTrack,
    TimedLyrics,
    parse_callback,
    parse_task,
    parse_timed_lyrics,
    parse_tracks,
)

TASK = "5f00aa11bb22cc33dd44ee55ff660001"
AUDIO = "00000000-0000-4000-8000-00000000a001"
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)

CALLBACKS = {
    "callback-text": ("text", 200, 2, 0),
    "callback-first": ("first", 200, 2, 1),
    "callback-complete": ("complete", 200, 2, 2),
    "callback-complete-docs-createtime": ("complete", 200, 2, 2),
    "callback-complete-no-audio": ("complete", 200, 2, 0),
    "callback-error-400-bad-request": ("error", 400, 0, 0),
    "callback-error-408-timeout": ("error", 408, 0, 0),
    "callback-error-451-download-failed": ("error", 451, 0, 0),
    "callback-error-500-server-error": ("error", 500, 0, 0),
    "callback-error-501-generation-failed": ("error", 501, 0, 0),
    "callback-error-531-refunded": ("error", 531, 0, 0),
}


def test_every_recorded_callback_has_its_reading_here() -> None:
    """A new recording without an expectation is noticed."""
    assert set(fixtures("suno", "callback-*")) == set(CALLBACKS)


@pytest.mark.parametrize("name", CALLBACKS)
def test_each_recorded_callback_is_read(name: str) -> None:
    """Stage, code, tracks, and which of them can be heard."""
    callback = parse_callback(fixture(f"suno/{name}.json").read_bytes())
    heard = sum(track.audio_url is not None for track in callback.tracks)
    assert (callback.stage, callback.code, len(callback.tracks), heard) == CALLBACKS[name]
    assert callback.task_id == TASK
    assert callback.message
    assert bool(callback.reason) is (callback.stage == "error")


def test_a_finished_track_keeps_everything_it_came_with() -> None:
    """Named fields are typed; the whole track stays in `raw`."""
    track = parse_callback(fixture("suno/callback-complete.json").read_bytes()).tracks[0]
    assert track == SunoTrack(
        audio_id=AUDIO,
        title="Quiet Street",
        lyric=track.raw["prompt"],
        tags="soft indie folk, acoustic guitar, gentle female vocal",
        duration=164.24,
        audio_url=f"https://files.suno.example/{AUDIO}.mp3",
        audio_urls=tuple(dict.fromkeys([track.raw["audio_url"], track.raw["source_audio_url"]])),
        stream_url=f"https://files.suno.example/{AUDIO}",
        image_url=f"https://files.suno.example/{AUDIO}.jpeg",
        model="chirp-crow",
        raw=track.raw,
    )
    assert track.raw["createTime"] == 1795161685062


def test_callbacks_and_records_give_the_same_track() -> None:
    """snake_case and camelCase are one thing."""
    record = json.loads(fixture("suno/record-info-success.json").read_bytes())["data"]
    from_record = parse_task(TASK, record).tracks
    from_callback = parse_callback(fixture("suno/callback-complete.json").read_bytes()).tracks
    bare = [[msgspec.structs.replace(track, raw={}) for track in tracks] for tracks in (from_record, from_callback)]
    assert bare[0] == bare[1]


def test_the_first_link_that_leads_somewhere_is_taken() -> None:
    """Empty, null and wrong-typed links are passed over, and what is no web address is no link."""
    (track,) = parse_tracks(
        [
            {
                "audio_url": "",
                "source_audio_url": "https://cdn1.suno.example/a.mp3",
                "stream_audio_url": None,
                "sourceStreamAudioUrl": "https://audiopipe.suno.example/a",
                "image_url": "javascript:alert(1)",
                "source_image_url": 5,
                "title": None,
                "duration": "12.5",
                "new_field": {"kept": True},
            }
        ]
    )
    assert track.audio_url == "https://cdn1.suno.example/a.mp3"
    assert track.stream_url == "https://audiopipe.suno.example/a"
    assert (track.image_url, track.title, track.duration) == (None, "", 12.5)
    assert track.raw["new_field"] == {"kept": True}


@pytest.mark.parametrize("duration", [None, 0, -1, True, "x", float("nan"), 10**400, []])
def test_a_duration_that_is_none_is_none(duration: object) -> None:
    """Only a positive number of seconds is a length."""
    assert parse_tracks([{"duration": duration}])[0].duration is None


def body_with(**changes: Any) -> bytes:
    content = json.loads(fixture("suno/callback-complete.json").read_bytes())
    for name, value in changes.items():
        target = content["data"] if name in content["data"] else content
        target[name] = value
        if value is ...:
            del target[name]
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"code": 200', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "object"),
        (b'{"msg": "x"}', "code"),
        (b'{"code": true, "data": {}}', "code"),
        (b'{"code": 200}', "data"),
        (b'{"code": 200, "data": []}', "data"),
        (body_with(task_id=...), "task_id"),
        (body_with(task_id=7), "task_id"),
        (body_with(task_id=" "), "task_id"),
        (body_with(callbackType=...), "callbackType"),
        (body_with(callbackType="done"), "callbackType"),
        (body_with(callbackType=["text"]), "callbackType"),
    ],
)
def test_a_malformed_callback_names_what_is_wrong(body: bytes, named: str) -> None:
    """400, with the field in the message."""
    with pytest.raises(MalformedCallback, match=named) as caught:
        parse_callback(body)
    assert caught.value.code == "MalformedCallback"


def test_the_task_may_be_named_in_either_way() -> None:
    """Some integrations report `taskId`."""
    content = json.loads(body_with(task_id=...))
    content["data"]["taskId"] = TASK
    assert parse_callback(json.dumps(content).encode()).task_id == TASK


def test_any_other_code_than_200_is_an_error_whatever_it_calls_itself() -> None:
    """A failure does not become a song by its label."""
    callback = parse_callback(body_with(code=531))
    assert (callback.stage, callback.tracks) == ("error", ())


@pytest.mark.parametrize("tracks", [None, {}, "x", [None, 5, "x"]])
def test_odd_tracks_are_left_out(tracks: object) -> None:
    """The callback still says what it says."""
    content = json.loads(body_with())
    content["data"]["data"] = tracks
    assert parse_callback(json.dumps(content).encode()).tracks == ()


@given(st.binary() | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_no_body_can_break_the_callback_parser(body: bytes) -> None:
    """Anything is a callback or malformed, never a crash."""
    with contextlib.suppress(MalformedCallback):
        assert parse_callback(body).task_id


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from([*json.loads(body_with())["data"]["data"][0], "audioUrl", "modelName"]), ANYTHING
        ),
        max_size=2,
    )
)
@settings(max_examples=50)
def test_no_track_can_break_the_reader(tracks: list[dict[str, Any]]) -> None:
    """Every field may be missing, null or of another type, and the result can be stored."""
    for track in parse_tracks(tracks):
        assert track.audio_url is None or track.audio_url.startswith("http")
        assert "\x00" not in repr(track.raw)


@given(ANYTHING)
def test_no_answer_can_break_the_readers(data: Any) -> None:
    """Tasks, words and numbers are read from anything."""
    assert parse_task(TASK, data).state == "unknown"
    assert parse_timed_lyrics(data) is None
    timed = parse_timed_lyrics({"alignedWords": [data], "waveformData": data, "hootCer": data})
    assert timed is not None
    assert timed.aligned_words == ()
    assert whole_number(data) is None or isinstance(whole_number(data), int)


@pytest.mark.parametrize("data", [None, [], "", {}, {"task_id": None}, {"callbackType": "error", "data": None}])
def test_g16_a_failure_needs_no_data(data: object) -> None:
    """The code says all there is to know; the address says which song it is about."""
    callback = parse_callback(msgspec.json.encode({"code": 531, "msg": "failed", "data": data}))
    assert (callback.stage, callback.task_id, callback.code) == ("error", "", 531)
    without = parse_callback(b'{"code": 501, "msg": "failed"}')
    assert (without.stage, without.task_id) == ("error", "")


def test_g16_no_words_is_an_answer() -> None:
    """An instrumental has an empty list; no list means that there is no answer yet."""
    assert parse_timed_lyrics({"alignedWords": [], "waveformData": [0.5]}) == TimedLyrics((), (0.5,))
    assert parse_timed_lyrics({"alignedWords": None}) is None
