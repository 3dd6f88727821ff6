from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel.errors import ArgumentValidationError, DaysongError, FunctionNotFound, WrongFunctionKind
from daysong.kernel.functions.context import ANONYMOUS, SYSTEM, ActionContext, Caller, MutationContext, QueryContext
from daysong.kernel.functions.declarations import (
    NO_RETRY,
    Args,
    IdText,
    Kind,
    NoArgs,
    Result,
    Retry,
    action,
    mutation,
    query,
)
from daysong.kernel.functions.registry import Registry, canonical, module, named
from daysong.kernel.values import Int64

ALICE = Caller(subject="user_alice")
ADMIN = Caller(is_admin=True)


class Verse(Args):
    """One verse of a song."""

    first_line: Annotated[str, msgspec.Meta(min_length=1, max_length=10)]
    repeated: bool = False


class Write(Args):
    """What to write."""

    diary_id: IdText
    verses: tuple[Verse, ...] = ()
    page: int = 0
    tempo: float | None = None
    by_name: dict[str, int] | None = None


class Written(Result):
    """What was written."""

    line_count: int


class Looks(Args):
    """What to look at."""

    song_id: IdText


@query(reads=("music", "diaries"))
async def get_song(ctx: QueryContext, args: Looks) -> Written | None:
    """A song."""
    return None


@query(snapshot=True)
async def count_songs(ctx: QueryContext, args: NoArgs) -> int:
    """How many there are, for us."""
    return 0


@mutation
async def write(ctx: MutationContext, args: Write) -> Written:
    """Write one."""
    return Written(line_count=1)


@mutation(retry=NO_RETRY)
async def forget_everything(ctx: MutationContext, args: NoArgs) -> None:
    """Not for strangers."""


async def give_up(ctx: MutationContext, args: NoArgs) -> None:
    """What follows when there is no more trying."""


@action(settled_by=give_up, on_exhausted=give_up)
async def sing_1st_line(ctx: ActionContext, args: NoArgs) -> None:
    """Sing."""


@action
async def hum(ctx: ActionContext, args: NoArgs) -> None:
    """Hum."""


room = module("songBook", public=(get_song, write, sing_1st_line, hum), internal=(count_songs, forget_everything))


registry = Registry([room])


def test_functions_are_published_under_camel_case_names() -> None:
    """`write` of the room `songBook` is `songBook:write`; underscores become capitals; the list is sorted."""
    assert [function.identifier for function in registry] == [
        "songBook:countSongs",
        "songBook:forgetEverything",
        "songBook:getSong",
        "songBook:hum",
        "songBook:sing1stLine",
        "songBook:write",
    ]


def test_what_is_declared_stands_in_the_registry() -> None:
    """Kind, publicity, types, the tables read and the retry policy are there to be asked for."""
    song = registry.of(get_song)
    assert (song.kind, song.public, song.args_type, song.result_type) == (Kind.QUERY, True, Looks, Written | None)
    assert (song.reads, song.snapshot) == (("music", "diaries"), False)
    assert registry.of(count_songs).snapshot
    assert registry.of(forget_everything).retry is NO_RETRY
    assert registry.of(sing_1st_line).on_exhausted is give_up


def test_several_statements_are_not_read_on_a_replica() -> None:
    """It is refused when it is declared, not when the second statement fails."""
    with pytest.raises(DaysongError, match="one statement"):
        query(snapshot=True, replica="current")


@mutation
async def an_unregistered_function(ctx: MutationContext, args: NoArgs) -> None:
    """A function of no module."""


def test_a_published_function_stays_a_plain_function() -> None:
    """Another room calls it with its own context; the decorator gives back what it got."""
    assert write.__name__ == "write"
    assert registry.of(write).handler is write
    with pytest.raises(KeyError):
        registry.of(an_unregistered_function)


@pytest.mark.parametrize(
    ("path", "identifier"),
    [
        ("songBook:write", "songBook:write"),
        ("songBook.js:write", "songBook:write"),
        ("songBook", "songBook:default"),
        ("songBook.js", "songBook:default"),
        ("nested/songBook.js:write", "nested/songBook:write"),
        ("a:b:write", "a:b:write"),
        ("", ":default"),
        (":", ":"),
    ],
)
def test_paths_are_brought_to_one_form(path: str, identifier: str) -> None:
    """The forms a client may send of one name."""
    assert canonical(path) == identifier


def test_a_public_function_is_found_by_anyone() -> None:
    """Under its name and with `.js`, with and without a kind asked for."""
    for caller in (ANONYMOUS, ALICE, ADMIN, SYSTEM):
        assert registry.find("songBook.js:getSong", caller, Kind.QUERY).handler is get_song
        assert registry.find("songBook:getSong", caller).handler is get_song


@pytest.mark.parametrize("caller", [ANONYMOUS, ALICE])
def test_an_internal_function_looks_like_none(caller: Caller) -> None:
    """To anyone but us there is no difference between internal and absent, whatever kind is asked for."""
    told = set()
    for path in ("songBook:countSongs", "songBook:nothing"):
        for kind in (None, *Kind):
            with pytest.raises(FunctionNotFound) as refused:
                registry.find(path, caller, kind)
            told.add(str(refused.value).replace(path, "…"))
    assert told == {"Could not find public function for '…'."}


def test_the_admin_key_reaches_internal_functions() -> None:
    """Acting as a user or not; a missing function gives the same message."""
    assert registry.find("songBook:countSongs", ADMIN).handler is count_songs
    assert registry.find("songBook:countSongs", Caller(subject="user_alice", is_admin=True)).handler is count_songs
    with pytest.raises(FunctionNotFound, match="Could not find public function for 'songBook:nothing'"):
        registry.find("songBook:nothing", ADMIN)


def test_the_wrong_kind_is_told_apart() -> None:
    """In the words clients know."""
    with pytest.raises(WrongFunctionKind) as refused:
        registry.find("songBook:write", ALICE, Kind.QUERY)
    assert str(refused.value) == "Trying to execute songBook:write as Query, but it is defined as Mutation."
    with pytest.raises(WrongFunctionKind, match="songBook:hum as Mutation, but it is defined as Action"):
        registry.find("songBook:hum", ALICE, Kind.MUTATION)


def test_an_action_may_let_itself_be_called_a_mutation() -> None:
    """Only the one that says so, and only as that."""
    assert registry.find("songBook:sing1stLine", ALICE, Kind.MUTATION).kind is Kind.ACTION
    assert registry.find("songBook:sing1stLine", ALICE, Kind.ACTION).kind is Kind.ACTION
    with pytest.raises(WrongFunctionKind):
        registry.find("songBook:sing1stLine", ALICE, Kind.QUERY)


def test_two_functions_of_one_name_are_refused() -> None:
    """Two modules may have one name, as long as their functions' names differ; and no function is listed twice."""
    Registry([room, module("songBook", internal=[an_unregistered_function])])
    with pytest.raises(DaysongError, match="songBook:write is listed twice"):
        Registry([room, module("songBook", internal=[named("write", an_unregistered_function)])])
    with pytest.raises(DaysongError, match="drafts:write is listed twice"):
        Registry([room, module("drafts", internal=[write])])


def test_what_is_not_declared_cannot_be_listed() -> None:
    """A plain function has no kind."""
    with pytest.raises(DaysongError, match="give_up is not a query, a mutation or an action"):
        Registry([module("songBook", internal=[give_up])])


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({}, "Object is missing the required field `diaryId`.\nPath: ."),
        ({"diaryId": "d", "mood": 1}, "Object contains extra field `mood` that is not in the validator.\nPath: ."),
        ({"diary_id": "d"}, "Object contains extra field `diary_id` that is not in the validator.\nPath: ."),
        ({"diaryId": 5.0}, "Value does not match validator.\nPath: .diaryId\nExpected `string`, got `number`"),
        ({"diaryId": None}, "Value does not match validator.\nPath: .diaryId\nExpected `string`, got `null`"),
        ({"diaryId": ""}, "Value does not match validator.\nPath: .diaryId\nExpected `string` of length >= 1"),
        ({"diaryId": "x" * 65}, "Value does not match validator.\nPath: .diaryId\nExpected `string` of length <= 64"),
        (
            {"diaryId": "d", "page": 1.5},
            "Value does not match validator.\nPath: .page\nExpected `integer`, got `number`",
        ),
        (
            {"diaryId": "d", "page": 1e300},
            "Value does not match validator.\nPath: .page\nExpected `integer`, got `number`",
        ),
        (
            {"diaryId": "d", "page": True},
            "Value does not match validator.\nPath: .page\nExpected `integer`, got `boolean`",
        ),
        (
            {"diaryId": "d", "tempo": "fast"},
            "Value does not match validator.\nPath: .tempo\nExpected `number | null`, got `string`",
        ),
        (
            {"diaryId": "d", "verses": [{"firstLine": "la"}, {}]},
            "Object is missing the required field `firstLine`.\nPath: .verses[1]",
        ),
        (
            {"diaryId": "d", "verses": [{"firstLine": "la", "x": 1}]},
            "Object contains extra field `x` that is not in the validator.\nPath: .verses[0]",
        ),
        (
            {"diaryId": "d", "verses": [{"firstLine": "la la la la"}]},
            "Value does not match validator.\nPath: .verses[0].firstLine\nExpected `string` of length <= 10",
        ),
        (
            {"diaryId": "d", "verses": {}},
            "Value does not match validator.\nPath: .verses\nExpected `array`, got `object`",
        ),
        (
            {"diaryId": "d", "byName": {"alice": "x"}},
            "Value does not match validator.\nPath: .byName[...]\nExpected `integer`, got `string`",
        ),
        (
            {"diaryId": "d", "verses": [{"firstLine": "la\0"}]},
            "Value does not match validator.\nPath: .verses[0].firstLine\nText contains a NUL character",
        ),
        ([], "Value does not match validator.\nPath: .\nExpected `object`, got `array`"),
        (None, "Value does not match validator.\nPath: .\nExpected `object`, got `null`"),
    ],
)
def test_wrong_arguments_are_told_by_their_field(raw: Any, told: str) -> None:
    """In Convex's words, with the path on the wire."""
    with pytest.raises(ArgumentValidationError) as refused:
        registry.of(write).parse(raw)
    assert str(refused.value) == f"ArgumentValidationError: {told}"


def test_a_long_extra_field_is_not_echoed_whole() -> None:
    """What a client sends does not come back by the kilobyte."""
    with pytest.raises(ArgumentValidationError) as refused:
        registry.of(write).parse({"diaryId": "d", "x" * 1000: 1})
    assert len(str(refused.value)) < 250


def test_good_arguments_are_typed() -> None:
    """Whole numbers fit an int, and any number fits a float; 64-bit integers do as well."""
    args = registry.of(write).parse(
        {"diaryId": "d", "verses": [{"firstLine": "la", "repeated": True}], "page": 5.0, "tempo": 90.0}
    )
    assert args == Write(diary_id="d", verses=(Verse(first_line="la", repeated=True),), page=5, tempo=90)
    assert registry.of(write).parse({"diaryId": "d", "page": Int64(7)}).page == 7
    assert registry.of(hum).parse({}) == NoArgs()


def test_admin_and_system_callers_are_not_signed_in() -> None:
    """The admin key alone does not sign a caller in."""
    assert ALICE.signed_in == "user_alice"
    for caller in (ANONYMOUS, ADMIN, SYSTEM):
        with pytest.raises(DaysongError, match="Unauthorized"):
            _ = caller.signed_in


durations = st.timedeltas(timedelta(milliseconds=1), timedelta(hours=2))
policies = st.builds(Retry, attempts=st.integers(1, 50), first=durations, longest=durations)


@given(policies, st.integers(1, 80), st.none() | st.floats(0, 24 * 3600), st.floats(0, 1))
def test_a_delay_is_none_exactly_when_the_attempts_are_used_up(
    policy: Retry, failures: int, retry_after: float | None, jitter: float
) -> None:
    """So many attempts and not one more; no delay is below what the vendor asked for, nor above both limits."""
    delay = policy.delay(failures, retry_after=retry_after, jitter=jitter)
    assert (delay is None) == (failures >= policy.attempts)
    if delay is not None:
        asked = timedelta(seconds=retry_after or 0)
        assert asked <= delay <= max(asked, policy.longest)
        assert delay >= min(policy.first, policy.longest) / 2


@given(policies, st.floats(0, 1))
def test_delays_grow_up_to_the_longest(policy: Retry, jitter: float) -> None:
    """Under one jitter no delay is shorter than the one before; jitter never takes more than half."""
    delays = [policy.delay(failures, retry_after=None, jitter=jitter) for failures in range(1, policy.attempts)]
    known = [delay for delay in delays if delay is not None]
    assert known == sorted(known)
    full = [policy.delay(failures, retry_after=None, jitter=0) for failures in range(1, policy.attempts)]
    for delay, most in zip(known, full, strict=True):
        assert most is not None
        assert most / 2 - timedelta(microseconds=1) <= delay <= most <= policy.longest


@pytest.mark.parametrize("retry_after", [1e6, 1e20, 1.7e308])
def test_a_vendor_cannot_put_a_job_off_for_more_than_a_day(retry_after: float) -> None:
    """However far away the time it names."""
    assert Retry().delay(1, retry_after=retry_after, jitter=0) == timedelta(days=1)


def test_one_attempt_means_no_second() -> None:
    """NO_RETRY gives up at once."""
    assert NO_RETRY.delay(1, retry_after=5, jitter=0) is None


class Anything(Args):
    """Any value."""

    value: Any


@query
async def as_sent(ctx: QueryContext, args: Anything) -> Any:
    """What was sent."""
    return args.value


odds = module("odds", public=(named("as_it_is", as_sent),))


def test_a_function_may_be_published_under_a_name_of_its_own() -> None:
    """Names that Python's functions would not become by themselves."""
    assert [function.identifier for function in Registry([odds])] == ["odds:as_it_is"]
