"""Which errors a function may end with is found in its code, however they get there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from daysong.kernel import errors
from daysong.kernel.errors import ExpectedError, Forbidden, Unauthorized
from daysong.kernel.functions import raised
from daysong.kernel.functions.raised import codes_of


class TooLate(ExpectedError):
    code = "too_late"
    default_message = "Too late"


class TooSoon(ExpectedError):
    code = "too_soon"
    default_message = "Too soon"


class Rules:
    @staticmethod
    def check() -> None:
        raise TooSoon


def helper(number: int) -> int:
    if number > 5:
        helper(number - 1)
    raise TooLate("by an hour")


def why_not(number: int) -> ExpectedError | None:
    return TooSoon() if number else None


async def nothing(ctx: Any, args: Any) -> None:
    """No error."""


async def directly(ctx: Any, args: Any) -> None:
    raise TooLate


async def through_a_helper(ctx: Any, args: Any) -> None:
    helper(args)


async def through_a_module(ctx: Any, args: Any) -> None:
    if args:
        raise errors.Forbidden
    raise errors.Unauthorized from None


async def through_a_class(ctx: Any, args: Any) -> None:
    Rules.check()


async def as_a_value(ctx: Any, args: Any) -> None:
    if refusal := why_not(args):
        raise refusal


async def handed_over(ctx: Any, args: Any) -> None:
    await ctx.run_mutation(directly, args)


async def within(ctx: Any, args: Any) -> None:
    async def inner() -> list[Any]:
        return [helper(number) for number in args]

    await inner()


def closed_over(error: type[ExpectedError]) -> Callable[[Any, Any], Awaitable[None]]:
    async def handler(ctx: Any, args: Any) -> None:
        raise error

    return handler


async def caught(ctx: Any, args: Any) -> None:
    try:
        await ctx.db.fetch("select 1")
    except (TooLate, TooSoon):
        return
    except Forbidden:
        return


async def scheduled(ctx: Any, args: Any) -> None:
    await ctx.schedule(directly, args)
    raise Unauthorized


@pytest.mark.parametrize(
    ("handler", "codes"),
    [
        (nothing, []),
        (directly, ["too_late"]),
        (through_a_helper, ["too_late"]),
        (through_a_module, ["forbidden", "unauthorized"]),
        (through_a_class, ["too_soon"]),
        (as_a_value, ["too_soon"]),
        (handed_over, ["too_late"]),
        (within, ["too_late"]),
        (closed_over(TooSoon), ["too_soon"]),
        (scheduled, ["unauthorized"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_g64_errors_are_found_in_the_code(handler: Any, codes: list[str]) -> None:
    assert codes_of(handler) == codes


def test_g64_what_is_caught_alone_is_not_raised() -> None:
    """A tuple of kinds is taken for raised: rather one code too many than one too few."""
    assert "forbidden" not in codes_of(caught)


def test_g64_every_kind_of_error_has_a_code_and_a_message() -> None:
    for kind in raised.all_errors():
        assert kind.code
        assert kind.default_message
