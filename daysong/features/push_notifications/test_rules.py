from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.features.phone_calls.talk.phrases import PHRASES
from daysong.features.push_notifications.rules import KINDS, PAUSES, after_failure, is_missed_streak
from daysong.features.push_notifications.texts import LONGEST_BODY, TEXTS, text_for
from daysong.vendors.expo.answers import FAILURES, Failure
from daysong.vendors.expo.client import MOST_BYTES, PushMessage
from daysong.vendors.openai.tasks import CONTENT_REASON, LENGTH_REASON

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
EVERY_FAILURE: list[Failure] = [*sorted(set(FAILURES.values())), "passing", "unknown"]


@given(
    failure=st.sampled_from(EVERY_FAILURE),
    tries=st.integers(1, 20),
    age=st.timedeltas(timedelta(0), timedelta(days=3)),
)
def test_only_what_may_pass_is_sent_again(failure: Failure, tries: int, age: timedelta) -> None:
    """A few times, ever later, and never about old news."""
    state, again = after_failure(failure, tries, created_at=NOW - age, now=NOW)
    assert (again is not None) == (state == "waiting")
    if again is not None:
        assert failure in {"passing", "too_often"}
        assert tries <= len(PAUSES)
        assert NOW < again < NOW - age + timedelta(days=1)
    assert (state == "lost") == (failure == "unknown")


@pytest.mark.parametrize(
    ("missed", "told"),
    [
        ([], False),
        ([True], False),
        ([True, True], True),
        ([True, True, False], True),
        ([True, True, True], False),
        ([True, False, True], False),
        ([False, True, True], False),
    ],
)
def test_two_missed_calls_in_a_row_are_told_once(missed: list[bool], told: bool) -> None:
    """Newest first; the third of a streak is not told again."""
    assert is_missed_streak(missed) is told


def test_the_languages_are_those_of_calls() -> None:
    """And all others have English."""
    assert set(TEXTS) == set(PHRASES)
    assert text_for("music_ready", "sw") == text_for("music_ready", "not a tag!") == text_for("music_ready", "en")
    assert text_for("music_ready", "de_AT")[0] == "Dein Lied ist fertig"


def test_a_failed_song_says_why() -> None:
    """In English as in the app; in other languages by the nearest text there is."""
    assert text_for("music_failed", "en-GB", "It rained.") == ("Your song could not be made", "It rained.")
    bodies = [text_for("music_failed", "fr", reason)[1] for reason in (CONTENT_REASON, LENGTH_REASON, "Other", None)]
    assert bodies == [TEXTS["fr"].words, TEXTS["fr"].length, TEXTS["fr"].failed, TEXTS["fr"].failed]


@pytest.mark.parametrize("language", TEXTS)
def test_texts_fit(language: str) -> None:
    """Every message is well below Expo's limit, and shows on a phone."""
    for kind in KINDS:
        title, body = text_for(kind, language, "é" * 5000)
        assert 0 < len(title) <= 60
        assert 0 < len(body) <= LONGEST_BODY
        data = dict.fromkeys(("type", "musicId", "videoId", "diaryId"), "x" * 40)
        message = PushMessage(to="x" * 150, title=title, body=body, data=data, collapse_id="x" * 40, tag="x" * 40)
        assert len(msgspec.json.encode(message)) < MOST_BYTES / 2
