"""Every language is heard by a transcriber that has it in its vendor's list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.features.phone_calls.talk.languages import NAMES, main_language, transcriber_for
from daysong.features.phone_calls.talk.phrases import PHRASES
from daysong.vendors.conftest import fixture

KNOWN = {
    vendor: set(codes.split())
    for vendor, _, codes in (
        line.partition(":")
        for line in fixture("vapi/transcriber-languages.txt").read_text().splitlines()
        if not line.startswith("#")
    )
}
PROVIDERS = {"deepgram": "deepgram", "gladia": "gladia", "azure": "azure_speech"}
CODES = sorted(KNOWN["deepgram"] | KNOWN["gladia"] | KNOWN["azure_speech"])


@pytest.mark.parametrize("tag", CODES)
def test_g25_a_transcriber_knows_what_it_is_told_to_hear(tag: str) -> None:
    """By the vendors' lists, for every language in them; `multi` only where no transcriber has the language."""
    chosen = transcriber_for(tag)
    assert chosen["language"] in KNOWN[PROVIDERS[chosen["provider"]]]
    if main_language(tag) in KNOWN["gladia"]:
        assert chosen["language"] != "multi"


@pytest.mark.parametrize("code", sorted({*NAMES, *PHRASES}))
def test_g25_a_language_with_a_name_is_heard(code: str) -> None:
    """What the prompt tells the model to speak, the transcriber understands."""
    assert transcriber_for(code)["language"] == code


@pytest.mark.parametrize(
    ("tag", "provider", "model", "language"),
    [
        ("zh", "deepgram", "nova-2", "zh"),
        ("zh-TW", "deepgram", "nova-2", "zh-TW"),
        ("zh_Hant_HK", "deepgram", "nova-2", "zh-Hant"),
        ("cmn", "deepgram", "nova-2", "zh"),
        ("th-TH", "deepgram", "nova-2", "th"),
        ("en_US", "deepgram", "nova-3", "en"),
        ("in", "deepgram", "nova-3", "id"),
        ("iw-IL", "gladia", "solaria-1", "he"),
        ("ji", "gladia", "solaria-1", "yi"),
        ("mo", "deepgram", "nova-3", "ro"),
        ("nb-NO", "deepgram", "nova-3", "no"),
        ("fil-PH", "gladia", "solaria-1", "tl"),
        ("yue", "azure", None, "yue-CN"),
        ("qaa", "deepgram", "nova-3", "multi"),
    ],
)
def test_g25_the_transcriber_follows_the_language(tag: str, provider: str, model: str | None, language: str) -> None:
    """Chinese and Thai have a model that knows them; withdrawn codes are the languages they stood for."""
    chosen = transcriber_for(tag)
    assert (chosen["provider"], chosen.get("model"), chosen["language"]) == (provider, model, language)


@given(st.text(max_size=40))
def test_g25_any_text_has_a_transcriber(tag: str) -> None:
    """One of a known vendor, with a language of its list."""
    chosen = transcriber_for(tag)
    assert chosen["language"] in KNOWN[PROVIDERS[chosen["provider"]]]
