"""Results as JSON. Large ones are encoded in a thread, so that the loop serves others meanwhile."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from daysong.kernel import values
from daysong.kernel.errors import DaysongError

# Values that are encoded within about a millisecond.
FEW = 2_000

_encode = msgspec.json.Encoder().encode
# One: each thread that is at work may hold up the loop for the interpreter's switch interval, 5 ms.
_thread = ThreadPoolExecutor(1, "encoding")


class ResultTooLarge(DaysongError):
    """A result that no client takes in one piece."""


async def encoded(value: Any, form: values.Format = "convex_encoded_json") -> bytes:
    """A result in its form on the wire; TypeError or OverflowError when it has none."""
    if not is_large(value):
        return at_once(value, form)
    return await asyncio.get_running_loop().run_in_executor(_thread, at_once, value, form)


def at_once(value: Any, form: values.Format = "convex_encoded_json") -> bytes:
    """The same, at once."""
    return _encode(values.encode(value, form))


def is_large(value: Any) -> bool:
    """Whether there are more than a few values in a result."""
    left, waiting = FEW, [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, msgspec.Struct):
            inner = [getattr(part, name) for name in part.__struct_fields__]
        elif isinstance(part, list | tuple):
            inner = list(part)
        elif isinstance(part, dict):
            inner = list(part.values())
        else:
            continue
        left -= len(inner)
        if left < 0:
            return True
        waiting += inner
    return False


def within(value: bytes, largest: int) -> bytes:
    """A result in its form on the wire; ResultTooLarge over `largest` bytes."""
    if len(value) > largest:
        raise ResultTooLarge(f"Function returned a value of {len(value)} bytes, which is too large.")
    return value
