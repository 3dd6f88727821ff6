"""Phone numbers: which may be called at all, and how one is remembered without being written down."""

from __future__ import annotations

import hmac
import re

import phonenumbers
from phonenumbers import PhoneNumberType

from daysong.kernel.errors import ExpectedError
from daysong.kernel.settings import Settings

LONGEST_NUMBER = 16
# Those at which a person answers, at the price of a call. Not among them: premium-rate, shared-cost and toll-free
# numbers, pagers, voicemail, companies' numbers, and personal numbers, which lead nobody knows where at any price.
PERSONAL = frozenset(
    {
        PhoneNumberType.FIXED_LINE,
        PhoneNumberType.MOBILE,
        PhoneNumberType.FIXED_LINE_OR_MOBILE,
        PhoneNumberType.VOIP,
    }
)
# What libphonenumber has for numbers of no country: satellite phones and their like.
NOWHERE = "001"


class InvalidPhoneNumber(ExpectedError):
    """No number that somebody could be called at."""

    code = "invalid_phone_number"
    default_message = "Invalid phone number. Must be in E.164 format (e.g., +12125551234)"


def checked(text: str) -> str:
    """A number in E.164, as it came: a plus and digits alone, that somebody in a country may have. InvalidPhoneNumber.

    Numbers that cost more than a call, or the called one money, and short ones, are none.
    """
    if len(text) > LONGEST_NUMBER or not re.fullmatch(r"\+[1-9][0-9]+", text):
        raise InvalidPhoneNumber
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        raise InvalidPhoneNumber from None
    if (
        not phonenumbers.is_valid_number(number)
        or phonenumbers.number_type(number) not in PERSONAL
        or phonenumbers.region_code_for_number(number) in {None, NOWHERE}
        # Written otherwise, one number could be two.
        or phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) != text
    ):
        raise InvalidPhoneNumber
    return text


def number_hash(settings: Settings, number: str) -> bytes:
    """The hash a number is recognised by, in whosever settings it is; nobody can tell the number from it."""
    return hmac.digest(settings.hash_key.encode(), f"phone:{number}".encode(), "sha256")
