"""/docs: the public functions for people to read. One page from here, no script, nothing fetched from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from itertools import groupby
from typing import Any

from litestar import Request, Response, get
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler

from daysong.kernel.functions.raised import codes_of
from daysong.kernel.functions.registry import Function, Registry
from daysong.kernel.functions.wire_words import about, field_names
from daysong.transport.http import openapi
from daysong.transport.pages.assets import page


def handlers(registry: Registry) -> list[HTTPRouteHandler]:
    """/docs."""
    shown = content(registry)
    # Relative to the page, wherever it is mounted.
    pages = {
        is_folder: page("docs", TITLE="daysong functions", CONTENT=shown, OPENAPI=f"{'../' * is_folder}openapi.json")
        for is_folder in (False, True)
    }

    @get("/docs", sync_to_thread=False)
    def docs(request: Request[Any, Any, Any]) -> Response[str]:
        body, headers = pages[(request.scope.get("raw_path") or b"").endswith(b"/")]
        return Response(body, media_type=MediaType.HTML, headers=headers)

    return [docs]


def content(registry: Registry) -> str:
    """The functions by module, then the types they name, as HTML."""
    functions = openapi.public(registry)
    shapes, named = openapi.schemas(functions)
    fields = field_names(functions)
    parts = [f"<p>{_prose(paragraph)}</p>" for paragraph in openapi.ABOUT.split("\n\n")]
    for module, members in groupby(functions, openapi.module_of):
        parts.append(f"<h2>{escape(module)}</h2>")
        parts.extend(_function(function, fields, *shapes[function.identifier], named) for function in members)
    parts.append("<h2>Types</h2>")
    arguments = {_name(args) for args, _ in shapes.values() if "$ref" in args}
    parts.extend(_type(name, named[name]) for name in sorted(named) if name not in arguments)
    return "\n".join(parts)


def _function(function: Function, names: Mapping[str, str], args: Any, result: Any, named: dict[str, Any]) -> str:
    codes = ", ".join(f"<code>{escape(code)}</code>" for code in codes_of(function.handler))
    fields = named[_name(args)] if "$ref" in args else args
    kind = function.kind.value.lower()
    return f"""<article id="{escape(function.identifier)}">
<h3><code>{escape(function.identifier)}</code> <span class="kind {kind}">{kind}</span></h3>
<p>{_prose(about(function.handler, names))}</p>
<p class="address"><code>POST {escape(openapi.address(function))}</code></p>
{_fields(fields) or "<p>No arguments.</p>"}
<p>Returns {_shape(result)}</p>
{codes and f"<p>Fails with {codes}</p>"}
</article>"""


def _type(name: str, schema: dict[str, Any]) -> str:
    description = f"<p>{_prose(schema['description'])}</p>" if "description" in schema else ""
    shown = _fields(schema) or f"<p>{_shape(schema)}</p>"
    return f'<article id="type-{escape(name)}"><h3><code>{escape(name)}</code></h3>{description}{shown}</article>'


def _fields(schema: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th scope=row><code>{escape(name)}</code></th><td>{_shape(field)}</td>"
        f"<td>{'' if name in schema.get('required', ()) else 'optional'}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<table>{rows}</table>" if rows else ""


def _shape(schema: dict[str, Any]) -> str:
    """A schema in words, named types as links."""
    if "$ref" in schema:
        name = escape(_name(schema))
        return f'<a href="#type-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_shape(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(option))}</code>" for option in schema["enum"])
    match schema.get("type"):
        case "array" if isinstance(schema.get("items"), dict):
            return f"list of {_shape(schema['items'])}"
        case str() as plain:
            limits = ", ".join(words.format(schema[key]) for key, words in _LIMITS.items() if key in schema)
            return escape(f"{plain} ({limits})" if limits else plain)
    return "anything"


_LIMITS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "up to {}",
    "exclusiveMaximum": "below {}",
    "pattern": "matching {}",
}


def _name(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
