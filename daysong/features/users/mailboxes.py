"""Which mailbox an e-mail address leads to: pure, no database.

Free songs are a mailbox's, not an address's. Only rules that a provider documents are applied: with an invented one,
people who have nothing to do with each other would share.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from daysong.kernel.database.transactions import Transaction, lock


class Provider(NamedTuple):
    """How a provider delivers: `tag` separates a mailbox from what its owner adds, `dots` make no difference."""

    tag: str = "+"
    dots: bool = False
    domain: str | None = None


# Dots make no difference, and googlemail.com is an older name of gmail.com: support.google.com/mail/answer/7436150
_GMAIL = Provider(dots=True, domain="gmail.com")
# `name+tag` is delivered to `name`, by default and for every mailbox.
_PLUS = Provider()

PROVIDERS: dict[str, Provider] = {
    "gmail.com": _GMAIL,
    "googlemail.com": _GMAIL,
    # Microsoft: plus addressing is on for all of Outlook.com's own domains.
    **dict.fromkeys(
        (
            "outlook.com", "outlook.de", "outlook.es", "outlook.fr", "outlook.it", "outlook.jp", "outlook.com.br",
            "hotmail.com", "hotmail.co.uk", "hotmail.de", "hotmail.es", "hotmail.fr", "hotmail.it", "live.com",
            "live.co.uk", "live.fr", "live.nl", "msn.com",
        ),
        _PLUS,
    ),
    # Apple: one mailbox has all three names; which of them is its first depends on its age.
    **dict.fromkeys(("icloud.com", "me.com", "mac.com"), Provider(domain="icloud.com")),
    # Proton: one mailbox has these names, and pm.me and protonmail.com with the same name are the same person's.
    **dict.fromkeys(("proton.me", "protonmail.com", "protonmail.ch", "pm.me"), Provider(domain="proton.me")),
    "fastmail.com": _PLUS,
    "fastmail.fm": _PLUS,
    "zoho.com": _PLUS,
    "zohomail.com": _PLUS,
    "hey.com": _PLUS,
    "mailbox.org": _PLUS,
    "posteo.de": _PLUS,
    "yandex.com": _PLUS,
    "yandex.ru": _PLUS,
    "ya.ru": _PLUS,
    # Yahoo knows no `+`; its disposable addresses are made of another name, which cannot be told from a mailbox's.
}  # fmt: skip


def mailbox_of(email: str) -> str:
    """The mailbox an address leads to; addresses of one mailbox have the same. Of a text without `@`, the text."""
    text = unicodedata.normalize("NFKC", email).strip().casefold()
    name, at, domain = text.rpartition("@")
    domain = domain.rstrip(".")
    provider = PROVIDERS.get(domain)
    if not at or provider is None:
        return f"{name}{at}{domain}"
    kept = name.partition(provider.tag)[0]
    if provider.dots:
        kept = kept.replace(".", "")
    # What is nothing but a tag or dots is no address of the provider's.
    return f"{kept or name}@{provider.domain or domain}"


async def lock_mailbox(db: Transaction, mailbox_hash: bytes) -> None:
    """Hold a mailbox's lock until the transaction ends; after the account's, so that nobody deadlocks.

    Whoever charges what the accounts of a mailbox share takes it before counting.
    """
    await lock(db, f"mailbox {mailbox_hash.hex()}")
