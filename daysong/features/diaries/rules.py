"""What a diary entry may be."""

from __future__ import annotations

from daysong.kernel.errors import ExpectedError
from daysong.kernel.visible import trimmed

MAX_CONTENT = 50_000


class DiaryIsEmpty(ExpectedError):
    """Nothing visible was written."""

    code = "diary_is_empty"
    default_message = "Content cannot be empty"


class DiaryTooLong(ExpectedError):
    """More than 50,000 characters."""

    code = "diary_too_long"
    status = 413
    default_message = f"Content is too long: at most {MAX_CONTENT:,} characters"


class TooManyUnwritten(ExpectedError):
    """20 entries of the caller have neither words nor media."""

    code = "too_many_unwritten"
    status = 429
    default_message = "You have begun 20 entries without words. Please write in one of them first."


class DiaryNotFound(ExpectedError):
    """No such entry."""

    code = "diary_not_found"
    status = 404
    default_message = "Diary not found"


class WriterNotFound(ExpectedError):
    """The account an entry is for is not there, or is deleted."""

    code = "user_not_found"
    status = 404
    default_message = "User not found"


def checked(content: str) -> str:
    """The content without blank characters around it, if it can be an entry. Errors: DiaryIsEmpty, DiaryTooLong."""
    content = trimmed(content)
    if not content:
        raise DiaryIsEmpty
    if len(content) > MAX_CONTENT:
        raise DiaryTooLong
    return content
