"""Invitations: an address is saved once, limited by viewer, apart from accounts, and goes with the account of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import NOW
from daysong.features.invitations import rules
from daysong.kernel.functions.context import Caller
from rehearsal.library import nodes, plan
from rehearsal.owned_rows import traces
from rehearsal.sync_socket import SyncSocket
from rehearsal.world import FunctionError, Person, World, free_port

ADD = "emailNotify:addEmailNotification"
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="@"), max_size=20)


@given(st.builds("{}@{}".format, NAMES, st.sampled_from(["x.org", "BÜCHER.de", "İ.com.tr", "a.test"])) | st.text())
def test_the_form_of_an_address_is_the_form_of_itself(text: str) -> None:
    """Whatever is entered; so an address that is stored is found again by itself, and in any case of its letters."""
    form = rules.form_of(text)
    assert rules.form_of(form) == form
    try:
        valid = rules.normalized(text, production=False)
    except rules.InvalidEmail:
        return
    assert rules.normalized(valid, production=False) == valid == form


@pytest.mark.parametrize(
    ("entered", "saved"),
    [
        ("Alice@Example.COM", "alice@example.com"),
        ("  bob+tag@mail.example.org\n", "bob+tag@mail.example.org"),
        ("ä@BÜCHER.de", "ä@bücher.de"),
        ("a@xn--bcher-kva.de", "a@bücher.de"),
    ],
)
def test_an_address_is_normalized(entered: str, saved: str) -> None:
    assert rules.normalized(entered, production=True) == saved


@pytest.mark.parametrize(
    "entered",
    ["", "alice", "alice@", "@x.org", "a@b", "a@localhost", "a b@x.org", "Bob <b@x.org>", "a@x.org,b@x.org",
     "a@x.org\nBcc: b@x.org", "a@[127.0.0.1]", f"{'x' * 65}@x.org", "a@x..org"],
)  # fmt: skip
def test_what_is_no_address_is_refused(entered: str) -> None:
    with pytest.raises(rules.InvalidEmail):
        rules.normalized(entered, production=True)


def test_a_domain_for_tests_is_none_in_production() -> None:
    assert rules.normalized("a@x.test", production=False) == "a@x.test"
    with pytest.raises(rules.InvalidEmail):
        rules.normalized("a@x.test", production=True)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=60).map(sorted))
def test_no_hour_has_more_than_five(moments: list[int]) -> None:
    """Whenever a viewer tries; and who was told to wait may enter one after that time."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    taken: list[datetime] = []
    for seconds in moments:
        now = begin + timedelta(seconds=seconds)
        left = rules.wait(taken[::-1], now)
        if left is None:
            taken.append(now)
        else:
            assert timedelta(0) < left <= rules.WINDOW
            assert rules.wait(taken[::-1], now + left) is None
    for moment in taken:
        assert sum(moment - rules.WINDOW < other <= moment for other in taken) <= rules.MOST


async def _saved(world: World) -> list[Any]:
    rows = await world.db.pool.fetch("select email, is_android, source from invitations order by email")
    return [tuple(row) for row in rows]


@pytest.mark.anyio
async def test_the_answer_is_the_same_whether_the_address_was_known(
    world: World, alice: Person, anonymous: Person
) -> None:
    """Also for that of an account. What was entered before is kept unless something new is said."""
    first = await anonymous.mutation(ADD, email="Bob@Example.com", isAndroidInvite=True, source=" footer ")
    again = await anonymous.mutation(ADD, email="bob@example.com")
    assert first == again == "bob@example.com"
    assert await anonymous.mutation(ADD, email="alice@example.test", source="") == "alice@example.test"
    assert await _saved(world) == [("alice@example.test", False, None), ("bob@example.com", True, "footer")]
    assert await alice.mutation(ADD, email="bob@example.com", source="app") == "bob@example.com"
    assert (await _saved(world))[1] == ("bob@example.com", True, "app")


@pytest.mark.anyio
async def test_what_is_no_address_is_told_and_not_counted(world: World, anonymous: Person) -> None:
    for _ in range(7):
        with pytest.raises(FunctionError) as refused:
            await anonymous.mutation(ADD, email="alice at example")
        assert refused.value.code == "invalid_email"
    assert await anonymous.mutation(ADD, email="a@x.org") == "a@x.org"


@pytest.mark.anyio
async def test_a_viewer_enters_five_addresses_an_hour(world: World, alice: Person, anonymous: Person) -> None:
    """By address of the network, or by account; the sixth is told how long to wait."""
    for number in range(5):
        await anonymous.mutation(ADD, email=f"a{number}@x.org")
    with pytest.raises(FunctionError) as refused:
        await anonymous.mutation(ADD, email="a5@x.org")
    assert (refused.value.code, (refused.value.data or {})["retryAfter"]) == ("rate_limited", 3600)
    assert len(await _saved(world)) == 5
    assert await alice.mutation(ADD, email="a5@x.org")
    other = Caller(viewer="another address")
    await world.app.call(ADD, {"email": "a6@x.org"}, caller=other)
    world.clock.forward(timedelta(hours=1))
    assert await anonymous.mutation(ADD, email="a7@x.org") == "a7@x.org"


@pytest.mark.anyio
async def test_five_is_exact_for_twelve_at_once(world: World) -> None:
    """Attempts of one viewer are serial."""
    caller = Caller(viewer="somewhere")
    ended = await asyncio.gather(
        *(world.app.call(ADD, {"email": f"a{number}@x.org"}, caller=caller) for number in range(12)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, str) for one in ended) == len(await _saved(world)) == 5


@pytest.mark.anyio
async def test_f03_an_invitation_goes_with_the_account_of_its_address(
    world: World, alice: Person, anonymous: Person
) -> None:
    """However either is written; others stay."""
    await world.db.pool.execute("update users set email = 'ALICE@Example.TEST '")
    await anonymous.mutation(ADD, email="aLiCe@eXample.test")
    await anonymous.mutation(ADD, email="bob@example.test")
    await alice.mutation("users:deleteAccount")
    await world.settle()
    assert await _saved(world) == [("bob@example.test", False, None)]


@pytest.mark.anyio
async def test_f03_nothing_else_keeps_the_address(database_url: str, data_dir: Path) -> None:
    """Not the recorded answers of sockets either, whichever caller entered it; a retry gets the same answer."""
    async with World(database_url, data_dir, NOW, port=free_port()) as world:
        alice = await world.person("alice")
        async with SyncSocket(world.origin) as socket:
            await socket.connect()
            await socket.mutate(0, ADD, {"email": "Alice@example.test"})
            first = await socket.response(0)
            async with SyncSocket(world.origin, session=socket.session, connections=1) as again:
                await again.connect()
                await again.mutate(0, ADD, {"email": "Alice@example.test"})
                assert (await again.response(0))["result"] == first["result"] == "alice@example.test"
        assert len(await _saved(world)) == 1
        await alice.mutation("users:deleteAccount")
        await world.settle()
        assert await traces(world.db.pool, ["alice@example"]) == {}


@pytest.mark.anyio
async def test_f03_a_deletion_at_clerk_erases_it_too(world: World, alice: Person, anonymous: Person) -> None:
    await anonymous.mutation(ADD, email="Alice@example.test")
    await world.steer("clerk", "delete", sub="user_alice")
    await world.settle()
    assert await _saved(world) == []


@pytest.mark.anyio
async def test_invitations_are_forgotten_after_two_years(world: World, anonymous: Person, admin: Person) -> None:
    """And attempts after a day."""
    await anonymous.mutation(ADD, email="a@x.org")
    world.clock.forward(timedelta(days=700))
    await admin.action("crons:retention")
    assert await world.db.pool.fetchval("select count(*) from invitation_attempts") == 0
    assert len(await _saved(world)) == 1
    world.clock.forward(timedelta(days=31))
    await admin.action("crons:retention")
    assert await _saved(world) == []


@pytest.mark.anyio
async def test_attempts_are_found_by_index(world: World) -> None:
    """Among those of 20,000 viewers."""
    await world.db.pool.execute(
        """insert into invitation_attempts (viewer, at)
           select decode(md5(n::text), 'hex'), $1 from generate_series(1, 20000) n""",
        NOW,
    )
    await world.db.pool.execute("analyze invitation_attempts")
    sql = "select at from invitation_attempts where viewer = $1 and at > $2 order by at desc limit $3"
    found = await plan(world, sql, ("'\\x00'", "'2026-01-01'", "5"), generic=True)
    assert not [node for node in nodes(found) if node["Node Type"] == "Seq Scan"]
