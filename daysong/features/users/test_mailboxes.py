"""Addresses of one mailbox have the same canonical address, and others do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.features.users.mailboxes import PROVIDERS, mailbox_of

NAMES = st.text("abcxyz019._-", min_size=1, max_size=12).filter(lambda name: name.strip("."))
TAGS = st.text("abcxyz019._-+", max_size=12)
TAGGING = sorted(PROVIDERS)
DOTLESS = ["gmail.com", "googlemail.com"]


@given(NAMES, TAGS, st.sampled_from(TAGGING))
def test_g77_a_tag_makes_no_difference_at_the_large_providers(name: str, tag: str, domain: str) -> None:
    """Capital letters make no difference either."""
    assert mailbox_of(f"{name}+{tag}@{domain}") == mailbox_of(f"{name}@{domain}")
    assert mailbox_of(f" {name}+{tag}@{domain}. ".upper()) == mailbox_of(f"{name}@{domain}")


@given(NAMES, st.data(), st.sampled_from(DOTLESS))
def test_g77_dots_make_no_difference_at_gmail(name: str, data: st.DataObject, domain: str) -> None:
    """Nor does the domain, gmail.com or googlemail.com; at other providers dots count."""
    place = data.draw(st.integers(0, len(name)))
    dotted = f"{name[:place]}.{name[place:]}"
    assert mailbox_of(f"{dotted}@{domain}") == mailbox_of(f"{name}@gmail.com")
    assert mailbox_of(f"{dotted}@outlook.com") != mailbox_of(f"{name}@outlook.com")


@given(NAMES, NAMES, st.sampled_from([*TAGGING, "example.test"]))
def test_g77_names_that_differ_in_more_are_different_mailboxes(one: str, other: str, domain: str) -> None:
    same = one.replace(".", "") == other.replace(".", "") if domain in DOTLESS else one == other
    assert (mailbox_of(f"{one}@{domain}") == mailbox_of(f"{other}@{domain}")) is same


@given(st.text(max_size=40) | st.builds("{}@{}".format, st.text(max_size=20), st.sampled_from(TAGGING)))
def test_g77_a_mailbox_is_its_own_mailbox(text: str) -> None:
    """Any text is accepted, and the canonical address is stable."""
    assert mailbox_of(mailbox_of(text)) == mailbox_of(text)


@pytest.mark.parametrize(
    ("address", "mailbox"),
    [
        ("Ali.Ce+songs@GoogleMail.com", "alice@gmail.com"),
        ("alice+songs@example.test", "alice+songs@example.test"),  # a provider whose rules are not known
        ("al.ice@example.test", "al.ice@example.test"),
        ("alice+a@yahoo.com", "alice+a@yahoo.com"),
        ("+songs@gmail.com", "+songs@gmail.com"),
        ("...@gmail.com", "...@gmail.com"),
        ("alice@me.com", "alice@icloud.com"),
        ("ａlice@gmail.com", "alice@gmail.com"),
        ("no address", "no address"),
    ],
)
def test_g77_examples(address: str, mailbox: str) -> None:
    """Only documented rules of a provider are applied."""
    assert mailbox_of(address) == mailbox
