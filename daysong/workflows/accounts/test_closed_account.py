"""Tokens of a closed account are still valid for a while, but every public function rejects them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from daysong.kernel.functions.declarations import Kind
from daysong.kernel.functions.registry import Function
from rehearsal.world import FunctionError, Person, World, public_functions

pytestmark = pytest.mark.anyio

# For every caller, signed in or not.
FOR_EVERY_CALLER = {"sharing:recordShareView", "blog:incrementViewCount", "emailNotify:addEmailNotification"}

EXAMPLES: dict[type, Any] = {
    msgspec.inspect.StrType: "something",
    msgspec.inspect.BoolType: True,
    msgspec.inspect.FloatType: 1.0,
    msgspec.inspect.IntType: 1,
    msgspec.inspect.ListType: [],
}


# The second is the answer where an unknown user differs from an anonymous caller.
REFUSALS = frozenset({"unauthorized", "user_not_found"})


def example(kind: Any) -> Any:
    """Some value of a type."""
    if isinstance(kind, msgspec.inspect.LiteralType):
        return kind.values[0]
    return EXAMPLES[type(kind)]


def arguments(function: Function) -> dict[str, Any]:
    """Arguments of the right shape; its own things, where the caller has some."""
    described = msgspec.inspect.type_info(function.args_type)
    assert isinstance(described, msgspec.inspect.StructType)
    return {field.encode_name: example(field.type) for field in described.fields if field.required}


async def outcome(person: Person, function: Function, args: dict[str, Any]) -> Any:
    """What a call returns, or the code of its failure."""
    try:
        return await person.call(function.kind.value.lower(), function.identifier, args)
    except FunctionError as error:
        return error.code


@pytest.mark.parametrize("erased", [False, True], ids=["closed", "erased"])
async def test_every_function_refuses_a_closed_account(
    world: World, alice: Person, anonymous: Person, erased: bool
) -> None:
    """Mutations and actions say Unauthorized; queries answer as for an anonymous caller, with none of her data."""
    song = await alice.song("Rain and a canary")
    link = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    own = {"diaryId": song["diaryId"], "musicId": song["_id"], "shareId": link["shareId"]}
    own["token"] = f"ExponentPushToken[{'x' * 22}]"
    await alice.mutation("users:deleteAccount")
    if erased:
        await world.settle()
    tried = 0
    for function in public_functions():
        args = arguments(function)
        args |= {name: value for name, value in own.items() if name in args}
        told = await outcome(alice, function, args)
        if function.kind is Kind.QUERY:
            assert told == await outcome(anonymous, function, args), function.identifier
            assert "canary" not in str(told)
        elif await outcome(anonymous, function, args) == "unauthorized":
            assert told in REFUSALS, function.identifier
            tried += 1
        else:
            assert function.identifier in FOR_EVERY_CALLER
    assert tried > 5
    assert await world.db.pool.fetchval("select count(*) from users where deleted_at is null") == 0
