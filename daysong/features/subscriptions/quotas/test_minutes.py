"""The ledger of call minutes: never more is reserved than granted, and each call counts once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daysong.features.subscriptions.quotas import minutes
from daysong.features.subscriptions.rules import (
    PLANS,
    QuotaState,
    Span,
    Tier,
    counting_window,
    quota,
    talk_quota,
)
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.settings import read
from rehearsal.world import Person, World

BEGIN = datetime(2026, 11, 23, 12, tzinfo=UTC)
TIERS: tuple[Tier, ...] = ("free", "weekly", "monthly", "yearly")


def test_g02_what_the_plans_grant() -> None:
    """The plans grant 30 to 300 minutes; CALL_MINUTES overrides them."""
    assert {tier: plan.minutes for tier, plan in PLANS.items()} == {
        "free": 30, "weekly": 100, "monthly": 300, "yearly": 300,
    }  # fmt: skip
    found, _ = read({"CALL_MINUTES": "free=5, weekly=7"})
    assert found.vapi.minutes == {"free": 5, "weekly": 7}
    assert talk_quota(QuotaState((), None, BEGIN), [], found.vapi.minutes, BEGIN).limit == 300
    _, problems = read({"CALL_MINUTES": "gold=5"})
    assert "CALL_MINUTES" in {problem.name for problem in problems}


class Ledger:
    """A ledger in memory that stores the same as the rows."""

    def __init__(self) -> None:
        self.state = QuotaState((), None, BEGIN)
        self.talks: list[tuple[datetime, int]] = []
        self.now = BEGIN

    def buy(self, spans: tuple[Span, ...]) -> None:
        """Replace the paid tiers."""
        if spans != self.state.spans:
            self.state = replace(self.state, spans=spans, window=counting_window(self.state, self.now))

    def reserve(self, longest: int) -> int | None:
        """Return the seconds reserved for a call; None when it is refused."""
        left = talk_quota(self.state, self.talks, {}, self.now).remaining
        seconds = min(longest, left)
        if seconds < minutes.LEAST_TALK:
            return None
        self.talks.append((self.now, seconds))
        return seconds


step = st.one_of(
    st.tuples(st.just("wait"), st.integers(1, 12 * 24 * 60)),
    st.tuples(st.just("call"), st.tuples(st.integers(60, 3600), st.floats(0, 1))),
    st.tuples(st.just("buy"), st.tuples(st.sampled_from(TIERS[1:]), st.integers(1, 60))),
    st.tuples(st.just("stop"), st.none()),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, max_size=25))
def test_g02_no_sequence_of_calls_exceeds_the_quota(steps: list[tuple[str, Any]]) -> None:
    """What is used never passes the limit by a reservation, a change of plan gives nothing back, and the period is
    that of the songs.
    """
    ledger = Ledger()
    for what, how in steps:
        before = talk_quota(ledger.state, ledger.talks, {}, ledger.now)
        match what:
            case "wait":
                ledger.now += timedelta(minutes=how)
            case "buy":
                ledger.buy((Span(how[0], ledger.now + timedelta(days=how[1])),))
            case "stop":
                ledger.buy(())
            case "call":
                seconds = ledger.reserve(how[0])
                if seconds is not None:
                    assert talk_quota(ledger.state, ledger.talks, {}, ledger.now).used <= before.limit
                    ledger.talks[-1] = (ledger.now, int(seconds * how[1]))
        after = talk_quota(ledger.state, ledger.talks, {}, ledger.now)
        if what in {"buy", "stop"}:
            assert after.used >= before.used
        songs = quota(ledger.state, [], ledger.now)
        assert (after.tier, after.period_start, after.period_end) == (
            songs.tier, songs.period_start, songs.period_end,
        )  # fmt: skip
        assert 0 <= after.remaining <= after.limit


@pytest.mark.anyio
class TestTheLedger:
    """Reservations, settlements and the quota in the database."""

    async def _user(self, world: World) -> str:
        user_id: str = await world.db.pool.fetchval("select id from users")
        return user_id

    async def _left(self, world: World) -> int:
        user_id = await self._user(world)
        return (await minutes.talk_quota_of(world.db.one_statement(), user_id, {}, world.clock.now())).remaining

    async def _reserve(self, world: World, call_id: str, longest: int = 600) -> int | None:
        user_id = await self._user(world)

        async def work(db: Transaction) -> int | None:
            await db.execute("select from users where id = $1 for no key update", user_id)
            return await minutes.reserve(db, user_id, {}, world.clock.now(), longest=longest, vapi_call_id=call_id)

        return await world.db.mutate(work)

    async def _settle(self, world: World, call_id: str, seconds: float | None, *, reported: bool) -> None:
        async def work(db: Transaction) -> None:
            await minutes.settle(db, seconds, world.clock.now(), vapi_call_id=call_id, reported=reported)

        await world.db.mutate(work)

    @pytest.mark.usefixtures("alice")
    async def test_g02_of_many_calls_at_once_none_gets_minutes_that_are_gone(self, world: World) -> None:
        """Thirty minutes are three calls of ten minutes."""
        got = await asyncio.gather(*(self._reserve(world, f"call-{number}") for number in range(8)))
        assert sorted(got, key=str) == [600, 600, 600, None, None, None, None, None]
        assert await self._left(world) == 0

    @pytest.mark.usefixtures("alice")
    async def test_g02_a_call_gets_what_is_left_and_gives_back_what_it_did_not_take(self, world: World) -> None:
        """Less than a minute is refused; a call has one reservation."""
        assert await self._reserve(world, "a", 1770) == 1770
        assert await self._reserve(world, "a", 1770) == 1770
        assert await self._reserve(world, "b") is None
        await self._settle(world, "a", 1650.2, reported=True)
        assert await self._left(world) == 149
        assert await self._reserve(world, "b") == 149
        await self._settle(world, "b", 0, reported=True)
        world.clock.forward(timedelta(days=30))
        assert await self._left(world) == 1800

    @pytest.mark.usefixtures("alice")
    async def test_g02_a_report_settles_once_and_corrects_what_was_assumed(self, world: World) -> None:
        """A late report counts; a second one, and a poll after it, change nothing."""
        await self._reserve(world, "a")
        await self._settle(world, "a", 0, reported=False)
        assert await self._left(world) == 1800
        await self._settle(world, "a", None, reported=False)
        assert await self._left(world) == 1800
        await self._settle(world, "a", 120, reported=True)
        for seconds, reported in ((500.0, True), (0.0, False)):
            await self._settle(world, "a", seconds, reported=reported)
            assert await self._left(world) == 1680
        assert await self._reserve(world, "a") is None, "a call that is over takes none"

    async def test_g02_a_new_account_is_not_refilled(self, world: World, alice: Person) -> None:
        """The next account inherits the minutes of the period, like the songs."""
        await self._reserve(world, "a", 1500)
        await self._settle(world, "a", 1200, reported=True)
        await alice.mutation("users:deleteAccount")
        await world.settle()
        world.clock.forward(timedelta(seconds=5))
        again = await world.person("alice")
        usage = await again.query("usage:getCurrentUserUsage")
        assert (usage["minutesUsed"], usage["minutesLimit"]) == (20, 30)
        world.clock.forward(timedelta(days=30))
        assert (await again.query("usage:getCurrentUserUsage"))["minutesUsed"] == 0
