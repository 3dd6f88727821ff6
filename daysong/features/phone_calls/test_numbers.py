"""Which numbers may be called: those a person answers, written in one way."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.features.phone_calls.numbers import InvalidPhoneNumber, checked, number_hash
from daysong.features.users.tombstones import clerk_hash, email_hash
from daysong.kernel import settings
from daysong.kernel.settings import Settings

ENVIRONMENT = {"SITE_URL": "https://daysong.test", "OPENAI_API_KEY": "x", "SUNO_API_KEY": "x"} | {
    "CLERK_FRONTEND_API_URL": "https://clerk.test", "DAYSONG_ADMIN_KEY": "x"
}  # fmt: skip


def with_key(key: str) -> Settings:
    """Settings with that key for hashes."""
    return settings.load(ENVIRONMENT | {"DAYSONG_HASH_KEY": key})


@pytest.mark.parametrize(
    "number",
    [
        "+12125551234",
        "+12025550123",  # made up for films and tests, and valid
        "+442079460123",
        "+447911123456",
        "+491711234567",
        "+33612345678",
        "+5511987654321",
        "+81312345678",
        "+390612345678",  # the zero belongs to it
        "+4932012345678",  # over the internet
    ],
)
def test_people_can_be_called(number: str) -> None:
    """At home, on the move, over the internet."""
    assert checked(number) == number


@pytest.mark.parametrize(
    "number",
    [
        # Malformed.
        "", "+", "something", "12125551234", "0012125551234", "+1 212 555 1234", "+1-212-555-1234", "+1(212)5551234",
        "+12125551234 ", "+12125551234\n", "tel:+12125551234", "+12125551234;ext=5", "+1212555123x", "++12125551234",
        "+٤٤٧٩١١١٢٣٤٥٦", "+１２１２５５５１２３４", "+02125551234", "+121255512341234567890",
        # Impossible or nobody's.
        "+12", "+1212555", "+11111111111", "+9991234567", "+447611234567", "+12125551",
        # One number written as another.
        "+4402079460123",
        # Short.
        "+1911", "+112", "+44999",
        # At a price.
        "+19005551234", "+33812345678", "+448431234567", "+979123456789",
        # At the called one's.
        "+18005551234", "+448001111111", "+80012345678",
        # Forwarded anywhere, a pager, a company's.
        "+447012345678", "+447640123456", "+445512345678",
        # In the sky, and nowhere.
        "+870773111632", "+88216212345678", "+881612345678",
    ],
)  # fmt: skip
def test_f32_what_is_no_persons_number_is_refused(number: str) -> None:
    """Malformed, impossible, premium-rate, shared-cost, toll-free, short: all in the same words."""
    with pytest.raises(InvalidPhoneNumber) as refused:
        checked(number)
    assert refused.value.message == "Invalid phone number. Must be in E.164 format (e.g., +12125551234)"


def test_f32_no_example_of_a_costly_number_gets_through() -> None:
    """Of any country, as libphonenumber knows them."""
    costly = ("PREMIUM_RATE", "SHARED_COST", "TOLL_FREE", "UAN", "PAGER", "VOICEMAIL", "PERSONAL_NUMBER")
    tried = 0
    for region in phonenumbers.SUPPORTED_REGIONS:
        for name in costly:
            example = phonenumbers.example_number_for_type(region, getattr(phonenumbers.PhoneNumberType, name))
            if example is not None:
                tried += 1
                with pytest.raises(InvalidPhoneNumber):
                    checked(phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164))
    assert tried > 500


def test_somebody_of_every_country_can_be_called() -> None:
    """The example of a mobile number of each."""
    for region in phonenumbers.SUPPORTED_REGIONS:
        example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        if example is not None:
            number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
            assert checked(number) == number


@given(st.text(max_size=20) | st.from_regex(r"\+[0-9]{1,18}", fullmatch=True))
def test_whatever_is_typed_is_a_number_or_refused(text: str) -> None:
    """Nothing else is raised, and what passes is what the database takes."""
    try:
        assert checked(text) == text
    except InvalidPhoneNumber:
        return
    assert len(text) <= 16


def test_a_hash_tells_numbers_apart_and_names_none() -> None:
    """By its key; another key, and other kinds of things, give others."""
    mine, other = with_key("one key"), with_key("another key")
    number = "+12025550123"
    assert number_hash(mine, number) == number_hash(mine, number)
    different = [
        number_hash(mine, "+12025550124"), number_hash(other, number), clerk_hash(mine, number),
        email_hash(mine, number),
    ]  # fmt: skip
    assert len({number_hash(mine, number), *different}) == 5
    assert number.encode() not in number_hash(mine, number)
