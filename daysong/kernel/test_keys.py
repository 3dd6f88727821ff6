"""Secrets that are replaced while in use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel import settings
from daysong.kernel.keys import any_equal, fingerprint, is_one_of, keyed_hash, keyed_hashes

ENVIRON = {
    "SITE_URL": "http://daysong.test",
    "DAYSONG_ADMIN_KEY": "now",
    "DAYSONG_HASH_KEY": "hash-now",
    "OPENAI_API_KEY": "o",
    "SUNO_API_KEY": "s",
    "CLERK_FRONTEND_API_URL": "https://clerk.test",
}


@pytest.mark.parametrize("accepted", [[], ["a"], ["b", "a"], ["b", "ab"], [""]])
@pytest.mark.parametrize("given", ["a", "", "ä"])
def test_a_secret_is_accepted_when_it_equals_one(given: str, accepted: list[str]) -> None:
    """The first or a later one, and no part of one; a header's lone surrogates are compared as well."""
    assert is_one_of(given, accepted) is (given in accepted)
    assert any_equal([given.encode()], [one.encode() for one in accepted]) is (given in accepted)
    assert not is_one_of("\udcff", accepted)


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=3, unique=True), st.text(max_size=20))
def test_a_hash_is_found_by_every_key_it_may_have_been_made_with(keys: list[str], text: str) -> None:
    """The first is of the current key, and each begins with the fingerprint of its key or has none."""
    found = keyed_hashes(keys, text)
    assert found[0] == keyed_hash(keys[0], text)
    assert {keyed_hash(key, text) for key in keys} | {keyed_hash(key, text)[4:] for key in keys} == set(found)
    assert all(one.startswith(fingerprint(key)) for key, one in zip(keys, found, strict=False))


@pytest.mark.parametrize("written", ["first,second", "first\nsecond\n", " second , first,now,, second"])
def test_earlier_values_are_listed_by_commas_or_lines(written: str) -> None:
    """Each once, and not the current one."""
    found = settings.load(ENVIRON | {"DAYSONG_ADMIN_KEY_OLD": written})
    assert set(found.admin_keys) == {"now", "first", "second"}
    assert (found.admin_keys[0], len(found.admin_keys)) == ("now", 3)
    assert settings.load(ENVIRON | {"DAYSONG_HASH_KEY_OLD": "a,b\nc"}).hash_keys == ("hash-now", "a,b", "c")


def test_earlier_values_are_checked_as_the_current_one_is() -> None:
    """One without a current value, a Svix secret that is none, and in production a short admin key are problems."""
    environ = ENVIRON | {
        "DAYSONG_ENV": "production",
        "DAYSONG_ADMIN_KEY_OLD": "short",
        "VAPI_WEBHOOK_SECRET_OLD": "left behind",
        "CLERK_WEBHOOK_SIGNING_SECRET": "whsec_c2VjcmV0",
        "CLERK_WEBHOOK_SIGNING_SECRET_OLD": "whsec_???",
    }
    _, problems = settings.read(environ)
    named = {problem.name for problem in problems}
    assert {"DAYSONG_ADMIN_KEY_OLD", "VAPI_WEBHOOK_SECRET_OLD", "CLERK_WEBHOOK_SIGNING_SECRET_OLD"} <= named
