"""Docstrings as clients may read them: in the words of the wire instead of Python's."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec

from daysong.kernel.functions.raised import all_errors
from daysong.kernel.functions.registry import Function

_WORD = re.compile(r"(`?)\b([A-Za-z_][A-Za-z_0-9]*)\b(`?)")
_REPEATED = re.compile(r"(`\w+`)(?:,\s+\1)+")


def field_names(functions: Iterable[Function]) -> Mapping[str, str]:
    """The fields of all arguments and results: how each is called in Python, and on the wire."""
    names: dict[str, str] = {}
    seen: set[type] = set()
    waiting: list[Any] = [kind for function in functions for kind in (function.args_type, function.result_type)]
    while waiting:
        kind = waiting.pop()
        waiting += typing.get_args(kind)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in seen:
            seen.add(kind)
            names |= zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
            waiting += typing.get_type_hints(kind).values()
    return {name: encoded for name, encoded in names.items() if "_" in name}


def on_the_wire(text: str, fields: Mapping[str, str]) -> str:
    """Errors by their codes, `fields` by their names on the wire, null for None."""
    codes = _codes()

    def told(word: re.Match[str]) -> str:
        before, name, after = word.groups()
        if name in codes:
            return f"`{codes[name]}`"
        return f"{before}{'null' if name == 'None' else fields.get(name, name)}{after}"

    # Several errors of one code are listed once.
    return _REPEATED.sub(r"\1", _WORD.sub(told, text))


def about(thing: Any, fields: Mapping[str, str]) -> str:
    """What a docstring says, on the wire; of one that was generated, nothing."""
    said = inspect.getdoc(thing) or ""
    return "" if said.startswith(f"{thing.__name__}(") else on_the_wire(said, fields)


@cache
def _codes() -> Mapping[str, str]:
    return {kind.__name__: kind.code for kind in all_errors()}
