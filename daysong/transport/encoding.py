"""Results as JSON. Large ones are encoded in a thread, so that the loop serves others meanwhile."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from daysong.kernel import values
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions import results
from daysong.kernel.functions.registry import Function

# One: each thread that is at work may hold up the loop for the interpreter's switch interval, 5 ms.
_thread = ThreadPoolExecutor(1, "encoding")


class ResultTooLarge(DaysongError):
    """A result that no client takes in one piece."""


async def encoded(function: Function, value: Any, form: values.Format = "convex_encoded_json") -> bytes:
    """A result of `function` in its form on the wire; TypeError or OverflowError when it has none."""
    if not function.encoder.is_large(value):
        return at_once(function, value, form)
    # On the exact path: msgspec would hold the interpreter for as long as it takes.
    return await asyncio.get_running_loop().run_in_executor(_thread, results.exactly, value, form)


def at_once(function: Function, value: Any, form: values.Format = "convex_encoded_json") -> bytes:
    """The same, at once."""
    return function.encoder.encode(value, form)


def within(value: bytes, largest: int) -> bytes:
    """A result in its form on the wire; ResultTooLarge over `largest` bytes."""
    if len(value) > largest:
        raise ResultTooLarge(f"Function returned a value of {len(value)} bytes, which is too large.")
    return value
