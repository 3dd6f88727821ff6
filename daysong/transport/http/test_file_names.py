"""File names of downloads."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.transport.http.file_names import LONGEST_NAME, disposition, file_name


@pytest.mark.parametrize(
    ("title", "header"),
    [
        ("Rain at Home", 'inline; filename="Rain at Home.mp3"'),
        ("Été", "inline; filename=\"Ete.mp3\"; filename*=UTF-8''%C3%89t%C3%A9.mp3"),
        ("雨", "inline; filename=\"song.mp3\"; filename*=UTF-8''%E9%9B%A8.mp3"),
        ('../../"a";\r\nX: b', 'inline; filename="a ; X b.mp3"'),
        ("\u202e3pm.exe", 'inline; filename="3pm.exe.mp3"'),
        ("\u2800", "inline"),
        (None, "inline"),
        ("...", "inline"),
    ],
)
def test_g47_a_song_is_named_after_its_title(title: str | None, header: str) -> None:
    assert disposition("inline", title, "audio/mpeg") == header


@given(st.text(), st.sampled_from(["audio/mpeg", "image/png", "application/unknown"]))
def test_g47_any_title_gives_a_valid_header_and_a_safe_name(title: str, content_type: str) -> None:
    """ASCII without line breaks or extra quotes; no path, no hidden file, no name that is too long."""
    header = disposition("attachment", title, content_type)
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') in {0, 2}
    name = file_name(title, content_type)
    assert (name is None) == (header == "attachment")
    if name is not None:
        assert not set(name) & set('/\\:*?"<>|\r\n\0')
        assert not name.startswith(".")
        assert len(name) <= LONGEST_NAME + 4
        if "filename*" in header:
            assert unquote(header.partition("''")[2]) == name
