"""When the demo's call is due, and that the demo waits for what has not happened yet."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from daysong.commands.demo import demo
from daysong.commands.demo.phone_call import next_minute


@given(st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2036, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_call_is_due_on_the_minute_and_soon(now: datetime) -> None:
    """Not before it could be saved, and hardly more than a minute ahead."""
    due = next_minute(now)
    assert (due.second, due.microsecond) == (0, 0)
    assert timedelta(seconds=3) < due - now <= timedelta(seconds=63)


class Slow:
    """A person whose song is not there at the first looks, as on a busy machine."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)

    async def call(self, *_: object, **__: object) -> object:
        """The next answer; the last one stays."""
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.mark.anyio
async def test_g60_the_demo_waits_for_a_song_that_has_not_begun() -> None:
    """The entry of a call is there before its song: no progress, no playlist, no words yet."""
    console = Console(file=io.StringIO())
    await demo._follow(cast("Any", Slow(None, None, {"stage": "queued"}, {"stage": "ready"})), "diary_1", console)
    song = {"lyricWithTime": {"alignedWords": [1]}, "audioUrl": "http://h/media/a"}
    assert await demo._kept_song(cast("Any", Slow([], [{}], [song])), console) == song
