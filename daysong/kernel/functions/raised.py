"""Which expected errors a function may end with, found in its code.

A handler's code names what it calls and what it raises. From the handler on, every function of ours that is named is
looked into, and every expected error that is named, but for those in `except` clauses, is one the caller may see. What
is only scheduled runs later, and its errors are not the caller's.
"""

from __future__ import annotations

import dis
import inspect
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from daysong.kernel.errors import ExpectedError

# Codes of what is decided before a function runs: it can be any one.
ANYWHERE = frozenset({"rate_limited", "part_is_off"})

_OURS = "daysong."
_SCHEDULES = "schedule"
_CATCHES = "CHECK_EXC_MATCH"


@cache
def errors_of(handler: Callable[..., Any]) -> tuple[type[ExpectedError], ...]:
    """The expected errors that a function may raise, by code."""
    found: set[type[ExpectedError]] = set()
    seen: set[FunctionType] = set()
    waiting: list[Any] = [inspect.unwrap(handler)]
    while waiting:
        one = waiting.pop()
        if _is_expected(one):
            found.add(one)
        elif isinstance(one, FunctionType) and one not in seen and one.__module__.startswith(_OURS):
            seen.add(one)
            waiting += _named_in(one)
    return tuple(sorted(found, key=lambda error: (error.code, error.__name__)))


def codes_of(handler: Callable[..., Any]) -> list[str]:
    """The codes of these errors, in order."""
    return sorted({error.code for error in errors_of(handler)})


@cache
def _named_in(function: FunctionType) -> tuple[Any, ...]:
    """What the code of a function refers to: globals, attributes of modules and classes, and what it closes over."""
    closed = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    cells = {name: cell.cell_contents for name, cell in closed if not _is_empty(cell)}
    names = ChainMap(cells, function.__globals__)
    # Only what leads further, or is an error.
    return tuple(
        one for one in _named_by(function.__code__, names) if isinstance(one, FunctionType) or _is_expected(one)
    )


def _is_expected(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, ExpectedError) and hasattr(one, "code")


def all_errors() -> Iterator[type[ExpectedError]]:
    """Every kind of expected error that the program has."""
    waiting = [ExpectedError]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            yield kind


def _is_empty(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - asking is what tells
    except ValueError:
        return True
    return False


def _named_by(code: CodeType, names: Mapping[str, Any]) -> Iterator[Any]:
    referred: Any = None
    is_scheduled = False
    for instruction in (*dis.get_instructions(code), None):
        name = instruction.opname if instruction else ""
        if instruction and name in {"LOAD_ATTR", "LOAD_METHOD"} and isinstance(referred, ModuleType | type):
            referred = getattr(referred, instruction.argval, None)
            continue
        if name in {"CACHE", "PRECALL", "PUSH_NULL", "NOP", "EXTENDED_ARG"}:
            continue
        if referred is not None and name != _CATCHES:
            if not is_scheduled:
                yield referred
            is_scheduled = False
        referred = None
        if instruction and name in {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"}:
            referred = names.get(instruction.argval)
        elif instruction and name in {"LOAD_ATTR", "LOAD_METHOD"} and instruction.argval == _SCHEDULES:
            is_scheduled = True
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _named_by(constant, names)
