"""Clerk's webhooks: which are Clerk's, and what is read out of them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from daysong.vendors.clerk.events import Person, check_signature, parse_event
from daysong.vendors.webhooks import MalformedEvent, UnsignedEvent

FIXTURES = Path(__file__).parent / "fixtures"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(b"a secret for tests").decode()
BODY = b'{"type":"user.created","data":{"id":"user_1"}}'
WEBHOOK = Webhook(SECRET)


def signed(body: bytes = BODY, *, sent_at: datetime = NOW, secret: str = SECRET) -> dict[str, str]:
    """The headers Svix sends along."""
    return {
        "svix-id": "msg_1",
        "svix-timestamp": str(int(sent_at.timestamp())),
        "svix-signature": Webhook(secret).sign("msg_1", sent_at, body.decode()),
    }


def fixture(name: str) -> dict[str, Any]:
    """A recorded webhook."""
    body: dict[str, Any] = json.loads((FIXTURES / f"webhook-{name}.json").read_bytes())
    return body


def test_what_clerk_signed_is_clerks() -> None:
    """The message's id comes back, the same on every delivery."""
    assert check_signature(WEBHOOK, signed(), BODY, NOW) == "msg_1"


def test_one_good_signature_among_several_is_enough() -> None:
    """While a secret is being replaced, Svix signs with both."""
    headers = signed()
    headers["svix-signature"] = f"v1,bm90IHRoaXM= v2,whatever {headers['svix-signature']}"
    assert check_signature(WEBHOOK, headers, BODY, NOW) == "msg_1"


def test_a_signature_is_compared_as_the_standard_library_for_it_does() -> None:
    """standardwebhooks itself accepts what we accept, by the machine's clock."""
    now = datetime.now(UTC)
    headers = signed(sent_at=now)
    assert check_signature(WEBHOOK, headers, BODY, now) == "msg_1"
    WEBHOOK.verify(BODY, {name.replace("svix", "webhook"): value for name, value in headers.items()})


BAD_SIGNATURES: dict[str, dict[str, str]] = {
    "another secret": signed(secret="whsec_" + base64.b64encode(b"guess").decode()),
    "another body": signed(b'{"type":"user.deleted"}'),
    "another id": signed() | {"svix-id": "msg_2"},
    "another time": signed() | {"svix-timestamp": str(int(NOW.timestamp()) + 1)},
    "another version": signed() | {"svix-signature": signed()["svix-signature"].replace("v1,", "v1a,")},
    "no signature": signed() | {"svix-signature": ""},
    "only commas": signed() | {"svix-signature": ",,, , v1"},
    "no base64": signed() | {"svix-signature": "v1,£$%"},
    "not even latin": signed() | {"svix-signature": "v1,\u2603"},
    "too old": signed(sent_at=NOW - timedelta(seconds=301)),
    "too new": signed(sent_at=NOW + timedelta(seconds=301)),
    "no headers": {},
}


@pytest.mark.parametrize("headers", BAD_SIGNATURES.values(), ids=BAD_SIGNATURES.keys())
def test_f13_anything_else_is_not(headers: dict[str, str]) -> None:
    """A guess, a changed or an old message: refused."""
    with pytest.raises(UnsignedEvent):
        check_signature(WEBHOOK, headers, BODY, NOW)


@pytest.mark.parametrize("seconds", [-300, 300])
def test_five_minutes_either_way_are_tolerated(seconds: int) -> None:
    """Clocks differ, and a delivery may take a while."""
    assert check_signature(WEBHOOK, signed(sent_at=NOW + timedelta(seconds=seconds)), BODY, NOW)


@pytest.mark.parametrize(
    "headers",
    [
        signed() | {"svix-timestamp": "soon"},
        signed() | {"svix-timestamp": "nan"},
        signed() | {"svix-timestamp": "-5"},
        signed() | {"svix-timestamp": "1" * 400},
        signed() | {"svix-timestamp": "١٢٣"},
        signed() | {"svix-id": "x" * 500},
        signed() | {"svix-id": "msg 1"},
    ],
)
def test_malformed_headers_are_told_from_wrong_ones(headers: dict[str, str]) -> None:
    """They raise nothing but our own errors."""
    with pytest.raises(MalformedEvent):
        check_signature(WEBHOOK, headers, BODY, NOW)


def test_a_body_that_is_no_text_is_malformed() -> None:
    """Bytes cannot be signed as the text they are not."""
    with pytest.raises(MalformedEvent):
        check_signature(WEBHOOK, signed(), b"\xff\xfe", NOW)


def read(name: str) -> Any:
    """A recorded webhook, as it is understood."""
    return parse_event(json.dumps(fixture(name)).encode(), NOW)


CLERK_ID = "user_2aaaaaaaaaaaaaaaaaaaaaaaaa1"
CREATED = datetime(2026, 11, 20, 7, 59, 59, 100_000, tzinfo=UTC)


@pytest.mark.parametrize("name", ["user-created", "user-created-timestamp-seconds", "user-created-email-code"])
def test_somebody_new_is_read(name: str) -> None:
    """Whatever way they proved their e-mail, and in whatever unit the time is told."""
    event = read(name)
    assert event.person == Person(CLERK_ID, "sample.person@example.com", "Sample Person", CREATED)
    assert event.said_at == datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def test_the_primary_address_counts() -> None:
    """Not the first of the list."""
    assert read("user-updated").person.email == "second@example.com"


def test_somebody_may_have_neither_address_nor_name() -> None:
    """Then there is none, and not an empty one."""
    person = read("user-created-no-email-no-name").person
    assert (person.email, person.name) == (None, None)


def with_phones(*entries: Any) -> tuple[str, ...]:
    """The numbers that count of somebody with these."""
    body = fixture("user-created")
    body["data"]["phone_numbers"] = list(entries)
    person = parse_event(json.dumps(body).encode(), NOW).person
    assert person is not None
    return person.phones


def phone(number: Any, status: Any = "verified", strategy: Any = "phone_code") -> dict[str, Any]:
    """A number as Clerk tells of it."""
    return {
        "id": "idn_1", "object": "phone_number", "phone_number": number, "default_second_factor": False,
        "reserved_for_second_factor": False, "linked_to": [],
        "verification": {"status": status, "strategy": strategy},
    }  # fmt: skip


def test_numbers_count_when_they_are_verified() -> None:
    """All of them, not the primary one alone; each once."""
    assert with_phones() == ()
    assert with_phones(phone("+12025550123"), phone("+442079460123"), phone("+12025550123")) == (
        "+12025550123", "+442079460123",
    )  # fmt: skip


@pytest.mark.parametrize(
    "entry",
    [
        phone("+12025550123", "unverified"), phone("+12025550123", "expired"), phone("+12025550123", None),
        phone("+12025550123", True), phone("12025550123"), phone("+1 202 555 0123"), phone(12025550123), phone(None),
        phone("+12025550123\n"), phone("+" + "1" * 30), {"phone_number": "+12025550123"},
        {"phone_number": "+12025550123", "verification": "verified"}, "+12025550123", None, [],
    ],
)  # fmt: skip
def test_a_number_that_proves_nothing_does_not_count(entry: Any) -> None:
    """Unverified, or none; the rest of the event is as good."""
    assert with_phones(entry, phone("+442079460123")) == ("+442079460123",)


@pytest.mark.parametrize(
    "strategy",
    ["admin", "import", "ticket", "from_oauth_google", "email_code", "PHONE_CODE", "", None, True, ["phone_code"]],
)
def test_g04_only_a_code_that_the_person_typed_proves_a_number(strategy: Any) -> None:
    """An administrator, an import, and a strategy that is not known here prove nothing."""
    assert with_phones(phone("+12025550123", strategy=strategy)) == ()
    assert with_phones(phone("+12025550123", strategy="reset_password_phone_code")) == ("+12025550123",)


def test_nobody_has_endlessly_many_numbers() -> None:
    """Twenty are enough."""
    assert len(with_phones(*(phone(f"+12025550{number}") for number in range(100, 200)))) == 20


@pytest.mark.parametrize("phones", [None, {}, "x", 5])
def test_a_person_without_a_list_of_numbers_has_none(phones: Any) -> None:
    """Whatever stands there instead."""
    body = fixture("user-created")
    body["data"]["phone_numbers"] = phones
    event = parse_event(json.dumps(body).encode(), NOW)
    assert event.person is not None
    assert event.person.phones == ()


def test_a_deletion_may_not_say_whose() -> None:
    """The id is optional by Clerk's schema."""
    assert read("user-deleted").clerk_id == CLERK_ID
    assert read("user-deleted-no-id").clerk_id is None


def test_of_events_nobody_reads_only_type_and_id_are_kept() -> None:
    """A one-time code, a phone number and an address on the network are not stored."""
    assert json.loads(read("sms-created").kept) == {
        "type": "sms.created",
        "data": {"id": "sms_2aaaaaaaaaaaaaaaaaaaaaaaaa1"},
    }
    assert set(json.loads(read("session-created").kept)) == {"type", "data"}
    assert "203.0.113.10" not in read("session-created").kept


def test_text_is_cleaned() -> None:
    """What no database takes, or is endless, does not get through."""
    body = fixture("user-created")
    body["data"] |= {"first_name": "Sam\0ple", "last_name": "P" * 5000, "email_addresses": [{"id": 5}, None, "x"]}
    person = parse_event(json.dumps(body).encode(), NOW).person
    assert person is not None
    assert person.name is not None
    assert person.name.startswith("Sample PPP")
    assert len(person.name) < 520
    assert person.email is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"{}",
        b'{"type":"user.created"}',
        b'{"type":5,"data":{}}',
        b'{"type":"user.created","data":[]}',
        b'{"type":"user.created","data":{}}',
        b'{"type":"user.created","data":{"id":5}}',
        b'{"type":"user.updated","data":{"id":"a b"}}',
        b'{"type":"user.deleted","data":{"id":""}}',
        b'{"type":"a\\u0000b","data":{}}',
        b'{"type":"user.created","data":{"id":"\xff"}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_event_is_malformed(body: bytes) -> None:
    """It says what is wrong, and raises nothing else."""
    with pytest.raises(MalformedEvent) as refused:
        parse_event(body, NOW)
    assert refused.value.message


@pytest.mark.parametrize("timestamp", [None, "soon", 1e300, True])
def test_a_strange_time_is_the_time_of_receipt(timestamp: Any) -> None:
    """No event is lost over its timestamp."""
    body = fixture("user-created") | {"timestamp": timestamp}
    assert parse_event(json.dumps(body).encode(), NOW).said_at == NOW
