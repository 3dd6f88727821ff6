"""The ledger of songs: charges never exceed the quota, and refunds count once, also under concurrency."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daysong.features.subscriptions import purchases
from daysong.features.subscriptions.entitlements import CustomerState, Entitlement
from daysong.features.subscriptions.quotas import usage
from daysong.features.subscriptions.rules import (
    PLANS,
    CountingWindow,
    QuotaState,
    Span,
    Tier,
    counting_window,
    current_period,
    quota,
)
from daysong.kernel.database.transactions import Database, Transaction
from daysong.kernel.ids import ChargeId, UserId
from daysong.kernel.time.clock import to_ms

BEGIN = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)
TIERS: tuple[Tier, ...] = ("free", "weekly", "monthly", "yearly")

moments = st.integers(0, 120 * 24 * 60).map(lambda minutes: BEGIN + timedelta(minutes=minutes))


class Account:
    """A ledger in memory that stores the same as the rows: the counting window is stored before the tiers change."""

    def __init__(self) -> None:
        self.state = QuotaState((), None, BEGIN)
        self.charges: list[datetime] = []
        self.refunded: list[datetime] = []
        self.now = BEGIN

    @property
    def used(self) -> int:
        """Return the songs that count now."""
        return quota(self.state, self.charges, self.now).used

    def buy(self, spans: tuple[Span, ...]) -> None:
        """Replace the paid tiers."""
        if spans != self.state.spans:
            self.state = replace(self.state, spans=spans, window=counting_window(self.state, self.now))

    def charge(self) -> bool:
        """Charge a song, if one is left."""
        if quota(self.state, self.charges, self.now).remaining == 0:
            return False
        self.charges.append(self.now)
        return True


step = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 12 * 24 * 60)),
    st.tuples(st.just("charge"), st.integers(1, 120)),
    st.tuples(st.just("refund"), st.integers(0, 200)),
    st.tuples(st.just("buy"), st.tuples(st.sampled_from(TIERS[1:]), st.integers(1, 60))),
    st.tuples(st.just("stop"), st.none()),
    st.tuples(st.just("limit"), st.one_of(st.none(), st.integers(0, 50))),
)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, max_size=25))
def test_a_change_of_plan_never_gives_anything_back(steps: list[tuple[str, Any]]) -> None:
    """Buying, losing and changing plans leaves what is used as it is; used is never negative, nor above the limit
    when something is taken; and it begins anew only where a period of the plan begins.
    """  # fmt: skip
    account = Account()
    for kind, value in steps:
        before = account.used
        match kind:
            case "wait":
                account.now += timedelta(minutes=value)
            case "charge":
                for _ in range(value):
                    if not account.charge():
                        break
                    found = quota(account.state, account.charges, account.now)
                    assert 0 < found.used <= found.limit
            case "refund" if account.charges:
                given_back = account.charges.pop(value % len(account.charges))
                account.refunded.append(given_back)
                assert account.used in {before, before - 1}
            case "buy":
                tier, days = value
                account.buy((Span(tier, account.now + days * DAY),))
                assert account.used == before or account.used > before
            case "stop":
                account.buy(())
                assert account.used >= before
            case "limit":
                account.state = replace(account.state, custom_music_limit=value)
                assert account.used == before
        found = quota(account.state, account.charges, account.now)
        assert found.used >= 0
        assert found.remaining >= 0
        assert found.period_start <= account.now < found.period_end
        assert found.period_end - found.period_start <= timedelta(days=30)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TIERS), st.lists(moments, max_size=60), moments)
def test_without_a_change_of_plan_periods_are_whole_and_counted_from_the_beginning(
    tier: Tier, charges: list[datetime], now: datetime
) -> None:
    """The period starts a whole number of periods after the account, and counts its own charges."""
    state = QuotaState((Span(tier, None),), None, BEGIN)
    found = quota(state, charges, now)
    start, end = current_period(BEGIN, PLANS[tier].period, now)
    assert (found.period_start, found.period_end) == (start, end)
    assert found.used == sum(start <= charge < end for charge in charges)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(TIERS), st.integers(1, 9000)), min_size=1, max_size=12), moments)
def test_the_quota_does_not_depend_on_how_often_the_window_is_stored(
    spans: list[tuple[Tier, int]], look: datetime
) -> None:
    """Storing the counting window in between changes nothing."""
    state = QuotaState(
        tuple(Span(tier, BEGIN + timedelta(minutes=minutes * 15)) for tier, minutes in spans), None, BEGIN
    )
    written = state
    for hours in range(0, int((look - BEGIN) / timedelta(hours=1)), 31):
        written = replace(written, window=counting_window(written, BEGIN + timedelta(hours=hours)))
    one, other = counting_window(state, look), counting_window(written, look)
    assert (one.since, one.until) == (other.since, other.until)


def test_going_back_and_forth_between_plans_gives_nothing() -> None:
    """After ninety songs, a week, a month and a week are bought: only a new weekly period gives songs."""
    account = Account()
    account.buy((Span("monthly", None),))
    account.charges = [BEGIN + DAY] * 90
    for day in (20, 20.1, 20.2, 20.9):
        account.now = BEGIN + day * DAY
        for tier in ("weekly", "monthly", "yearly", "free", "weekly"):
            account.buy(() if tier == "free" else (Span(tier, None),))
            assert account.used == 90, (day, tier)
    account.now = BEGIN + 21 * DAY
    assert quota(account.state, account.charges, account.now).remaining == 20
    account.buy((Span("monthly", None),))
    assert quota(account.state, account.charges, account.now).remaining == 0
    account.now = BEGIN + 30 * DAY
    assert quota(account.state, account.charges, account.now).remaining == 90


def test_a_week_bought_on_the_free_plan_is_a_week_from_the_next_one_on() -> None:
    """Usage of the free plan counts in the first week only."""
    account = Account()
    account.charges = [BEGIN + DAY] * 5
    account.now = BEGIN + 16 * DAY
    account.buy((Span("weekly", None),))
    found = quota(account.state, account.charges, account.now)
    assert (found.used, found.remaining, found.period_end) == (5, 15, BEGIN + 21 * DAY)
    account.now = BEGIN + 21 * DAY
    assert quota(account.state, account.charges, account.now).remaining == 20


def test_a_plan_ends_without_an_event() -> None:
    """Usage of a week that ends in a free period counts in that period."""
    account = Account()
    account.buy((Span("weekly", BEGIN + 7 * DAY),))
    account.charges = [BEGIN + DAY] * 20
    account.now = BEGIN + 8 * DAY
    found = quota(account.state, account.charges, account.now)
    assert (found.tier, found.used, found.limit, found.period_end) == ("free", 20, 5, BEGIN + 30 * DAY)


def test_a_custom_limit_wins_over_any_plan() -> None:
    """A limit of zero counts too."""
    for limit in (0, 7, 500):
        state = QuotaState((Span("yearly", None),), limit, BEGIN, CountingWindow(BEGIN, BEGIN + 30 * DAY, BEGIN))
        assert quota(state, [], BEGIN).limit == limit


# On a real database.


async def new_account(db: Database, name: str = "ledger") -> UserId:
    """Create an account on the free plan."""

    async def work(tx: Transaction) -> UserId:
        user_id = UserId.new(BEGIN)
        await tx.execute(
            "insert into users (id, clerk_id, created_at, updated_at) values ($1, $2, $3, $3)", user_id, name, BEGIN
        )
        await usage.open_free_plan(tx, user_id, BEGIN)
        return user_id

    return await db.mutate(work)


@pytest.mark.anyio
@pytest.mark.parametrize(("limit", "starts"), [(1, 200), (7, 100), (60, 60)])
async def test_concurrent_charges_never_exceed_the_quota(database_url: str, limit: int, starts: int) -> None:
    """Two hundred concurrent starts with one song left, on twenty connections: one is charged, none fails."""
    db = Database(database_url)
    await db.open()
    try:
        user_id = await new_account(db)
        await db.pool.execute("update subscriptions set custom_music_limit = $1", limit)

        async def start(number: int) -> ChargeId | None:
            async def work(tx: Transaction) -> ChargeId | None:
                # A start reads and writes other rows before the charge.
                await tx.fetchval("select clerk_id from users where id = $1", user_id)
                await tx.execute(
                    """insert into diaries (id, user_id, content, date, created_at, updated_at)
                       values ($1, $2, 'x', $3, $3, $3)""",
                    f"diary_{number}", user_id, BEGIN,
                )  # fmt: skip
                return await usage.charge(tx, user_id, BEGIN)

            return await db.mutate(work)

        charged = await asyncio.gather(*(start(number) for number in range(starts)))
        assert sum(each is not None for each in charged) == limit
        assert await db.pool.fetchval("select count(*) from usage_charges") == limit
        assert await db.pool.fetchval("select count(*) from diaries") == starts
    finally:
        await db.close()


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(10))
async def test_the_ledger_holds_under_random_load(database_url: str, seed: int) -> None:
    """Concurrent charges and refunds, changes of plans and limits, and time that passes."""
    dice, db = random.Random(seed), Database(database_url)  # noqa: S311 - the same weather each time
    await db.open()
    try:
        user_id, now = await new_account(db), BEGIN
        for _ in range(14):
            now += timedelta(minutes=dice.choice((1, 600, 5_000, 20_000)))
            before = await usage.quota_of(db.one_statement(), user_id, now)
            acts = [
                dice.choice(("charge", "charge", "charge", "refund", "release")) for _ in range(dice.randint(1, 12))
            ]
            done = await asyncio.gather(*(_act(db, user_id, act, now, dice.random()) for act in acts))
            after = await usage.quota_of(db.one_statement(), user_id, now)
            charged, asked = sum(done), acts.count("charge")
            given_back = len(acts) - asked
            assert charged == asked if asked <= before.remaining else charged >= before.remaining
            assert charged <= before.remaining + given_back
            assert 0 <= after.used <= max(before.used, after.limit)
            assert before.used + charged - given_back <= after.used <= before.used + charged
            await _change_plan(db, user_id, dice, now)
            assert (await usage.quota_of(db.one_statement(), user_id, now)).used >= after.used
        charges, refunds, free = await db.pool.fetchrow(
            """select (select count(*) from usage_charges), (select count(*) from usage_refunds),
                      (select count(*) from usage_refunds r left join usage_charges c on c.id = r.charge_id
                       where c.id is null)"""
        )
        assert (free, refunds <= charges) == (0, True)
    finally:
        await db.close()


async def _act(db: Database, user_id: UserId, act: str, now: datetime, luck: float) -> bool:
    async def work(tx: Transaction) -> bool:
        if act == "charge":
            return await usage.charge(tx, user_id, now, held=luck < 0.5) is not None
        if act == "release":
            await usage.release(tx, user_id, "test", now)
            return False
        charges = await tx.fetch("select id from usage_charges order by id")
        if charges:
            await usage.refund(tx, charges[int(luck * len(charges))]["id"], "test", now)
        return False

    return await db.mutate(work)


async def _change_plan(db: Database, user_id: UserId, dice: random.Random, now: datetime) -> None:
    tier, ends = dice.choice(TIERS), now + timedelta(days=dice.randint(1, 40))
    line = Entitlement(int(to_ms(now)), "product", tier, ends)
    state = CustomerState() if tier == "free" else CustomerState(entitlements={"PRODUCTION/APP_STORE": line})
    limit = dice.choice((None, None, None, 0, 3, 30))

    async def work(tx: Transaction) -> None:
        await purchases.save_subscription(tx, user_id, state, event_type="test", event_id=None, now=now)
        await tx.execute("update subscriptions set custom_music_limit = $1", limit)

    await db.mutate(work)
