"""Slugs, tags, reading time, addresses, preview tokens and days of views."""

from __future__ import annotations

import base64
import re
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.features.blog import rules

MOMENTS = st.integers(978_307_200, 4_102_444_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(st.text(max_size=300))
def test_a_slug_made_of_any_title_is_a_slug_or_empty(title: str) -> None:
    """And the slug of a slug is itself."""
    slug = rules.slug_of(title)
    if slug:
        assert rules.check_slug(slug) == slug
        assert rules.slug_of(slug) == slug


@given(
    st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True).map(lambda slug: slug[:100].strip("-")), st.integers(2, 99)
)
def test_a_numbered_slug_is_another_one(slug: str, number: int) -> None:
    found = rules.check_slug(rules.numbered(slug, number))
    assert found.endswith(f"-{number}")
    assert found != slug or len(slug) > 97 or slug.endswith(f"-{number}")


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Hello, World!", "hello-world"), ("  Él niño — ¿qué?  ", "el-nino-que"), ("Straße 7", "strasse-7"),
        ("雨の日", ""), ("!?", ""), ("word " * 40, "-".join(["word"] * 20)), ("x" * 300, "x" * 100),
    ],
)  # fmt: skip
def test_slugs_of_titles(title: str, slug: str) -> None:
    assert rules.slug_of(title) == slug


@pytest.mark.parametrize("slug", ["", "-a", "a-", "a--b", "A", "a_b", "a/b", "é", "a\n", "../a", "x" * 101])
def test_a_malformed_slug_is_refused(slug: str) -> None:
    with pytest.raises(rules.InvalidSlug):
        rules.check_slug(slug)


@given(st.text(), st.text())
def test_a_longer_text_takes_no_less_time(one: str, other: str) -> None:
    """At least a minute."""
    assert 1 <= rules.reading_time(one) <= rules.reading_time(f"{one} {other}")


@pytest.mark.parametrize(
    ("text", "minutes"), [("", 1), ("word " * 200, 1), ("word " * 201, 2), ("雨" * 500, 1), ("雨" * 501, 2)]
)
def test_minutes_of_reading(text: str, minutes: int) -> None:
    assert rules.reading_time(text) == minutes


@given(st.lists(st.text(max_size=40), max_size=12))
def test_tags_are_distinct_and_show_something(given: list[str]) -> None:
    """However their letters are cased; and made again of themselves they are the same."""
    try:
        tags = rules.tags_of(given)
    except rules.InvalidPost:
        return
    keys = [rules.tag_key(tag) for tag in tags]
    assert len(set(keys)) == len(keys) <= rules.MOST_TAGS
    assert rules.tags_of(tags) == tags
    assert all(tag.strip() for tag in tags)


@pytest.mark.parametrize(
    "text",
    ["javascript:alert(1)", "//evil.example", "/\\evil.example", "ftp://x.org/a", "https://", "https://u@x.org/",
     "https://x.org/a b", "https://x.org/\u202e", "data:text/html,x", "https://[", "path"],
)  # fmt: skip
def test_an_address_that_a_page_must_not_link_to_is_refused(text: str) -> None:
    with pytest.raises(rules.InvalidPost, match="image must be"):
        rules.address("image", text, may_be_path=True)


def test_addresses() -> None:
    assert rules.address("image", " https://x.org/a?b=c ", may_be_path=False) == "https://x.org/a?b=c"
    assert rules.address("image", "/images/a.png", may_be_path=True) == "/images/a.png"
    assert rules.address("image", " ", may_be_path=False) is None
    with pytest.raises(rules.InvalidPost):
        rules.address("image", "/images/a.png", may_be_path=False)


def test_a_token_has_32_random_bytes_and_is_not_stored() -> None:
    token = rules.new_token()
    assert len(base64.urlsafe_b64decode(token + "=")) == 32
    stored = rules.token_hash(token)
    assert token.encode() not in stored
    assert rules.is_token(token, stored)
    assert not rules.is_token(token + "x", stored)
    assert not rules.is_token(token, None)
    assert not rules.is_token("\ud800", stored)


@given(MOMENTS, st.integers(-400, 400))
def test_a_view_counts_for_today_or_yesterday(now: datetime, days: int) -> None:
    """By UTC; any other day is refused."""
    day = now.date() + timedelta(days=days)
    if days in {0, -1}:
        assert rules.view_day(day.isoformat(), now) == day
    else:
        with pytest.raises(rules.InvalidViewDate):
            rules.view_day(day.isoformat(), now)


@given(MOMENTS, st.text(max_size=10) | st.dates().map(lambda day: day.strftime("%Y%m%d")))
def test_a_malformed_day_is_refused(now: datetime, text: str) -> None:
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        return
    with pytest.raises(rules.InvalidViewDate):
        rules.view_day(text, now)


@pytest.mark.parametrize("text", ["2026-11-31", "2026-11-23\n", "２０２６-11-23", "2026-W48-1", "20261123"])
def test_a_day_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(rules.InvalidViewDate):
        rules.view_day(text, datetime(2026, 11, 23, tzinfo=UTC))
    assert rules.view_day("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)) == date(2026, 11, 23)
