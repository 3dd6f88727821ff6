"""E-mail addresses of invitations, and how many a viewer may enter."""

from __future__ import annotations

import unicodedata
from datetime import datetime, timedelta

from daysong.kernel.errors import ExpectedError

LONGEST_EMAIL = 254
LONGEST_SOURCE = 100
# Addresses that one viewer may enter in that time.
MOST = 5
WINDOW = timedelta(hours=1)


class InvalidEmail(ExpectedError):
    """The text is not an e-mail address."""

    code = "invalid_email"
    default_message = "Please enter a valid email address"


def normalized(email: str, *, production: bool) -> str:
    """Return an address in the form in which addresses are compared: normalized, in lower case.

    Checks the syntax alone, without DNS; outside production `.test` counts as a domain. Errors: InvalidEmail.
    """
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415 - slow to import

    try:
        checked = validate_email(
            email.strip(), check_deliverability=False, strict=True, test_environment=not production
        )
    except EmailNotValidError:
        raise InvalidEmail from None
    return unicodedata.normalize("NFC", checked.normalized.lower())


def form_of(email: str) -> str:
    """Return the same form of any address, also of one whose syntax is refused."""
    try:
        return normalized(email, production=False)
    except InvalidEmail:
        return email.strip().lower()


def wait(latest: list[datetime], now: datetime) -> timedelta | None:
    """Return how long a viewer has to wait; None when the viewer may enter another address.

    `latest` are the moments of the viewer's latest addresses, the newest first, at least MOST of them if there are.
    """
    if len(latest) < MOST or (left := latest[MOST - 1] + WINDOW - now) <= timedelta(0):
        return None
    return left
