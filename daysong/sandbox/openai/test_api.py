"""The real OpenAI client against the one that runs here: good days, and every fault there is to dial in."""

from __future__ import annotations

from typing import Any

import pytest

from daysong.sandbox.conftest import World, failure, recorded, shape
from daysong.vendors.openai.client import MAX_COMPLETIONS
from daysong.vendors.openai.tasks import CONTENT_REASON

pytestmark = pytest.mark.anyio


async def test_a_diary_becomes_lyrics_and_the_same_diary_the_same_lyrics(world: World) -> None:
    """Sections, a mood, a style that follows the hint, a title; another diary is another song."""
    lyrics = await world.write(hint="bossa nova")
    assert [tag for tag in ("[Verse 1]", "[Chorus]", "[Verse 2]", "[Outro]") if tag in lyrics.lyric.splitlines()] == [
        "[Verse 1]",
        "[Chorus]",
        "[Verse 2]",
        "[Outro]",
    ]
    assert lyrics.mood == "calm"
    assert lyrics.style.startswith("bossa nova, ")
    assert lyrics.title == "The Old Bridge"
    assert await world.write(hint="bossa nova") == lyrics
    assert (await world.write("My exam was a disaster.")).lyric != lyrics.lyric


async def test_a_talk_becomes_a_diary_entry_in_the_persons_own_words(world: World) -> None:
    """Without the companion's, and without the yes to being called; the same talk is the same entry."""
    talk = "Companion: Is that right?\nMe: Yes.\nCompanion: What stayed with you?\nMe: Two herons by the river."
    entry = await world.openai.write_diary(talk=talk, language="en", person="p1")
    assert entry == "Two herons by the river."
    assert await world.openai.write_diary(talk=talk, language="en", person="p1") == entry


@pytest.mark.parametrize("answer", ["refusal", "truncated", "wrong_shape", "empty", "garbage"])
async def test_a_diarist_can_fail_like_a_lyricist(world: World, answer: str) -> None:
    """As often as it is asked for one text, and then it is well again."""
    await world.steer("openai/faults", {"times": 1 if answer == "refusal" else MAX_COMPLETIONS, "answer": answer})
    error = await failure(world.openai.write_diary(talk="Me: Two herons.", language="en", person="p1"))
    assert error.permanent
    assert await world.openai.write_diary(talk="Me: Two herons.", language="en", person="p1") == "Two herons."


async def test_the_completion_has_the_shape_of_the_real_one(world: World) -> None:
    """Same keys, same kinds of values."""
    settings = world.sandbox.openai_settings()
    answer = await world.steering.post(
        "openai/v1/chat/completions",
        headers={"Authorization": f"Bearer {settings.api_key}"},
        json={"model": settings.model, "messages": [{"role": "user", "content": "A day."}]},
    )
    assert shape(answer.json()) == shape(recorded("openai/chat-200-good"))


# What is dialled in, and what the client makes of it: (permanent, ambiguous, code, retry_after)
OPENAI_FAULTS: dict[str, tuple[dict[str, Any], tuple[bool, bool, str, float | None]]] = {
    "quota": ({"code": "insufficient_quota"}, (False, False, "insufficient_quota", 120.0)),
    "rate": ({"status": 429, "retryAfter": 3}, (False, False, "rate_limit_exceeded", 3.0)),
    "key": ({"status": 401}, (False, False, "invalid_api_key", 120.0)),
    "model": ({"code": "model_not_found"}, (False, False, "model_not_found", 120.0)),
    "context": ({"code": "context_length_exceeded"}, (True, False, "context_length_exceeded", None)),
    "broken": ({"status": 500}, (False, False, "http_500", None)),
    "overload": ({"status": 503}, (False, False, "http_503", None)),
    "drop": ({"drop": True}, (False, True, "unreachable", None)),
    "refusal": ({"answer": "refusal"}, (True, False, "refused", None)),
    "filter": ({"answer": "content_filter"}, (True, False, "content_filter", None)),
    "truncated": ({"answer": "truncated"}, (True, False, "cut_off", None)),
    "empty": ({"answer": "empty"}, (True, False, "empty_answer", None)),
    "no choices": ({"answer": "empty_choices"}, (True, False, "no_choices", None)),
    "bad json": ({"answer": "bad_json"}, (True, False, "bad_json", None)),
    "wrong shape": ({"answer": "wrong_shape"}, (True, False, "wrong_shape", None)),
    "empty lyric": ({"answer": "empty_lyric"}, (True, False, "empty_lyric", None)),
    "garbage": ({"answer": "garbage"}, (True, False, "unreadable_answer", None)),
}


@pytest.mark.parametrize("name", OPENAI_FAULTS)
async def test_each_openai_fault_is_seen_for_what_it_is(world: World, name: str) -> None:
    """As often as it is asked for one text, and then the vendor is well again."""
    fault, expected = OPENAI_FAULTS[name]
    stumbles = "answer" in fault and name not in {"refusal", "filter"}
    await world.steer("openai/faults", {"times": MAX_COMPLETIONS if stumbles else 1, **fault})
    error = await failure(world.write())
    assert (error.permanent, error.ambiguous, error.code, error.retry_after) == expected
    assert (error.reason == CONTENT_REASON) is (name in {"refusal", "filter"})
    assert (await world.write()).lyric


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"model": "gpt-retired"}, 404, "does not exist"),
        ({"model": None}, 400, "model"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "poet", "content": "x"}]}, 400, "role"),
        ({"max_tokens": 5}, 400, "max_completion_tokens"),
        ({"temprature": 1}, 400, "temprature"),
        ({"safety_identifier": "x" * 200}, 400, "safety_identifier"),
        ({"messages": [{"role": "user", "content": "x" * 2_000_000}]}, 400, "context length"),
        ({"response_format": {"type": "json_schema"}}, 400, "json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}}, 400, "name"),
    ],
)
async def test_what_openai_would_refuse_is_refused(
    world: World, change: dict[str, Any], status: int, word: str
) -> None:
    """A wrong request does not pass here only to fail for real."""
    settings = world.sandbox.openai_settings()
    answer = await world.steering.post(
        "openai/v1/chat/completions",
        headers={"Authorization": f"Bearer {settings.api_key}"},
        json={"model": settings.model, "messages": [{"role": "user", "content": "A day."}]} | change,
    )
    assert answer.status_code == status
    assert word in answer.json()["error"]["message"]
    assert shape(answer.json()).keys() == shape(recorded("openai/error-404-model")).keys()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": [], "additionalProperties": False},
        {
            "type": "object",
            "properties": {"a": {"type": "array", "items": {"type": "object", "properties": {}}}},
            "required": ["a"],
            "additionalProperties": False,
        },
        None,
    ],
)
async def test_a_strict_schema_must_be_strict(world: World, schema: object) -> None:
    """Closed objects with every property required, at every depth."""
    settings = world.sandbox.openai_settings()
    described = {"name": "song", "strict": True, "schema": schema}
    answer = await world.steering.post(
        "openai/v1/chat/completions",
        headers={"Authorization": f"Bearer {settings.api_key}"},
        json={
            "model": settings.model,
            "messages": [{"role": "user", "content": "A day."}],
            "response_format": {"type": "json_schema", "json_schema": described},
        },
    )
    assert answer.status_code == 400
    assert "Invalid schema for response_format 'song'" in answer.json()["error"]["message"]
