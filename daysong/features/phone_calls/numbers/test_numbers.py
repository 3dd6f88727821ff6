"""Which numbers may be called: those a person answers, written in one way."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.features.phone_calls.numbers.numbers import (
    InvalidPhoneNumber,
    PhoneNumberNotInService,
    PremiumPhoneNumber,
    TollFreePhoneNumber,
    UnsuitablePhoneNumber,
    caller_keys,
    checked,
    country_of,
    key_of,
    number_hashes,
)
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
        # Impossible or unassigned.
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
    """Malformed, impossible, premium-rate, shared-cost, toll-free, short."""
    with pytest.raises(InvalidPhoneNumber) as refused:
        checked(number)
    assert refused.value.code == "invalid_phone_number"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("12125551234", InvalidPhoneNumber),
        ("+1212555", InvalidPhoneNumber),
        ("+5550123", InvalidPhoneNumber),
        ("+19005551234", PremiumPhoneNumber),
        ("+448431234567", PremiumPhoneNumber),
        ("+18005551234", TollFreePhoneNumber),
        ("+80012345678", TollFreePhoneNumber),
        ("+447640123456", UnsuitablePhoneNumber),
        ("+870773111632", UnsuitablePhoneNumber),
        ("+19995550123", PhoneNumberNotInService),
        ("+447611234567", PhoneNumberNotInService),
    ],
)
def test_g27_a_refusal_names_the_right_reason(number: str, kind: type[InvalidPhoneNumber]) -> None:
    """Only a number that is not in E.164 is refused for its form."""
    with pytest.raises(InvalidPhoneNumber) as refused:
        checked(number)
    assert type(refused.value) is kind
    assert ("E.164" in refused.value.message) == (kind is InvalidPhoneNumber)


def test_g27_an_area_code_that_is_too_new_can_be_allowed() -> None:
    """By its prefix; premium and toll-free numbers, and what is no number, stay refused."""
    assert checked("+19995550123", ("+1999",)) == "+19995550123"
    for number, allowed in (("+19005551234", "+1"), ("+18005551234", "+1800"), ("+1999555", "+1999")):
        with pytest.raises(InvalidPhoneNumber):
            checked(number, (allowed,))
    with pytest.raises(PhoneNumberNotInService):
        checked("+19985550123", ("+1999",))


def test_the_settings_of_calls_are_checked() -> None:
    """Countries by their two letters, prefixes with their plus."""
    given_ = {"DAYSONG_HASH_KEY": "x", "CALL_COUNTRIES": "us, ca", "CALL_NUMBERS_ALLOWED": "+1983,+4477"}
    found = settings.load(ENVIRONMENT | given_).vapi
    assert (found.countries, found.numbers_allowed) == (("US", "CA"), ("+1983", "+4477"))
    wrong = {"DAYSONG_HASH_KEY": "x", "CALL_COUNTRIES": "america", "CALL_NUMBERS_ALLOWED": "1983"}
    _, problems = settings.read(ENVIRONMENT | wrong)
    assert {problem.name for problem in problems} == {"CALL_COUNTRIES", "CALL_NUMBERS_ALLOWED"}


BRITISH, AMERICAN = "+442079460000", "+12025550100"


@pytest.mark.parametrize(
    ("written", "line", "number"),
    [
        ("+12025550123", None, "+12025550123"),
        ("12025550123", AMERICAN, "+12025550123"),
        ("12025550123", BRITISH, "+12025550123"),
        ("2025550123", AMERICAN, "+12025550123"),
        (" +1 (202) 555-0123 ", None, "+12025550123"),
        ("0012025550123", None, "+12025550123"),
        ("01144 7911 123456", AMERICAN, "+447911123456"),
        ("+4407911123456", None, "+447911123456"),
        ("07911123456", BRITISH, "+447911123456"),
        ("447911123456", AMERICAN, "+447911123456"),
        ("+5215512345678", None, "+525512345678"),
        ("5215512345678", AMERICAN, "+525512345678"),
        ("+541123456789", None, "+5491123456789"),
        ("+5491123456789", None, "+541123456789"),
        ("+54111523456789", None, "+5491123456789"),
        ("+390612345678", None, "+390612345678"),
    ],
)
def test_g23_one_number_is_known_however_a_network_writes_it(written: str, line: str | None, number: str) -> None:
    """Without a plus, with a national prefix, in an old form, in the form of the line's country."""
    assert key_of(number) in caller_keys(written, line)


@pytest.mark.parametrize("written", [None, "", "anonymous", "+", "1", "+266696687", "sip:alice@example.test", "0" * 60])
def test_g23_what_is_no_number_is_nobodys(written: str | None) -> None:
    """Withheld, an address, too long."""
    assert caller_keys(written, AMERICAN) == ()


@given(st.text(max_size=45) | st.from_regex(r"[+0-9 ]{1,20}", fullmatch=True), st.sampled_from([None, AMERICAN, "x"]))
def test_g23_whatever_a_network_sends_is_read(written: str, line: str | None) -> None:
    """Nothing is raised, and a key is its own key."""
    assert all(key_of(key) == key for key in caller_keys(written, line))


def test_g23_a_number_has_one_hash_however_it_is_written() -> None:
    """Who refuses calls in Argentina is not called under the other form of their number."""
    mine = with_key("one key")
    assert number_hashes(mine, "+541123456789")[0] == number_hashes(mine, "+5491123456789")[0]
    assert country_of("+5491123456789") == "AR"
    assert (country_of("+12025550123"), country_of("+19995550123"), country_of("x"), country_of(None)) == (
        "US", "US", None, None,
    )  # fmt: skip


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
    assert number_hashes(mine, number)[0] == number_hashes(mine, number)[0]
    different = [
        number_hashes(mine, "+12025550124")[0], number_hashes(other, number)[0], clerk_hash(mine, number),
        email_hash(mine, number),
    ]  # fmt: skip
    assert len({number_hashes(mine, number)[0], *different}) == 5
    assert number.encode() not in number_hashes(mine, number)[0]
