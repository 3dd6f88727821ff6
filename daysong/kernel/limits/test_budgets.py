from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec
import pytest
import structlog

from daysong.kernel.conftest import settings
from daysong.kernel.database.transactions import Database, Transaction
from daysong.kernel.limits import budgets, counters
from daysong.kernel.limits.budgets import Budget, paid_for
from daysong.kernel.limits.counters import Answer, Wish
from daysong.kernel.limits.errors import DailyLimitReached
from daysong.kernel.limits.prices import Costs, Purchase
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import MovableClock
from rehearsal.statements import until_waiting

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SONG = sum(Costs().prices(Purchase.SONG).values())
SUNO = Costs().suno_song


@pytest.fixture
async def databases(database_url: str) -> AsyncIterator[tuple[Database, Database]]:
    """The database as two processes have it."""
    both = Database(database_url, max_connections=4), Database(database_url, max_connections=4)
    for database in both:
        await database.open()
    yield both
    for database in both:
        await database.close()


def capped(**caps: int) -> Settings:
    """Settings with these caps alone."""
    return msgspec.structs.replace(settings(), costs=dataclasses.replace(Costs(), caps=caps))


async def counter(database: Database, vendor: str = "all") -> int:
    """How much of today's budget is used, as the counter has it."""
    amount: int = await database.pool.fetchval("select amount from budget_days where vendor = $1", vendor)
    return amount


def granted(answers: list[Answer]) -> list[Answer]:
    """Those for which the money was there."""
    return [answer for answer in answers if answer.cap is None]


async def test_g03_two_hundred_at_once_do_not_overshoot_a_cap(databases: tuple[Database, Database]) -> None:
    """Of 200 who start at the same moment in two processes, just as many may as the day's budget has songs for."""
    configured, clock = capped(all=50 * SONG + 1), MovableClock(NOW)
    both = [Budget(configured, database, clock) for database in databases]
    answers = await asyncio.gather(
        *(both[place % 2].reserve(Purchase.SONG, f"user_{place}") for place in range(200))
    )  # fmt: skip
    assert len(granted(answers)) == 50
    assert {answer.cap for answer in answers} == {None, "all"}
    assert await counter(databases[0]) == 50 * SONG


async def test_g03_an_account_has_a_cap_of_its_own(databases: tuple[Database, Database]) -> None:
    """Whatever of one account starts at once; and the others have theirs."""
    configured, clock = capped(account=3 * SONG), MovableClock(NOW)
    both = [Budget(configured, database, clock) for database in databases]
    of_alice = await asyncio.gather(*(both[place % 2].reserve(Purchase.SONG, "alice") for place in range(20)))
    assert len(granted(of_alice)) == 3
    assert {answer.cap for answer in of_alice} == {None, "account"}
    assert (await both[0].reserve(Purchase.SONG, "bob")).cap is None
    clock.move_to(NOW + timedelta(days=1))
    assert (await both[0].reserve(Purchase.SONG, "alice")).cap is None, "tomorrow is another day"


async def test_g03_a_cap_is_a_typed_error_where_no_answer_tells_of_it(databases: tuple[Database, Database]) -> None:
    """With a code for programs and a reason for people."""
    budget = Budget(capped(account=sum(Costs().prices(Purchase.VIDEO).values())), databases[0], MovableClock(NOW))
    assert await budget.require(Purchase.VIDEO, "alice")
    with pytest.raises(DailyLimitReached) as refused:
        await budget.require(Purchase.VIDEO, "alice")
    assert refused.value.data["code"] == "daily_limit_reached"
    assert "tomorrow" in refused.value.message


async def test_g03_each_vendor_has_a_cap_of_its_own(databases: tuple[Database, Database]) -> None:
    """A song needs two vendors; a call another one."""
    budget = Budget(capped(suno=2 * SUNO), databases[0], MovableClock(NOW))
    answers = [await budget.reserve(Purchase.SONG, None) for _ in range(3)]
    assert [answer.cap for answer in answers] == [None, None, "suno"]
    assert (await budget.reserve(Purchase.CALL, None)).cap is None


async def test_g03_what_was_paid_uses_up_what_was_reserved(databases: tuple[Database, Database]) -> None:
    """Expected costs become real ones; what is left goes back to the budget, and is known again after a count."""
    database, clock = databases[0], MovableClock(NOW)
    configured = capped(all=10 * SONG)
    budget = Budget(configured, database, clock)
    answer = await budget.reserve(Purchase.SONG, "alice")

    async def begin(tx: Transaction) -> None:
        await budgets.claim(tx, configured, answer.reservation, "generation_1", NOW)
        for _ in range(2):
            await budgets.pay(
                tx, configured, "suno", "generate", SUNO, account="alice", subject="generation_1", now=NOW
            )  # fmt: skip

    await database.mutate(begin)
    with paid_for(configured, "alice", "generation_1"):
        await budget.paid_for_tokens("openai", "song", 1000, 1000)
    await budget.recount()
    assert await counter(database) == SONG, "the answer was cheaper than expected, and more may come"
    await database.mutate(lambda tx: budgets.release(tx, configured, "generation_1"))
    await budget.recount()
    costs = await database.pool.fetch("select vendor, amount, account from vendor_costs order by vendor")
    assert [(row["vendor"], row["amount"]) for row in costs] == [("openai", 5250), ("suno", SUNO)]
    assert len({row["account"] for row in costs}) == 1
    assert await counter(database) == 5250 + SUNO


async def test_g03_reservations_nobody_claims_expire(databases: tuple[Database, Database]) -> None:
    """The reservation of a process that died before starting the work expires soon."""
    database, clock = databases[0], MovableClock(NOW)
    budget = Budget(capped(all=SONG), database, clock)
    assert (await budget.reserve(Purchase.SONG, None)).cap is None
    assert (await budget.reserve(Purchase.SONG, None)).cap == "all"
    clock.move_to(NOW + timedelta(minutes=6))
    assert (await Budget(capped(all=SONG), database, clock).reserve(Purchase.SONG, None)).cap is None


async def test_g03_an_alarm_is_raised_once_at_80_percent(
    databases: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While there is still time to do something."""
    budget = Budget(capped(all=10 * SONG), databases[0], MovableClock(NOW))
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(counters, "log", structlog.get_logger())
        for _ in range(7):
            await budget.reserve(Purchase.SONG, None)
        assert lines == []
        for _ in range(3):
            await budget.reserve(Purchase.SONG, None)
        await budget.recount()
    assert [(line["log_level"], line["vendor"]) for line in lines] == [("warning", "all")]


async def test_money_that_was_not_taken_is_there_again(databases: tuple[Database, Database]) -> None:
    """A vendor that refuses is not paid; the next try is."""
    database, configured = databases[0], capped(all=SONG)
    budget = Budget(configured, database, MovableClock(NOW))
    answer = await budget.reserve(Purchase.SONG, "alice")

    async def refused(tx: Transaction) -> None:
        await budgets.claim(tx, configured, answer.reservation, "generation_1", NOW)
        await budgets.pay(tx, configured, "suno", "generate", SUNO, account="alice", subject="generation_1", now=NOW)
        await budgets.take_back(tx, configured, "suno", SUNO, subject="generation_1")

    await database.mutate(refused)
    await budget.recount()
    assert await counter(database) == SONG
    assert await database.pool.fetchval("select count(*) from vendor_costs") == 0


async def test_a_reservation_counts_what_was_committed_while_it_waited(databases: tuple[Database, Database]) -> None:
    """It waits for the day's lock, and sums up the account only then: the snapshot of before would grant the song."""
    configured = capped(account=SONG, all=100 * SONG)
    first, second = (Budget(configured, database, MovableClock(NOW)) for database in databases)
    await first.reserve(Purchase.SONG, "bob")  # the day's rows are there
    async with databases[0].pool.acquire() as connection, connection.transaction():
        answer = await budgets.reserve_within(
            connection, configured, Purchase.SONG, account="alice", subject="call_1", now=NOW
        )
        waiting = asyncio.create_task(second.reserve(Purchase.SONG, "alice"))
        await until_waiting(databases[1].pool)
    assert answer.cap is None
    assert (await waiting).cap == "account"
    assert await counter(databases[0]) == 2 * SONG


async def test_a_batch_that_is_decided_again_reserves_nothing_more(databases: tuple[Database, Database]) -> None:
    """As when the connection is lost after the statement was committed."""
    database, costs = databases[0], capped(all=SONG + 1).costs
    wishes = [Wish(Purchase.SONG, "alice", "one"), Wish(Purchase.SONG, None, "two")]
    for _ in range(2):
        decided = await counters.decide(database.one_statement(), costs, wishes, NOW, NOW + timedelta(minutes=5))
        assert decided.answers == [Answer("one"), Answer(None, "all")]
        assert decided.due == ["all"]
    assert await counter(database) == SONG
    assert await database.pool.fetchval("select sum(amount) from budget_reservations") == SONG


@pytest.mark.parametrize("counted", [False, True])
async def test_a_vendor_that_is_new_today_has_its_cap(databases: tuple[Database, Database], *, counted: bool) -> None:
    """A release that adds a vendor starts when the others have their rows of the day."""
    database = databases[0]
    budget = Budget(capped(suno=2 * SUNO), database, MovableClock(NOW))
    assert (await budget.reserve(Purchase.CALL, None)).cap is None
    await database.pool.execute("delete from budget_days where vendor = 'suno'")
    if counted:
        await budget.recount()
    answers = [await budget.reserve(Purchase.SONG, None) for _ in range(3)]
    assert [answer.cap for answer in answers] == [None, None, "suno"]
    assert await counter(database, "suno") == 2 * SUNO


async def test_reservations_are_those_of_one_after_the_other(databases: tuple[Database, Database]) -> None:
    """Whatever is wanted by whom, in what batches and with what caps: as decided one by one, in their order."""
    database, random = databases[0], Random(7)  # noqa: S311
    for number in range(40):
        caps = {name: random.randrange(1_200_000) for name in (*_CAPS, "account") if random.random() < 0.4}
        costs, now, used = dataclasses.replace(Costs(), caps=caps), NOW + timedelta(days=number), Counter[str]()
        for batch in range(3):
            wishes = [
                Wish(random.choice(list(Purchase)), random.choice(["alice", "bob", None]), f"{number} {batch} {place}")
                for place in range(random.randrange(1, 5))
            ]
            expected = [_decided(costs, wish, used) for wish in wishes]
            decided = await counters.decide(database.one_statement(), costs, wishes, now, now + timedelta(minutes=5))
            assert decided.answers == expected
    rows = await database.pool.fetch(
        """select d.day from budget_days d where d.amount <> (
             select coalesce(sum(r.amount), 0) from budget_reservations r
             where r.day = d.day and (r.vendor = d.vendor or d.vendor = 'all'))"""
    )
    assert rows == []


_CAPS = ("openai", "suno", "vapi", "kie", "all")


def _decided(costs: Costs, wish: Wish, used: Counter[str]) -> Answer:
    """The answer to one wish, and what is used after it, by vendor and account."""
    prices = costs.prices(wish.purchase)
    price = sum(prices.values())
    amounts = {"account": (f"of {wish.account}", price)} if wish.account else {}
    amounts |= {vendor: (vendor, amount) for vendor, amount in (prices | {"all": price}).items()}
    for cap, (name, amount) in amounts.items():
        if cap in costs.caps and used[name] + amount > costs.caps[cap]:
            return Answer(None, cap)
    used.update(dict(amounts.values()))
    return Answer(wish.reference)
