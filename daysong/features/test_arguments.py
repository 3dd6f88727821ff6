"""Invalid arguments of every public function: the error names the field, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from daysong.kernel.functions.registry import Function
from rehearsal.world import FunctionError, Person, World, public_functions

pytestmark = pytest.mark.anyio

PUBLIC = public_functions()
LONG = "x" * 60_000
# The clients' paginated queries start with it; the same as none.
NULLABLE = {"cursor"}


def fields(function: Function) -> dict[str, msgspec.inspect.Field]:
    """Return the arguments of a function by wire name."""
    described = msgspec.inspect.type_info(function.args_type)
    assert isinstance(described, msgspec.inspect.StructType)
    return {field.encode_name: field for field in described.fields}


def valid(function: Function) -> dict[str, Any]:
    """Return valid arguments with ids that do not exist."""
    return {name: example(field.type) for name, field in fields(function).items() if field.required}


def example(kind: msgspec.inspect.Type) -> Any:
    """Return a value of a field's type."""
    match kind:
        case msgspec.inspect.BoolType():
            return True
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            return 1.0
        case msgspec.inspect.ListType():
            return []
        case msgspec.inspect.LiteralType():
            return kind.values[0]
    return "something"


def bad_inputs(function: Function) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield each invalid field of a function: what it is, the arguments, and the field that the error must name."""
    yield "an extra field", {**valid(function), "surprise": 1.0}, "surprise"
    for name, field in fields(function).items():
        yield f"{name} of the wrong type", {**valid(function), name: {"not": "this"}}, name
        if name not in NULLABLE:
            yield f"{name} as null", {**valid(function), name: None}, name
        yield f"{name} with a NUL", {**valid(function), name: "a\0b"}, name
        if field.required:
            yield f"{name} missing", {key: value for key, value in valid(function).items() if key != name}, name
        if name != "content":
            yield f"{name} too long", {**valid(function), name: LONG}, name
        if name.endswith("Id") and name != "shareId":
            yield f"{name} empty", {**valid(function), name: ""}, name


async def rows(world: World) -> Any:
    """Return the number of rows of each table, and the latest change."""
    return await world.db.pool.fetchrow(
        """select (select count(*) from users), (select count(*) from diaries), (select count(*) from generations),
                  (select count(*) from usage_charges), (select count(*) from shared_music),
                  (select count(*) from jobs), (select max(updated_at) from users),
                  (select max(updated_at) from diaries)"""
    )


@pytest.mark.parametrize("function", PUBLIC, ids=lambda function: function.identifier)
async def test_wrong_arguments_are_refused_by_name(
    world: World, alice: Person, function: Function, subtests: pytest.Subtests
) -> None:
    """A field is missing, extra, null, of the wrong type, too long, empty, or cannot be stored."""
    before = await rows(world)
    for what, args, field in bad_inputs(function):
        with subtests.test(what):
            with pytest.raises(FunctionError) as refused:
                await alice.call(function.kind.value.lower(), function.identifier, args)
            assert "ArgumentValidationError" in str(refused.value)
            assert field in str(refused.value)
            assert refused.value.data is None
            assert await rows(world) == before


@pytest.mark.parametrize("args", ["text", 5.0, [{}, {}], [["content"]]], ids=repr)
async def test_arguments_that_are_no_object_are_refused(
    world: World, alice: Person, args: Any, subtests: pytest.Subtests
) -> None:
    """The request or the function is refused; nothing is written."""
    before = await rows(world)
    for function in PUBLIC:
        with subtests.test(function.identifier):
            answer = await world.http.post(
                f"/api/{function.kind.value.lower()}",
                json={"path": function.identifier, "args": args, "format": "json"},
                headers=alice.headers,
            )
            assert answer.status_code == 400 or answer.json()["status"] == "error"
            assert await rows(world) == before


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        ("", "diary_is_empty", "Content cannot be empty"),
        (" \n\t ", "diary_is_empty", "Content cannot be empty"),
        ("\ufeff\u200b\u2800\u3164 \u00ad", "diary_is_empty", "Content cannot be empty"),
        ("x" * 50_001, "diary_too_long", "Content is too long: at most 50,000 characters"),
    ],
    ids=["empty", "space", "invisible (g46)", "too long"],
)
async def test_f61_g46_an_entry_must_say_something_and_end_somewhere(
    world: World, alice: Person, content: str, code: str, message: str
) -> None:
    """Refused by every function that writes an entry; only createDiary takes an empty text, for words that follow."""
    diary = await alice.mutation("diaries:createDiary", content="Rain")
    before = await rows(world)
    for kind, path, more in (
        ("mutation", "diaries:createDiary", {}),
        ("mutation", "diaries:updateDiary", {"diaryId": diary["_id"]}),
        ("action", "music:startDiaryMusicGeneration", {}),
    ):
        if (path, content) == ("diaries:createDiary", ""):
            continue
        with pytest.raises(FunctionError) as refused:
            await alice.call(kind, path, {"content": content, **more})
        assert refused.value.data == {"code": code, "message": message}
    assert await rows(world) == before


@pytest.mark.parametrize(
    ("path", "args", "told"),
    [
        ("diaries:createDiary", {"content": 5}, "Expected `string`, got `number`"),
        ("diaries:getDiary", {"diaryId": "x" * 65}, "Expected `string` of length <= 64"),
        ("diaries:pageDiaries", {"limit": 101}, "Expected `integer` <= 100"),
        ("diaries:pageDiaries", {"limit": True}, "Expected `integer`, got `boolean`"),
        ("diaries:pageDiaries", {"cursor": 1.5}, "Expected `string | null`, got `number`"),
        ("diaries:pageDiaries", {"paginationOpts": []}, "Expected `object`, got `array`"),
        ("callSettings:upsertCallSettings", {"cadence": "hourly"}, "must be one of custom, daily, weekdays, weekends"),
    ],
)
async def test_g64_refusals_are_in_the_words_of_the_wire(
    alice: Person, path: str, args: dict[str, Any], told: str
) -> None:
    """Errors name JavaScript types, limits and choices, not Python types."""
    function = next(one for one in PUBLIC if one.identifier == path)
    with pytest.raises(FunctionError) as refused:
        await alice.call(function.kind.value.lower(), path, valid(function) | args)
    assert told in str(refused.value)
