"""Redaction of VAPI's messages and calls before they are stored: without URLs, secrets and prompts.

A monitor's URL lets its holder listen to a call and speak in it; recordings and logs have such URLs too. New ones
appear without notice, so every URL is removed, and every field named like a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Deeper than anything VAPI sends; deeper values are removed.
MAX_DEPTH = 40

# Only identifying fields of these are kept; an assistant has its prompt.
_KEPT_FIELDS: Mapping[str, frozenset[str]] = {
    "assistant": frozenset({"id", "name", "metadata", "maxDurationSeconds"}),
    "assistantOverrides": frozenset({"metadata"}),
    "phoneNumber": frozenset({"id", "name", "number", "provider", "status"}),
    "squad": frozenset({"id"}),
    "workflow": frozenset({"id"}),
}
_REMOVED = frozenset({"monitor", "server", "headers", "nodes", "variables", "variableValues"})
_SECRET = re.compile(
    r"token|secret|password|api_?key|authorization|credential|signature|presigned|ur[li]s?$", re.IGNORECASE
)
_URL = re.compile(r"\s*[a-z][a-z0-9+.-]*://\S*\s*", re.IGNORECASE)


def redact(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message or a call without its secrets, fit for a jsonb column."""
    return _object(found, 0)


def _object(found: Mapping[str, Any], depth: int) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in found.items():
        if key in _REMOVED or _is_secret(key, value):
            continue
        inner = _value(_bounded(key, value), depth + 1)
        if inner is not None or value is None:
            kept[key.replace("\x00", "")] = inner
    return kept


def _bounded(key: str, value: Any) -> Any:
    names = _KEPT_FIELDS.get(key)
    if names is None or not isinstance(value, dict):
        return value
    return {name: inner for name, inner in value.items() if name in names}


def _is_secret(key: str, value: Any) -> bool:
    # Numbers are counts, such as a model's tokens.
    return isinstance(value, str | dict | list) and _SECRET.search(key) is not None


def _value(value: Any, depth: int) -> Any:
    """Return the redacted value; None when nothing is left."""
    if isinstance(value, str):
        return None if _URL.fullmatch(value) else value.replace("\x00", "")
    if depth > MAX_DEPTH:
        return None
    if isinstance(value, list):
        found = (_value(entry, depth + 1) for entry in value if not _is_prompt(entry))
        return [entry for entry in found if entry is not None]
    return _object(value, depth) if isinstance(value, dict) else value


def _is_prompt(entry: Any) -> bool:
    return isinstance(entry, dict) and str(entry.get("role")).lower() in {"system", "developer"}
