"""Feature flags: of the caller alone, by lists and percentages that stay as they are until an operator changes them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import NOW
from daysong.features.feature_flags import flags, rules
from daysong.kernel.functions.context import ANONYMOUS, QueryContext
from rehearsal.library import nodes, plan
from rehearsal.world import FunctionError, Person, World

IDS = st.text(max_size=30)
PERCENT = st.integers(0, 100)


@given(IDS, IDS, PERCENT, PERCENT)
def test_a_flag_stays_on_while_its_percentage_rises(user: str, key: str, one: int, other: int) -> None:
    """The order of accounts depends on account and flag alone; at 0 it is on for none, at 100 for all."""
    lower, higher = sorted((one, other))

    def at(percent: int) -> bool:
        return rules.is_on(user, key, percent=percent, listed=None, production=True)

    assert at(higher) or not at(lower)
    assert at(lower) is at(lower)
    assert (at(0), at(100)) == (False, True)
    assert 0 <= rules.bucket(user, key) < 100


@given(IDS, st.sampled_from([*rules.DECLARED, "another"]), st.none() | PERCENT, st.booleans(), st.booleans())
def test_the_lists_override_the_percentage(
    user: str, key: str, percent: int | None, listed: bool, production: bool
) -> None:
    assert rules.is_on(user, key, percent=percent, listed=listed, production=production) is listed


def test_a_percentage_is_that_share_of_the_accounts() -> None:
    """Of 10,000 accounts, within two percent of it; and not the same accounts for every flag."""
    users = [f"user_{number}" for number in range(10_000)]
    chosen = {
        key: {user for user in users if rules.is_on(user, key, percent=30, listed=None, production=True)}
        for key in ("one", "other")
    }
    for each in chosen.values():
        assert abs(len(each) - 3_000) < 200
    assert len(chosen["one"] & chosen["other"]) < 1_200


def test_a_bucket_never_changes() -> None:
    """A release that hashes differently would switch flags for all accounts."""
    assert rules.bucket("user_alice", "event-extraction") == pytest.approx(52.3972)


@pytest.mark.parametrize("key", ["", "Upper", "-a", "a b", "é", "x" * 65, "a\n"])
def test_a_malformed_key_is_refused(key: str) -> None:
    with pytest.raises(rules.InvalidFlagKey):
        rules.check_key(key)


def test_event_extraction_is_on_in_development_alone() -> None:
    """It exists from the start."""
    for production in (False, True):
        on = rules.is_on("user", rules.EVENT_EXTRACTION, percent=None, listed=None, production=production)
        assert on is not production


@pytest.mark.anyio
async def test_f12_flags_are_those_of_the_caller_whatever_the_arguments_say(
    alice: Person, bob: Person, anonymous: Person, admin: Person
) -> None:
    """Alice's id shows Bob nothing of hers; an anonymous caller has none."""
    alices = (await alice.mutation("users:ensureCurrentUser"))["userId"]
    await admin.mutation("featureFlags:setFlag", key="new-player", percent=0, allow=[alices])
    assert await alice.query("featureFlags:getUserFlags") == {"event-extraction": True, "new-player": True}
    bobs = {"event-extraction": True, "new-player": False}
    assert await bob.query("featureFlags:getUserFlags", userId=alices) == bobs
    assert await bob.query("featureFlags:getUserFlags", userId="user_alice") == bobs
    assert await anonymous.query("featureFlags:getUserFlags", userId=alices) == {}


@pytest.mark.anyio
async def test_operators_set_and_remove_flags(world: World, alice: Person, bob: Person, admin: Person) -> None:
    """What is not named stays; accounts are named by either id; a removed flag leaves no list behind."""
    alices = (await alice.mutation("users:ensureCurrentUser"))["userId"]

    async def listed(key: str) -> Any:
        return next((one for one in await admin.query("featureFlags:listFlags") if one["key"] == key), None)

    async def seen(person: Person) -> Any:
        return (await person.query("featureFlags:getUserFlags")).get("beta")

    await admin.mutation("featureFlags:setFlag", key="beta", allow=["user_bob"])
    assert (await seen(alice), await seen(bob)) == (False, True)
    await admin.mutation("featureFlags:setFlag", key="beta", percent=100, deny=["user_bob"])
    assert (await seen(alice), await seen(bob)) == (True, False)
    await admin.mutation("featureFlags:setFlag", key="beta", deny=[alices], unlist=["user_bob"])
    assert (await seen(alice), await seen(bob)) == (False, True)
    shown = await listed("beta")
    assert (shown["percent"], shown["isDefault"], shown["allow"], shown["deny"]) == (100, False, [], [alices])
    await admin.mutation("featureFlags:removeFlag", key="beta")
    assert await seen(alice) is None
    assert await listed("beta") is None
    await admin.mutation("featureFlags:setFlag", key="beta")
    assert (await seen(alice), await seen(bob)) == (False, False)
    await admin.mutation("featureFlags:setFlag", key="event-extraction", percent=0)
    assert not (await alice.query("featureFlags:getUserFlags"))["event-extraction"]
    await admin.mutation("featureFlags:removeFlag", key="event-extraction")
    assert (await alice.query("featureFlags:getUserFlags"))["event-extraction"]
    assert (await listed("event-extraction"))["isDefault"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("args", "code"),
    [
        ({"key": "Bad key"}, "invalid_flag_key"),
        ({"key": "a", "allow": ["user_nobody"]}, "flag_account_not_found"),
        ({"key": "a", "allow": ["user_alice"], "deny": ["user_alice"]}, "on_both_lists"),
    ],
)
async def test_a_change_that_cannot_be_made_changes_nothing(
    world: World, alice: Person, admin: Person, args: dict[str, Any], code: str
) -> None:
    with pytest.raises(FunctionError) as refused:
        await admin.mutation("featureFlags:setFlag", **args)
    assert refused.value.code == code
    with pytest.raises(FunctionError, match="Flag not found"):
        await admin.mutation("featureFlags:removeFlag", key=args["key"])


@pytest.mark.anyio
async def test_there_are_at_most_two_hundred_flags(world: World, alice: Person, admin: Person) -> None:
    await world.db.pool.execute(
        "insert into feature_flags (key, created_at, updated_at) select 'f' || n, $2, $2 from generate_series(1, $1) n",
        rules.MOST_FLAGS, NOW,
    )  # fmt: skip
    with pytest.raises(FunctionError, match="There are 200 flags already"):
        await admin.mutation("featureFlags:setFlag", key="one-more")
    await admin.mutation("featureFlags:setFlag", key="f7", percent=100)
    assert len(await alice.query("featureFlags:getUserFlags")) == rules.MOST_FLAGS + 1


@pytest.mark.anyio
async def test_the_lists_are_erased_with_the_account(world: World, alice: Person, admin: Person) -> None:
    """The flag stays."""
    await admin.mutation("featureFlags:setFlag", key="beta", allow=["user_alice"])
    await alice.mutation("users:deleteAccount")
    await world.settle()
    assert await world.db.pool.fetchval("select count(*) from feature_flag_accounts") == 0
    assert await world.db.pool.fetchval("select count(*) from feature_flags") == 1


@pytest.mark.anyio
async def test_other_features_ask_by_account(world: World, alice: Person, admin: Person) -> None:
    """`is_on` is one statement, and a query that asks runs again when flags change."""
    user = (await alice.mutation("users:ensureCurrentUser"))["userId"]

    async def asks() -> bool:
        context = QueryContext(db=world.db.one_statement(), now=NOW, caller=ANONYMOUS, settings=world.settings)
        on = await flags.is_on(context, user, "beta")
        assert context._notes.owners == {flags.CHANGES}
        return on

    assert not await asks()
    await admin.mutation("featureFlags:setFlag", key="beta", percent=100)
    assert await asks()
    await admin.mutation("featureFlags:setFlag", key="beta", deny=[user])
    assert not await asks()


@pytest.mark.anyio
async def test_the_lists_are_found_by_index(world: World, alice: Person) -> None:
    """With 20,000 accounts on lists, a caller's flags read only the caller's entries."""
    await world.db.pool.execute(
        """insert into users (id, clerk_id, created_at, updated_at)
           select 'user_' || n, 'clerk_' || n, $1, $1 from generate_series(1, 4000) n""",
        NOW,
    )
    await world.db.pool.execute(
        """insert into feature_flag_accounts (flag_key, user_id, is_on, created_at)
           select 'flag' || f, u.id, true, $1 from users u, generate_series(1, 5) f""",
        NOW,
    )
    await world.db.pool.execute("analyze users, feature_flag_accounts, feature_flags")
    for generic in (False, True):
        found = await plan(world, flags.CALLERS_SQL, ("'user_alice'", "array['event-extraction']"), generic=generic)
        scanned = [node.get("Relation Name") for node in nodes(found) if node["Node Type"] == "Seq Scan"]
        assert "feature_flag_accounts" not in scanned
