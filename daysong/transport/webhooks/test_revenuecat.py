"""RevenueCat's webhooks, posted to the real route: each recorded one twice, and with wrong credentials."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from daysong.kernel.inbox import MAX_BODY
from daysong.kernel.time.clock import from_ms
from daysong.vendors.revenuecat.events import parse_event
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

FIXTURES = Path(__file__).parent.parent.parent / "vendors" / "revenuecat" / "fixtures"
NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)  # the time of the recorded events
SECRET = "made-up-static-value"
PRODUCTS = {
    "diary_premium_monthly": "monthly",
    "diary_premium_yearly": "yearly",
    "diary_premium:monthly": "monthly",
    "diary_premium:yearly": "yearly",
    "diary_premium:prepaid": "monthly",
    "diary_lifetime": "yearly",
    "rc_promo_premium": "monthly",
}
ENVIRON = {
    "REVENUECAT_WEBHOOK_SECRET": f"Bearer {SECRET}",
    "REVENUECAT_PRODUCTS": ",".join(f"{product}={tier}" for product, tier in PRODUCTS.items()),
    # Without a key RevenueCat's API is not called: only the events count.
    "REVENUECAT_API_KEY_FILE": "/dev/null",
}
MONTHLY_ENDS = 1_797_753_598_000
URL = "/http/revenuecat-webhook"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all tests, so that keys are created once."""
    return tmp_path_factory.mktemp("world")


@pytest.fixture
async def world(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """A service that cannot call RevenueCat's API."""
    async with World(database_url, data_dir, NOW, ENVIRON) as whole:
        yield whole


@pytest.fixture
async def alice(world: World) -> Person:
    """The user of the recorded events: user_0001."""
    return await world.person("0001")


def recorded(name: str) -> dict[str, Any]:
    """A recorded webhook."""
    found: dict[str, Any] = json.loads((FIXTURES / f"webhook-{name}.json").read_bytes())
    return found


async def post(world: World, body: Any, authorization: str | None = f"Bearer {SECRET}") -> httpx2.Response:
    """Post a webhook, and run the jobs that it schedules."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": authorization} if authorization else {})
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await world.http.post(URL, content=content, headers=headers)
    await world.app.worker.drain(until=None, clock=world.clock)
    return answer


async def post_purchase(world: World, like: dict[str, Any]) -> None:
    """Post a purchase of the event's product, one second before the event."""
    event = recorded("initial-purchase")["event"]
    about = {}
    if like["event"].get("product_id") in PRODUCTS:
        about = {name: like["event"][name] for name in ("product_id", "store")}
    await post(world, {"event": {**event, **about, "id": "before", "event_timestamp_ms": 1_795_161_599_000}})


async def changeable_rows(world: World) -> list[Any]:
    """All rows that an event may change."""
    return [
        [dict(row) for row in await world.db.pool.fetch(f"select * from {table} order by 1")]  # noqa: S608
        for table in ("subscriptions", "subscription_log", "parked_customers", "revenuecat_ids", "usage_charges")
    ]


LOG = 1


class Effect(NamedTuple):
    """The subscription after an event, with (`had`) or without a monthly one until 1797753598000 before."""

    had: bool
    tier: str
    status: str
    ends: int | None
    grace: int | None = None


KEPT = Effect(True, "monthly", "active", MONTHLY_ENDS)
STAYS_FREE = Effect(False, "free", "active", None)
CANCELED = Effect(True, "monthly", "canceled", MONTHLY_ENDS)

EFFECTS: dict[str, Effect] = {
    "billing-issue-with-grace": Effect(True, "monthly", "in_grace", 1_795_161_586_000, 1_796_544_000_000),
    "cancellation-billing-error": KEPT,
    "cancellation-customer-support-refund": Effect(True, "free", "expired", 1_795_161_599_000),
    "cancellation-developer-initiated": CANCELED,
    "cancellation-price-increase": CANCELED,
    "cancellation-trial": CANCELED,
    "cancellation-unsubscribe": CANCELED,
    "experiment-enrollment": KEPT,
    "expiration-customer-support": Effect(True, "free", "expired", 1_795_161_560_000),
    "expiration-developer-initiated": Effect(True, "free", "expired", 1_795_161_560_000),
    "expiration-ends-temporary-grant": Effect(True, "free", "expired", 1_795_161_599_000),
    "expiration-paused": Effect(True, "free", "expired", 1_795_161_560_000),
    "expiration-stale-out-of-order": KEPT,
    "expiration-trial": Effect(True, "free", "expired", 1_795_161_560_000),
    "expiration-unknown": Effect(True, "free", "expired", 1_795_161_560_000),
    "expiration-unsubscribe": Effect(True, "free", "expired", 1_795_161_560_000),
    "initial-purchase": Effect(False, "monthly", "active", MONTHLY_ENDS),
    "initial-purchase-anonymous": STAYS_FREE,
    "initial-purchase-family-share": Effect(False, "monthly", "active", MONTHLY_ENDS),
    "initial-purchase-intro": Effect(False, "monthly", "active", MONTHLY_ENDS),
    "initial-purchase-prepaid": Effect(False, "monthly", "active", MONTHLY_ENDS),
    "initial-purchase-promotional": Effect(False, "monthly", "active", MONTHLY_ENDS),
    "initial-purchase-sandbox": STAYS_FREE,
    "initial-purchase-trial": Effect(False, "monthly", "active", 1_795_766_400_000),
    "invoice-issuance": KEPT,
    "non-renewing-purchase": KEPT,
    "non-renewing-purchase-lifetime": Effect(False, "yearly", "canceled", None),
    "paywall-cancel": KEPT,
    "paywall-close": KEPT,
    "paywall-component-interacted": KEPT,
    "paywall-exit-offer": KEPT,
    "paywall-impression": KEPT,
    "price-increase-consent-approved": KEPT,
    "product-change-app-store": KEPT,
    "product-change-deferred-play": KEPT,
    "product-change-no-new-product": KEPT,
    "purchase-redeemed": KEPT,
    "refund-reversed": Effect(True, "monthly", "active", 1_796_198_400_000),
    "renewal": KEPT,
    "renewal-after-deferred-product-change": Effect(True, "yearly", "active", 1_826_697_600_000),
    "renewal-trial-conversion": KEPT,
    "subscriber-alias": KEPT,
    "subscription-paused": KEPT,
    "temporary-entitlement-grant-full": Effect(False, "monthly", "canceled", 1_795_248_000_000),
    "test": KEPT,
    "transfer": STAYS_FREE,
    "transfer-to-anonymous": STAYS_FREE,
    "unknown-type": KEPT,
    "virtual-currency-transaction": KEPT,
}


def test_every_recorded_webhook_has_an_expected_effect() -> None:
    """A new recording needs an expectation."""
    assert {path.stem.removeprefix("webhook-") for path in FIXTURES.glob("webhook-*.json")} == set(EFFECTS)


@pytest.mark.parametrize("name", EFFECTS)
async def test_each_recorded_webhook_has_its_effect_once(world: World, alice: Person, name: str) -> None:
    """Refused with a wrong Authorization header; then accepted twice, applied once, and logged if it has an effect."""
    webhook, effect = recorded(name), EFFECTS[name]
    if effect.had:
        await post_purchase(world, webhook)
    before = await changeable_rows(world)
    for wrong in (None, "", "Bearer", f"Bearer {SECRET}x", "Bearer made-up"):
        assert (await post(world, webhook, wrong)).status_code == httpx2.codes.UNAUTHORIZED
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == effect.had
    assert await changeable_rows(world) == before

    assert (await post(world, webhook)).status_code == httpx2.codes.OK
    after = await changeable_rows(world)
    assert (await post(world, webhook)).status_code == httpx2.codes.OK
    assert await changeable_rows(world) == after
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == effect.had + 1

    status = await alice.query("billing:getCurrentUserStatus")
    assert (status["tier"], status["status"]) == (effect.tier, effect.status)
    row = await world.db.pool.fetchrow("select expires_at, grace_until from subscriptions")
    assert row is not None
    assert row["expires_at"] == (None if effect.ends is None else from_ms(effect.ends))
    assert row["grace_until"] == (None if effect.grace is None else from_ms(effect.grace))
    jobs = await world.db.pool.fetch("select distinct status from jobs")
    assert [row["status"] for row in jobs] == ["done"]
    logged = [(row["event_type"], row["event_id"]) for row in after[LOG][len(before[LOG]) :]]
    changed = before[0][0]["lines"] != after[0][0]["lines"]
    assert logged == ([(webhook["event"]["type"], webhook["event"]["id"])] if changed else [])


async def test_a_transfer_moves_the_subscription(world: World, alice: Person) -> None:
    """From one user to the other."""
    bob = await world.person("0002")
    webhook = recorded("transfer")
    await post_purchase(world, recorded("initial-purchase"))
    await post(world, webhook)
    assert (await alice.query("billing:getCurrentUserStatus"))["tier"] == "free"
    assert (await bob.query("billing:getCurrentUserStatus"))["tier"] == "monthly"


@pytest.mark.parametrize("sent", [f"Bearer {SECRET}", SECRET, f"  {SECRET} "])
@pytest.mark.parametrize("configured", [f"Bearer {SECRET}", SECRET])
async def test_the_authorization_header_may_have_a_bearer_prefix(
    database_url: str, data_dir: Path, configured: str, sent: str
) -> None:
    """On either side, since RevenueCat's dashboard takes any value."""
    environ = ENVIRON | {"REVENUECAT_WEBHOOK_SECRET": configured}
    async with World(database_url, data_dir, NOW, environ) as world:
        assert (await post(world, recorded("test"), sent)).status_code == httpx2.codes.OK


async def test_without_a_secret_nothing_is_accepted(database_url: str, data_dir: Path) -> None:
    """Only development may run without it."""
    environ = {name: value for name, value in ENVIRON.items() if name != "REVENUECAT_WEBHOOK_SECRET"}
    async with World(database_url, data_dir, NOW, environ) as world:
        for authorization in (None, "", "Bearer ", "Bearer None"):
            answer = await post(world, recorded("test"), authorization)
            assert answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE
        assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0


async def test_a_signature_is_required_when_its_secret_is_set(database_url: str, data_dir: Path) -> None:
    """The recorded one is valid for five minutes, alone or among others, and only for its body."""
    example = json.loads((FIXTURES / "signature-example.json").read_bytes())
    environ = ENVIRON | {"REVENUECAT_WEBHOOK_HMAC_SECRET": example["secret"]}
    good = example["headers"]["X-RevenueCat-Webhook-Signature"]
    stamp, _, signature = good.partition(",")
    async with World(database_url, data_dir, NOW, environ) as world:

        async def send(header: str | None, body: str = example["raw_body"]) -> int:
            headers = {"Authorization": example["headers"]["Authorization"]}
            if header is not None:
                headers["X-RevenueCat-Webhook-Signature"] = header
            return (await world.http.post(URL, content=body.encode(), headers=headers)).status_code

        for bad in (
            None, "", "garbage", stamp, signature, f"{stamp},v1=", f"{stamp},v1={'0' * 64}", f"t=1,{signature}",
            f"t=one,{signature}", f"{stamp},{stamp},{signature}", f"{stamp},v2={signature[3:]}", f"t=-1,{signature}",
        ):  # fmt: skip
            assert await send(bad) == httpx2.codes.UNAUTHORIZED, bad
        assert await send(good, example["raw_body"].replace("RENEWAL", "renewal")) == httpx2.codes.UNAUTHORIZED
        assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0
        assert await send(f"{stamp},v1={'0' * 64}, {signature}") == httpx2.codes.OK
        assert await send(good) == httpx2.codes.OK
        assert await world.db.pool.fetchval("select count(*) from webhook_events") == 1
        world.clock.move_to(from_ms((example["now_unix"] + 301) * 1000))
        assert await send(good) == httpx2.codes.UNAUTHORIZED


MALFORMED: dict[str, tuple[Any, str]] = {
    "no JSON": (b"{not json", "JSON"),
    "not UTF-8": (b'{"event":"\xff"}', "JSON"),
    "a lone surrogate": (b'{"event":{"id":"\\ud800","type":"TEST","event_timestamp_ms":1}}', "JSON"),
    "too deep": (b'{"event":' + b"[" * 5000 + b"]" * 5000 + b"}", "JSON"),
    "a list": ([], "event"),
    "nothing": (b"", "JSON"),
    "no event": ({"api_version": "1.0"}, "event"),
    "an event of the wrong type": ({"event": "TEST"}, "event"),
    "no id": ({"event": {"type": "TEST", "event_timestamp_ms": 1}}, "event.id"),
    "an empty id": ({"event": {"id": "", "type": "TEST", "event_timestamp_ms": 1}}, "event.id"),
    "a number as id": ({"event": {"id": 7, "type": "TEST", "event_timestamp_ms": 1}}, "event.id"),
    "an id with a NUL": ({"event": {"id": "a\0", "type": "TEST", "event_timestamp_ms": 1}}, "event.id"),
    "an endless id": ({"event": {"id": "x" * 201, "type": "TEST", "event_timestamp_ms": 1}}, "event.id"),
    "no type": ({"event": {"id": "a", "event_timestamp_ms": 1}}, "event.type"),
    "no time": ({"event": {"id": "a", "type": "TEST"}}, "event_timestamp_ms"),
    "a time in words": ({"event": {"id": "a", "type": "TEST", "event_timestamp_ms": "now"}}, "event_timestamp_ms"),
    "a time out of range": ({"event": {"id": "a", "type": "TEST", "event_timestamp_ms": 1e300}}, "event_timestamp_ms"),
}


@pytest.mark.parametrize(("body", "field"), MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_webhook_is_refused_and_not_stored(world: World, body: Any, field: str) -> None:
    """400 with a message that names the field."""
    answer = await post(world, body)
    assert answer.status_code == httpx2.codes.BAD_REQUEST
    assert field in answer.json()["message"]
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0


ODD: list[Any] = [None, 7, "", "\0", "x" * 5000, [], {}, -1, 1e300, float("inf"), True, [None, 7]]


@pytest.mark.parametrize("value", ODD, ids=[f"{value!r:.12}" for value in ODD])
async def test_odd_values_of_optional_fields_are_tolerated(world: World, alice: Person, value: Any) -> None:
    """Any optional field may have any value: the event is stored, and applied or not."""
    event = recorded("initial-purchase")["event"]
    for place, name in enumerate([*event, "aliases", "transferred_to", "grace_period_expiration_at_ms"]):
        if name not in {"id", "type", "event_timestamp_ms"}:
            odd = {"event": {**event, name: value, "id": f"odd {place}"}}
            body = json.dumps(odd, allow_nan=True).replace("Infinity", "1e999").encode()
            assert (await post(world, body)).status_code in {httpx2.codes.OK, httpx2.codes.BAD_REQUEST}
    jobs = await world.db.pool.fetch("select distinct status from jobs")
    assert {row["status"] for row in jobs} <= {"done"}


async def test_a_webhook_over_one_mebibyte_is_too_large(world: World) -> None:
    """413, and nothing is stored."""
    answer = await post(world, b" " * (MAX_BODY + 1))
    assert answer.status_code == httpx2.codes.CONTENT_TOO_LARGE
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0


async def test_other_methods_are_refused(world: World) -> None:
    """405."""
    for method in ("GET", "PUT", "DELETE"):
        assert (await world.http.request(method, URL)).status_code == httpx2.codes.METHOD_NOT_ALLOWED


async def test_unused_personal_fields_are_not_stored(world: World, alice: Person) -> None:
    """The e-mail address is not stored; ids are, so that erasure finds the event."""
    await post(world, recorded("initial-purchase"))
    [row] = await world.db.pool.fetch("select body, about from webhook_events")
    assert "sample.person" not in row["body"]
    assert parse_event(row["body"].encode()) == parse_event(json.dumps(recorded("initial-purchase")).encode())
    assert "user_0001" in row["about"]
