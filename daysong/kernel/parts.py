"""The parts of daysong that an operator can switch off with the setting MODULES.

Of a part that is off, public queries return their empty value and public mutations and actions fail with PartIsOff.
Its required settings are not required, its webhooks have no route, and crons that begin its work do not run. What was
begun before is still brought to its end by jobs. `surface.py` says which functions belong to which part.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, get_args

import msgspec
from msgspec import inspect

from daysong.kernel.errors import DaysongError, ExpectedError

Part = Literal["phone", "billing", "video", "push", "memory", "blog", "invitations"]
PARTS: tuple[Part, ...] = get_args(Part)


class PartIsOff(ExpectedError):
    """The function belongs to a part that is switched off on this server."""

    code = "part_is_off"
    status = 404
    default_message = "This server does not offer that."


def empty_value(result_type: Any) -> Any:
    """Return the empty value of a query's result type. Errors: DaysongError for a type that has none.

    None where it may be None, an empty list or object, and a struct whose required fields are empty or zero.
    """
    return _empty(inspect.type_info(result_type))


def _empty(kind: inspect.Type) -> Any:
    if isinstance(kind, inspect.UnionType) and any(isinstance(one, inspect.NoneType) for one in kind.types):
        return None
    if isinstance(kind, inspect.ListType):
        return []
    if isinstance(kind, inspect.DictType):
        return {}
    if isinstance(kind, inspect.BoolType):
        return False
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        return 0
    if isinstance(kind, inspect.StructType):
        required = {field.name: _empty(field.type) for field in kind.fields if field.required}
        return kind.cls(**required)
    raise DaysongError(f"{kind} has no empty value")


def closed_query(result_type: Any) -> Callable[..., Awaitable[Any]]:
    """Return the handler of a query whose part is off: it returns the empty value."""
    value = empty_value(result_type)

    async def nothing(ctx: Any, args: msgspec.Struct) -> Any:  # noqa: ARG001
        return value

    return nothing


def closed_function(part: Part | None) -> Callable[..., Awaitable[Any]]:
    """Return the handler of a mutation or an action whose part is off: it raises PartIsOff."""

    async def refuse(ctx: Any, args: msgspec.Struct) -> Any:  # noqa: ARG001
        raise PartIsOff(data={"code": PartIsOff.code, "message": PartIsOff.default_message, "part": part})

    return refuse
