"""Posts of the blog: slugs, tags, reading time, addresses, preview tokens, and the days that views count for."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import unicodedata
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlsplit

from daysong.kernel.errors import ExpectedError
from daysong.kernel.visible import shows, trimmed

LONGEST_SLUG = 100
LONGEST_TITLE = 200
LONGEST_BODY = 100_000
LONGEST_EXCERPT = 500
LONGEST_AUTHOR = 100
LONGEST_ADDRESS = 2_000
LONGEST_TAG = 40
MOST_TAGS = 10
# Former slugs of one post.
MOST_REDIRECTS = 50
TOKEN_BYTES = 32

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_OTHER = re.compile(r"[^a-z0-9]+")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_WORD = re.compile(r"\w+")
# Scripts without spaces between words: Chinese, Japanese and Korean characters, and Thai, Lao, Khmer.
_CHARACTER = re.compile("[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff]")
WORDS_PER_MINUTE = 200
CHARACTERS_PER_MINUTE = 500


class PostNotFound(ExpectedError):
    """There is no such post."""

    code = "post_not_found"
    status = 404
    default_message = "Post not found"


class InvalidSlug(ExpectedError):
    """A slug is malformed, or a title has no letter that could be in one."""

    code = "invalid_slug"
    default_message = (
        f"A slug has lower-case letters a-z, digits, and single hyphens between them: at most {LONGEST_SLUG}"
    )


class SlugTaken(ExpectedError):
    """A slug leads to another post, as its own or as a former one."""

    code = "slug_taken"
    status = 409
    default_message = "This slug leads to another post"


class InvalidPost(ExpectedError):
    """A part of a post is empty or malformed; the message names it."""

    code = "invalid_post"
    default_message = "The post is not valid"


class NotADraft(ExpectedError):
    """The post is not a draft, so it has no preview."""

    code = "not_a_draft"
    status = 409
    default_message = "The post is not a draft"


class InvalidViewDate(ExpectedError):
    """The date of a view is malformed, or neither today nor yesterday."""

    code = "invalid_view_date"
    default_message = "The date must be today or yesterday (UTC), as YYYY-MM-DD"


def slug_of(title: str) -> str:
    """Return a slug made from a title, cut between words; "" when the title has no letter or digit for it."""
    plain = unicodedata.normalize("NFKD", title.casefold()).encode("ascii", "ignore").decode().lower()
    slug = _OTHER.sub("-", plain).strip("-")
    if len(slug) > LONGEST_SLUG:
        slug = (slug[: LONGEST_SLUG + 1].rpartition("-")[0] or slug[:LONGEST_SLUG]).strip("-")
    return slug


def numbered(slug: str, number: int) -> str:
    """Return a slug with a number at its end: another one for the same title."""
    end = f"-{number}"
    return slug[: LONGEST_SLUG - len(end)].rstrip("-") + end


def check_slug(slug: str) -> str:
    """Return a slug. Errors: InvalidSlug."""
    if len(slug) > LONGEST_SLUG or not _SLUG.fullmatch(slug):
        raise InvalidSlug
    return slug


def tag_key(tag: str) -> str:
    """Return the form in which tags are compared."""
    return unicodedata.normalize("NFKC", trimmed(tag)).casefold()


def tags_of(given: Sequence[str]) -> list[str]:
    """Return tags without blanks at their ends and without repetitions. Errors: InvalidPost."""
    tags: dict[str, str] = {}
    for tag in given:
        text = trimmed(tag)
        if not text or len(text) > LONGEST_TAG:
            raise InvalidPost(f"A tag has 1 to {LONGEST_TAG} characters")
        tags.setdefault(tag_key(text), text)
    if len(tags) > MOST_TAGS:
        raise InvalidPost(f"A post has at most {MOST_TAGS} tags")
    return list(tags.values())


def reading_time(markdown: str) -> int:
    """Return how many minutes a text takes to read, at least one."""
    characters = len(_CHARACTER.findall(markdown))
    words = len(_WORD.findall(_CHARACTER.sub(" ", markdown)))
    return max(1, math.ceil(words / WORDS_PER_MINUTE + characters / CHARACTERS_PER_MINUTE))


def address(name: str, text: str, *, may_be_path: bool) -> str | None:
    """Return a web address, or a path on the blog's own site; None for "". Errors: InvalidPost."""
    text = text.strip()
    if not text:
        return None
    if may_be_path and text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable():
        return text
    try:
        parts = urlsplit(text)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.username
    except ValueError:
        valid = False
    if not valid or not text.isprintable() or " " in text:
        raise InvalidPost(f"{name} must be an http or https address")
    return text


def visible(name: str, text: str) -> str:
    """Return a text that shows something, without blanks at its ends. Errors: InvalidPost."""
    if not shows(text):
        raise InvalidPost(f"{name} cannot be empty")
    return trimmed(text)


def new_token() -> str:
    """Return a token by which a draft can be read: 32 random bytes in base 64, as it is in addresses."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(token: str) -> bytes:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def is_token(token: str, stored: bytes | None) -> bool:
    """Return whether it is the token of a stored hash, in a time that depends on neither."""
    return hmac.compare_digest(token_hash(token), stored or bytes(32)) and stored is not None


def view_day(text: str, now: datetime) -> date:
    """Return the day that a view counts for. Errors: InvalidViewDate."""
    today = now.astimezone(UTC).date()
    try:
        day = date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None or not today - timedelta(days=1) <= day <= today:
        raise InvalidViewDate
    return day
