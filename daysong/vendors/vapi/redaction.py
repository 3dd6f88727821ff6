"""What may be kept of a message or a call of VAPI's: all but capabilities, secrets and what the assistant was told.

A monitor's address lets its holder listen to a call and speak in it; recordings and logs lie behind such addresses too.
New ones appear without notice, so that every address is left out, and every field named like a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Deeper than anything it sends; what lies below is left out.
MAX_DEPTH = 40

# Of these no more is kept than what tells which they are; an assistant also holds its prompt.
_KEPT_OF: Mapping[str, frozenset[str]] = {
    "assistant": frozenset({"id", "name", "metadata", "maxDurationSeconds"}),
    "assistantOverrides": frozenset({"metadata"}),
    "phoneNumber": frozenset({"id", "name", "number", "provider", "status"}),
    "squad": frozenset({"id"}),
    "workflow": frozenset({"id"}),
}
_LEFT_OUT = frozenset({"monitor", "server", "headers", "nodes", "variables", "variableValues"})
_SECRET = re.compile(
    r"token|secret|password|api_?key|authorization|credential|signature|presigned|ur[li]s?$", re.IGNORECASE
)
_ADDRESS = re.compile(r"\s*[a-z][a-z0-9+.-]*://\S*\s*", re.IGNORECASE)


def harmless(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message or a call without its secrets, fit for a jsonb column."""
    return _object(found, 0)


def _object(found: Mapping[str, Any], depth: int) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in found.items():
        if key in _LEFT_OUT or _is_secret(key, value):
            continue
        inner = _value(_bounded(key, value), depth + 1)
        if inner is not None or value is None:
            kept[key.replace("\x00", "")] = inner
    return kept


def _bounded(key: str, value: Any) -> Any:
    names = _KEPT_OF.get(key)
    if names is None or not isinstance(value, dict):
        return value
    return {name: inner for name, inner in value.items() if name in names}


def _is_secret(key: str, value: Any) -> bool:
    # A number is a count, such as that of a model's tokens.
    return isinstance(value, str | dict | list) and _SECRET.search(key) is not None


def _value(value: Any, depth: int) -> Any:
    """What is kept of a value; None when nothing is."""
    if isinstance(value, str):
        return None if _ADDRESS.fullmatch(value) else value.replace("\x00", "")
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, list):
        found = (_value(entry, depth + 1) for entry in value if not _is_prompt(entry))
        return [entry for entry in found if entry is not None]
    return _object(value, depth) if isinstance(value, dict) else value


def _is_prompt(entry: Any) -> bool:
    return isinstance(entry, dict) and str(entry.get("role")).lower() in {"system", "developer"}
