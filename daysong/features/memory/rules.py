"""Names, tags and levels of events, and how often a model may read."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from daysong.kernel.errors import ExpectedError, Unauthorized
from daysong.kernel.visible import trimmed
from daysong.vendors.openai.extraction import AROUSALS, MAX_EVENTS, MOODS

# The last change of an entry is followed by its reading after this pause.
SETTLING = timedelta(seconds=30)
READINGS_PER_DAY = 30
HIGHLIGHTS_PER_DAY = 10
# An entry for which no reading is left waits for the next day, at most so often.
MOST_POSTPONEMENTS = 3

# Of one account. New names and tags beyond these are left out when an entry is read.
MOST_PEOPLE = 5_000
MOST_TAGS = 2_000
MOST_NAMES = 50  # of one person
# Known people, and tags, in a request to the model.
MOST_KNOWN = 50

MOOD_WORDS = {level: word for word, level in MOODS.items()}
AROUSAL_WORDS = {level: word for word, level in AROUSALS.items()}


class NotAuthenticated(Unauthorized):
    """The caller is not signed in, or the account is suspended."""

    default_message = "Not authenticated"


class EventNotFound(ExpectedError):
    """There is no such event of the caller."""

    code = "event_not_found"
    status = 404
    default_message = "Event not found or unauthorized"


class PersonNotFound(ExpectedError):
    """There is no such person of the caller."""

    code = "person_not_found"
    status = 404
    default_message = "Person not found or unauthorized"


class NameTaken(ExpectedError):
    """Another person of the caller has that name."""

    code = "name_taken"
    status = 409
    default_message = "You know somebody of that name already"


class TextIsEmpty(ExpectedError):
    """A title, a summary, a name or a tag has nothing visible."""

    code = "text_is_empty"
    default_message = "This cannot be empty"


class TooManyNames(ExpectedError):
    """More people, names of a person or tags than an account may have."""

    code = "too_many_names"
    default_message = "There are too many names. Please remove some first."


class NoEvents(ExpectedError):
    """There is nothing to sum up."""

    code = "no_events"
    default_message = "No events found for this person"


class TooManyHighlights(ExpectedError):
    """Ten summaries were written for the caller today."""

    code = "too_many_highlights"
    status = 429
    default_message = f"You can have {HIGHLIGHTS_PER_DAY} summaries written a day. Please try again tomorrow."


class HighlightFailed(ExpectedError):
    """The model is not available, or its answer cannot be used."""

    code = "highlight_failed"
    status = 503
    default_message = "The summary could not be written this time. Please try again in a few minutes."


def written(text: str) -> str:
    """Return a name, tag or title on one line, without blank characters around it; empty if nothing is visible."""
    return " ".join(trimmed(text).split())


def folded(name: str) -> str:
    """Return the form in which names and tags are compared: trimmed, case-folded, composed characters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", written(name)).casefold())


def distinct(names: Iterable[str]) -> dict[str, str]:
    """Return names by their folded form, each as first written. Blank ones are left out."""
    found: dict[str, str] = {}
    for name in map(written, names):
        if key := folded(name):
            found.setdefault(key, name)
    return found


def checked(text: str) -> str:
    """Return a text on one line. Errors: TextIsEmpty."""
    if not (text := written(text)):
        raise TextIsEmpty
    return text


def all_distinct(names: Iterable[str]) -> list[str]:
    """Return the names, each once. Errors: TextIsEmpty when one is blank."""
    return list(distinct(map(checked, names)).values())


def room_for(kept: int) -> int:
    """Return how many new events an entry may have beside those its user has edited."""
    return max(0, MAX_EVENTS - kept)


def midnight(now: datetime) -> datetime:
    """Return the beginning of the day (UTC)."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def until_tomorrow(now: datetime) -> timedelta:
    """Return how long the day (UTC) still lasts."""
    return midnight(now) + timedelta(days=1) - now
