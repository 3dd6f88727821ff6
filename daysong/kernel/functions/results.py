"""Results as JSON, by their type: what `values.encode` would make of them, without walking every value in Python.

Of most results only numbers need a look: JSON has them as floats, and some have no plain form. Where these may stand
follows from the type, once for each function. A result whose numbers are all floats with a plain form is encoded by
msgspec as it is; of others they are converted first. What is not known by its type (values of any type, bytes, 64-bit
integers) takes the exact path: as a part of a struct by itself, else the whole result.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Collection
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from daysong.kernel import values

# Values that take about a millisecond on the exact path.
FEW = 2_000

_encode = msgspec.json.Encoder().encode
_NUMBERS = (inspect.IntType, inspect.FloatType)
_TEXTS = (inspect.StrType, inspect.BoolType, inspect.NoneType)

# In what msgspec makes of a value: puts all numbers into their form on the wire, and returns the result.
Fix = Callable[[Any, values.Format], Any]
# Whether all numbers of a value are floats with a plain form, as far as the type tells. What is no number passes.
Check = Callable[[Any], bool]
# How many values there are in one, roughly.
Count = Callable[[Any], int]


def _encoder_of(form: values.Format) -> Callable[[Any], bytes]:
    """Return the encoder of results whose numbers need no conversion."""
    hook = values.hook(lambda number: values.encode(number, form), lambda text: msgspec.Raw(text.encoded()))
    return msgspec.json.Encoder(enc_hook=hook).encode


_as_it_is = {form: _encoder_of(form) for form in typing.get_args(values.Format)}


class _NoPlan(Exception):
    """Results of the type need the exact path."""


class Plan(NamedTuple):
    """What is to be done for a type: `fix` is None where it can hold no numbers, `size` where it is never large.

    is_plain  whether a value can go without `fix`
    most      the number of values where `size` is None
    """

    fix: Fix | None
    is_plain: Check
    size: Count | None
    most: int = 1


class ResultEncoder:
    """Encodes the results of one function."""

    def __init__(self, result_type: Any) -> None:
        try:
            self._plan: Plan | None = _plan_of(result_type)
        except (_NoPlan, TypeError):
            self._plan = None

    @property
    def is_planned(self) -> bool:
        """Whether results are encoded by their type, and not on the exact path."""
        return self._plan is not None

    def is_large(self, value: Any) -> bool:
        """Whether there are more than a few values in a result."""
        if self._plan is None:
            return is_large(value)
        return self._plan.size is not None and self._plan.size(value) > FEW

    def encode(self, value: Any, form: values.Format) -> bytes:
        """A result in its form on the wire; TypeError or OverflowError when it has none."""
        if self._plan is None:
            return exactly(value, form)
        if self._plan.fix is None or self._plan.is_plain(value):
            return _as_it_is[form](value)
        built = values.plain(value, lambda number: values.encode(number, form), values.StoredJson.encoded)
        return _encode(self._plan.fix(built, form))


def exactly(value: Any, form: values.Format) -> bytes:
    """The same for a value of any type."""
    return _encode(values.encode(value, form))


def is_large(value: Any) -> bool:
    """Whether there are more than a few values in one of any type."""
    return _count(value) > FEW


def _count(value: Any) -> int:
    """How many values there are in one of any type; what is beyond a few is not counted."""
    found, waiting = 0, [value]
    while waiting and found <= FEW:
        part = waiting.pop()
        if isinstance(part, msgspec.Struct):
            inner = [getattr(part, name) for name in part.__struct_fields__]
        elif isinstance(part, list | tuple):
            inner = list(part)
        elif isinstance(part, dict):
            inner = list(part.values())
        else:
            continue
        found += len(inner)
        waiting += inner
    return found


def _plan_of(kind: Any) -> Plan:
    # A union of structs, which msgspec takes for no type: it could not decode one.
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        return _union([_plan_of(one) for one in typing.get_args(kind)])
    return _plan(inspect.type_info(kind), ())


def _plan_of_single(kind: inspect.Type) -> Plan | None:
    """Return the plan for the type of a single value; None for a type of another shape."""
    if isinstance(kind, _NUMBERS):
        return Plan(values.encode_number, values.is_plain_number, None)
    if isinstance(kind, _TEXTS) or (isinstance(kind, inspect.CustomType) and issubclass(kind.cls, str)):
        return Plan(None, _is_text, None)
    if isinstance(kind, inspect.CustomType) and kind.cls is values.StoredJson:
        return Plan(_embed, _is_stored, None)
    if isinstance(kind, inspect.LiteralType) and all(isinstance(value, str) for value in kind.values):
        return Plan(None, _is_text, None)
    return None


def _plan(kind: inspect.Type, around: tuple[type, ...]) -> Plan:
    """The plan for a type that stands inside of those structs."""
    if (single := _plan_of_single(kind)) is not None:
        return single
    if isinstance(kind, inspect.Metadata):
        return _plan(kind.type, around)
    if isinstance(kind, inspect.UnionType):
        return _union([_plan(one, around) for one in kind.types])
    if isinstance(kind, inspect.ListType | inspect.VarTupleType):
        return _list(_plan(kind.item_type, around))
    if isinstance(kind, inspect.DictType) and isinstance(kind.key_type, inspect.StrType):
        return _dict(_plan(kind.value_type, around))
    if isinstance(kind, inspect.StructType) and kind.cls not in around and not kind.array_like:
        fields = {(field.name, field.encode_name): _plan(field.type, (*around, kind.cls)) for field in kind.fields}
        return _struct(kind.cls, fields)
    if around:
        # In a struct: by now this part of it consists of plain values.
        return Plan(values.encode, _is_text, _count)
    raise _NoPlan


def _is_text(value: Any) -> bool:
    return type(value) in values.NO_NUMBERS


def _is_stored(value: Any) -> bool:
    return type(value) is values.StoredJson or type(value) in values.NO_NUMBERS


def _embed(value: Any, _: values.Format) -> Any:
    """Have stored JSON, which is bytes by now, copied into the result."""
    return msgspec.Raw(value) if isinstance(value, bytes) else value


def _union(plans: list[Plan]) -> Plan:
    """Each looks at what is of its own shape, and hands on the rest as it is."""
    fixes = [plan.fix for plan in plans if plan.fix is not None]
    # Nothing is to be asked of text alone: all others accept it.
    checks = [plan.is_plain for plan in plans if plan.is_plain is not _is_text]
    counts = [plan.size for plan in plans if plan.size is not None]

    def fix(value: Any, form: values.Format) -> Any:
        for one in fixes:
            value = one(value, form)
        return value

    def count(value: Any) -> int:
        return max(one(value) for one in counts)

    def is_plain(value: Any) -> bool:
        return any(one(value) for one in checks)

    most = max(plan.most for plan in plans)
    return Plan(_only(fixes, fix), _only(checks, is_plain) or _is_text, _only(counts, count), most)


def _only(several: list[Any], together: Any) -> Any:
    """All of these as one."""
    return together if len(several) > 1 else several[0] if several else None


def _list(item: Plan) -> Plan:
    fix_item = item.fix

    def fix(value: Any, form: values.Format) -> Any:
        return [fix_item(one, form) for one in value] if isinstance(value, list | tuple) else value  # type: ignore[misc]

    def count(value: Any) -> int:
        return _sum(value, item) if isinstance(value, list | tuple) else 1

    def is_plain(value: Any) -> bool:
        if not isinstance(value, list | tuple):
            return type(value) in values.NO_NUMBERS
        return all(map(item.is_plain, value))

    return Plan(fix_item and fix, is_plain, count)


def _dict(item: Plan) -> Plan:
    fix_item = item.fix

    def fix(value: Any, form: values.Format) -> Any:
        return {name: fix_item(one, form) for name, one in value.items()} if isinstance(value, dict) else value  # type: ignore[misc]

    def count(value: Any) -> int:
        return _sum(value.values(), item) if isinstance(value, dict) else 1

    def is_plain(value: Any) -> bool:
        if not isinstance(value, dict):
            return type(value) in values.NO_NUMBERS
        return all(map(item.is_plain, value.values()))

    return Plan(fix_item and fix, is_plain, count)


def _sum(parts: Collection[Any], plan: Plan) -> int:
    """Return how many values there are in all parts; beyond FEW the rest is not counted, since a list may be long."""
    if plan.size is None:
        return len(parts) * plan.most
    found = 0
    for part in parts:
        found += plan.size(part)
        if found > FEW:
            break
    return found


def _struct(kind: type, fields: dict[tuple[str, str], Plan]) -> Plan:
    fix = _fix_of_struct(fields)
    counts = [(name, plan.size) for (name, _), plan in fields.items() if plan.size is not None]
    # Of the fields that are never large, the most there can be.
    size = sum(plan.most for plan in fields.values() if plan.size is None)

    def count(value: Any) -> int:
        found = size
        for name, one in counts:
            part = getattr(value, name, None)
            if part is not None:
                found += one(part)
        return found

    return Plan(fix, _check_of_struct(kind, fields), count if counts else None, size)


def _check_of_struct(kind: type, fields: dict[tuple[str, str], Plan]) -> Check:
    checks = {name: plan.is_plain for (name, _), plan in fields.items() if plan.fix is not None}
    numbers = [name for name, check in checks.items() if check is values.is_plain_number]
    # Of a single name it would return no tuple.
    numbers_of = attrgetter(*numbers) if len(numbers) > 1 else None
    others = [(attrgetter(name), check) for name, check in checks.items() if numbers_of is None or name not in numbers]

    def is_plain(value: Any) -> bool:
        # A subclass may have more numbers.
        if type(value) is not kind:
            return type(value) in values.NO_NUMBERS
        if numbers_of is not None:
            for number in numbers_of(value):
                # First as in `is_plain_number`, but without a call for each number.
                if (type(number) is not float or not 0 < number < math.inf) and not values.is_plain_number(number):
                    return False
        for part_of, check in others:  # noqa: SIM110 - a generator for each struct would take longer
            if not check(part_of(value)):
                return False
        return True

    return is_plain


def _fix_of_struct(fields: dict[tuple[str, str], Plan]) -> Fix | None:
    fixes = [(name, plan.fix) for (_, name), plan in fields.items() if plan.fix is not None]
    numbers = [name for name, one in fixes if one is values.encode_number]
    fixes = [(name, one) for name, one in fixes if one is not values.encode_number]

    def fix(value: Any, form: values.Format) -> Any:
        if isinstance(value, dict):
            for name in numbers:
                number = value.get(name)
                # First as in `encode_number`, but without a call for each number.
                if type(number) is int:
                    value[name] = float(number)
                elif (type(number) is not float or not 0 < number < math.inf) and name in value:
                    value[name] = values.encode_number(number, form)
            for name, one in fixes:
                if name in value:
                    value[name] = one(value[name], form)
        return value

    return fix if fixes or numbers else None
