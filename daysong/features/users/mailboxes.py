"""The mailbox of an e-mail address.

Free songs are counted by mailbox, not by address. Only documented rules of providers are applied: a guessed rule would
let unrelated people share a quota.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from daysong.kernel.database.transactions import Transaction, lock


class Provider(NamedTuple):
    """A provider's rules: the separator of a `tag`, whether `dots` are ignored, and the canonical `domain`."""

    tag: str = "+"
    dots: bool = False
    domain: str | None = None


# Dots are ignored, and googlemail.com is an older name of gmail.com: support.google.com/mail/answer/7436150
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
    # Apple: one mailbox has all three domains; which one is primary depends on its age.
    **dict.fromkeys(("icloud.com", "me.com", "mac.com"), Provider(domain="icloud.com")),
    # Proton: one mailbox has all of these domains.
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
    # Yahoo has no `+` tags. Its disposable addresses cannot be distinguished from mailboxes.
}  # fmt: skip


def mailbox_of(email: str) -> str:
    """Return the canonical address of a mailbox, the same for all its addresses; a text without `@` is not changed."""
    text = unicodedata.normalize("NFKC", email).strip().casefold()
    name, at, domain = text.rpartition("@")
    domain = domain.rstrip(".")
    provider = PROVIDERS.get(domain)
    if not at or provider is None:
        return f"{name}{at}{domain}"
    kept = name.partition(provider.tag)[0]
    if provider.dots:
        kept = kept.replace(".", "")
    # A name of only a tag or dots is not an address of the provider.
    return f"{kept or name}@{provider.domain or domain}"


async def lock_mailbox(db: Transaction, mailbox_hash: bytes) -> None:
    """Lock a mailbox until the transaction ends; after the account's lock, to prevent deadlocks.

    Charges to a mailbox's shared quota take the lock before they count.
    """
    await lock(db, f"mailbox {mailbox_hash.hex()}")
