"""Encodes results as JSON. Large ones are encoded in a thread, so that they do not block the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from daysong.kernel import values
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions import results
from daysong.kernel.functions.registry import Function

# One thread: each running thread may delay the event loop by the interpreter's switch interval, 5 ms.
_thread = ThreadPoolExecutor(1, "encoding")


class ResultTooLarge(DaysongError):
    """The result is larger than a client accepts in one message."""


async def encode(function: Function, value: Any, form: values.Format = "convex_encoded_json") -> bytes:
    """Encode a result of `function`. Errors: TypeError, OverflowError when it cannot be encoded."""
    if not function.encoder.is_large(value):
        return encode_now(function, value, form)
    # The exact encoder releases the interpreter between steps; msgspec's would hold it for the whole result.
    return await asyncio.get_running_loop().run_in_executor(_thread, results.exactly, value, form)


def encode_small(function: Function, value: Any, form: values.Format) -> bytes | None:
    """Encode a result of `function` in the calling thread; None when it is large. Errors: as for `encode`."""
    encoder = function.encoder
    return None if encoder.is_large(value) else encoder.encode(value, form)


def encode_now(function: Function, value: Any, form: values.Format = "convex_encoded_json") -> bytes:
    """Encode a result of `function` in the calling thread."""
    return function.encoder.encode(value, form)


def check_size(value: bytes, largest: int) -> bytes:
    """Return an encoded result. Errors: ResultTooLarge over `largest` bytes."""
    if len(value) > largest:
        raise ResultTooLarge(f"Function returned a value of {len(value)} bytes, which is too large.")
    return value
