"""Phone numbers: which ones may be called, how a caller's number is matched, and the hash they are stored under."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from daysong.kernel.errors import ExpectedError
from daysong.kernel.keys import keyed_hashes
from daysong.kernel.settings import Settings

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

LONGEST_NUMBER = 16
LONGEST_CALLER = 40
# Types at which a person answers at the price of a call. Excluded: premium-rate, shared-cost and toll-free numbers,
# pagers, voicemail, company numbers, and personal numbers, which may be forwarded anywhere at any price.
PERSONAL = ("FIXED_LINE", "MOBILE", "FIXED_LINE_OR_MOBILE", "VOIP")
# libphonenumber's region of numbers without a country, such as satellite phones.
NOWHERE = "001"


class InvalidPhoneNumber(ExpectedError):
    """The text is no phone number in E.164; subclasses differ in their message only."""

    code = "invalid_phone_number"
    default_message = "Invalid phone number. Must be in E.164 format (e.g., +12125551234)"


class PremiumPhoneNumber(InvalidPhoneNumber):
    """A premium-rate or shared-cost number."""

    default_message = "Premium-rate phone numbers cannot be called. Please give a mobile or fixed-line number."


class TollFreePhoneNumber(InvalidPhoneNumber):
    """A toll-free number, whose owner pays for the call."""

    default_message = "Toll-free phone numbers cannot be called. Please give a mobile or fixed-line number."


class UnsuitablePhoneNumber(InvalidPhoneNumber):
    """A number of a type that is not called: pager, mailbox, company number, satellite phone."""

    default_message = "This kind of phone number cannot be called. Please give a mobile or fixed-line number."


class PhoneNumberNotInService(InvalidPhoneNumber):
    """A number of valid length that libphonenumber lists as unassigned; see CALL_NUMBERS_ALLOWED."""

    default_message = "This phone number is not in service, as far as we know. Please check its digits."


def checked(text: str, allowed: Collection[str] = ()) -> str:
    """Return a number in E.164 unchanged when it may be called.

    InvalidPhoneNumber, PremiumPhoneNumber, TollFreePhoneNumber, UnsuitablePhoneNumber; PhoneNumberNotInService unless
    it begins with one of the `allowed` prefixes.
    """
    import phonenumbers  # noqa: PLC0415 - slow to import

    if len(text) > LONGEST_NUMBER or not re.fullmatch(r"\+[1-9][0-9]+", text):
        raise InvalidPhoneNumber
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        raise InvalidPhoneNumber from None
    # Only the canonical form: otherwise one number could be stored as two.
    if _e164(number) != text or not _is_possible(number):
        raise InvalidPhoneNumber
    if not phonenumbers.is_valid_number(number):
        if not text.startswith(tuple(allowed)):
            raise PhoneNumberNotInService
        return text
    kind = phonenumbers.PhoneNumberType.to_string(phonenumbers.number_type(number))
    if kind in {"PREMIUM_RATE", "SHARED_COST"}:
        raise PremiumPhoneNumber
    if kind == "TOLL_FREE":
        raise TollFreePhoneNumber
    if kind not in PERSONAL or phonenumbers.region_code_for_number(number) in {None, NOWHERE}:
        raise UnsuitablePhoneNumber
    return text


def country_of(number: str | None) -> str | None:
    """Return the country (ISO 3166-1 alpha-2) of a number in E.164; None when it has none.

    For a number unknown to libphonenumber, it is the main country of its calling code.
    """
    import phonenumbers  # noqa: PLC0415 - slow to import

    try:
        parsed = phonenumbers.parse(number or "")
    except phonenumbers.NumberParseException:
        return None
    found = phonenumbers.region_code_for_number(parsed)
    if found is None and parsed.country_code is not None:
        found = phonenumbers.region_code_for_country_code(parsed.country_code)
    return None if found in {None, NOWHERE, phonenumbers.UNKNOWN_REGION} else found


def key_of(number: str) -> str:
    """Return the canonical form by which numbers (E.164) are compared.

    Mexico dropped the 1 of mobile phones in 2019, and Argentina's 9 is used only in calls from abroad; networks send
    both forms. The column `call_settings.number_key` is computed by the same rule.
    """
    number = re.sub(r"^\+521(?=[0-9]{10}$)", "+52", number)
    return re.sub(r"^\+54(?=[0-8])", "+549", number)


def caller_keys(text: str | None, line: str | None) -> tuple[str, ...]:
    """Return the canonical forms (`key_of`) a caller's number may have, most likely first; none when it is no number.

    Networks send numbers with or without the plus, with 00, with a national prefix left in, in the national form of
    the called `line` (E.164), and with spaces.
    """
    written = (text or "").strip()
    if not written or len(written) > LONGEST_CALLER:
        return ()
    country = country_of(line)
    digits = re.sub(r"[^0-9]", "", written)
    attempts: list[tuple[str, str | None]] = []
    if written.startswith("+"):
        attempts = [(written, None)]
    elif digits.startswith("00"):
        attempts = [(f"+{digits[2:]}", None), (digits, country)]
    else:
        attempts = [(digits, country), (f"+{digits}", None)]
    found = (_key(attempt, region) for attempt, region in attempts)
    return tuple(dict.fromkeys(filter(None, found)))


def _key(text: str, country: str | None) -> str | None:
    """Return the `key_of` of a number in any form; None when there is no such number."""
    import phonenumbers  # noqa: PLC0415 - slow to import

    try:
        number = phonenumbers.parse(text, country)
        key = key_of(_e164(number))
        # An old form may no longer be valid. A number with its country code may be newer than libphonenumber.
        is_known = phonenumbers.is_valid_number(number) or phonenumbers.is_valid_number(phonenumbers.parse(key))
    except phonenumbers.NumberParseException:
        return None
    return key if is_known or (country is None and _is_possible(number)) else None


def _is_possible(number: PhoneNumber) -> bool:
    import phonenumbers  # noqa: PLC0415 - slow to import

    return phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE


def _e164(number: PhoneNumber) -> str:
    import phonenumbers  # noqa: PLC0415 - slow to import

    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def number_hashes(settings: Settings, number: str) -> list[bytes]:
    """Return the keyed hashes that may identify a number across accounts, the one of the current key first.

    They cannot be reversed without the keys. `consent.hash_of` returns the one that has a row.
    """
    return keyed_hashes(settings.hash_keys, f"phone:{key_of(number)}")
