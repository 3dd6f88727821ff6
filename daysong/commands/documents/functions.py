"""`daysong functions`: every function there is, as Markdown (docs/FUNCTIONS.md) or as JSON."""

from __future__ import annotations

import json

import msgspec

from daysong.kernel.functions.descriptions import (
    AnyOf,
    Choice,
    Description,
    Field,
    FunctionDescription,
    ListOf,
    MapOf,
    ObjectType,
    Reference,
    Shape,
)

HEAD = """# Functions

Written by `daysong functions > docs/FUNCTIONS.md`; a test fails when it is out of date.

A function is called by its name, `module:function`. Clients may call public ones; internal ones are called with the
admin key and by the service itself, most of them as jobs. Queries read, mutations write in one transaction, actions may
wait for vendors. `?` marks what may be left out. Times are milliseconds since the epoch, UTC; ids are opaque.
A function that fails as it may gives its caller one of the codes below, as `errorData.code`; see [Errors](#errors).
Each function has its handler's file and name; lines, which move with every edit, are in `/docs` and in
`daysong functions --json`.
"""

ERRORS = """
## Errors

Codes and messages of failures that callers can act on. Any function may also fail without a code: its arguments do not
fit (the message names the field), too many changes at once, or something unexpected.

| code | message |
|---|---|
"""


def document(description: Description) -> str:
    """The functions by module, the errors they may fail with, and the types they mention, as Markdown."""
    parts = [HEAD]
    for module in description.modules:
        parts += [f"\n## {module.name}\n", *(_function(function) for function in module.functions)]
    parts += [ERRORS, *(f"| `{error.code}` | {error.message} |\n" for error in description.errors)]
    parts += ["\n## Types\n", *(_type(kind) for kind in description.types)]
    return "".join(parts)


def as_json(description: Description) -> str:
    """The whole description as JSON, with the line of each handler."""
    return msgspec.json.format(msgspec.json.encode(description), indent=2).decode()


def _function(function: FunctionDescription) -> str:
    takes = ", ".join(_field(field) for field in function.arguments.fields)
    fails = ", ".join(f"`{code}`" for code in function.codes)
    source = function.source
    return f"""
### {function.identifier}

{"Public" if function.public else "Internal"} {function.kind}. {function.summary}

- takes {f"`{takes}`" if takes else "nothing"}
- gives `{_shown(function.result)}`
{f"- fails with {fails}" + chr(10) if fails else ""}- handler [{source.file}](../{source.file}), `{source.handler}`
"""


def _type(kind: ObjectType) -> str:
    lines = "".join(f"- `{_field(field)}`\n" for field in kind.fields)
    return f"\n### {kind.name}\n\n{kind.summary}\n\n{lines}"


def _field(field: Field) -> str:
    default = f" = {json.dumps(field.default)}" if isinstance(field.default, int | float | str) else ""
    return f"{field.name}{'?' if field.optional else ''}: {_shown(field.shape)}{default}"


def _shown(shape: Shape) -> str:
    match shape:
        case Reference(name=name):
            return name
        case ListOf(items=items):
            return f"[{_shown(items)}]"
        case MapOf(values=values):
            return f"{{string: {_shown(values)}}}"
        case Choice(values=values):
            return " | ".join(json.dumps(value) for value in values)
        case AnyOf(options=options):
            return " | ".join(_shown(option) for option in options)
    bounds = shape.bounds
    if shape.kind == "string" and "maxLength" in bounds:
        return f"string of up to {bounds['maxLength']}"
    low, high = bounds.get("minimum"), bounds.get("maximum")
    return shape.kind if low is high is None else f"{shape.kind} {_bound(low)}..{_bound(high)}"


def _bound(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
