"""/docs: the reference of the public functions, as one page.

Without scripts it is complete; with them it can be searched, and its functions can be called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from html import escape
from typing import Any

from litestar import Request, Response, get
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET

from daysong.kernel.functions.descriptions import (
    AnyOf,
    Choice,
    Description,
    Field,
    FunctionDescription,
    ListOf,
    MapOf,
    ModuleDescription,
    ObjectType,
    Reference,
    Shape,
)
from daysong.transport.http import openapi
from daysong.transport.pages.assets import Assets


def handlers(describe: Callable[[], Description], assets: Assets, sandbox: str | None) -> list[HTTPRouteHandler]:
    """Return the route /docs; the page is rendered at the first request.

    sandbox  the address of the Clerk that gives anyone a token, in development
    """

    @cache
    def rendered(is_folder: bool) -> tuple[str, dict[str, str]]:
        # Relative, so that it works below any path.
        address = f"{'../' * is_folder}openapi.json"
        title = "daysong functions"
        description = describe()
        data = f'data-api="{assets.path}/api"' + (f' data-clerk="{sandbox}"' if sandbox else "")
        shown = f"""{contents(description)}
<main id="main" {data}>
<h1>{title}</h1>
<p>For programs: <a href="{address}">openapi.json</a></p>
{content(description)}
</main>"""
        return assets.page(
            title=title, content=shown, kind="docs", styles=("docs.css",), modules=("docs.js",),
            sources={"connect-src": assets.own},
        )  # fmt: skip

    @get("/docs", sync_to_thread=True)
    def docs(request: Request[Any, Any, Any]) -> Response[str]:
        body, headers = rendered((request.scope.get("raw_path") or b"").endswith(b"/"))
        return Response(body, media_type=MediaType.HTML, headers=headers)

    return [docs]


def contents(description: Description) -> str:
    """Return the contents list as HTML, with a place for the search."""
    parts = ['<nav aria-label="Contents"><div id="search" hidden></div><dl>', *map(_contents, description.modules)]
    parts.append(_entry("types", "Types", ((f"type-{one.name}", one.name) for one in description.types)))
    parts.append('<dt><a href="#errors">Errors</a></dt></dl></nav>')
    return "\n".join(parts)


def content(description: Description) -> str:
    """Return the page's content as HTML: functions by module, types, and errors."""
    parts = [_paragraphs(openapi.ABOUT)]
    for module in description.modules:
        parts.append(f'<h2 id="{escape(module.name)}">{escape(module.name)}</h2>')
        parts.extend(map(_function, module.functions))
    parts.append('<h2 id="types">Types</h2>')
    parts.extend(map(_type, description.types))
    parts.append(_errors(description))
    return "\n".join(parts)


def _errors(description: Description) -> str:
    """Return each error code with what it says and the functions that fail with it."""
    messages: dict[str, dict[str, None]] = {}
    functions: dict[str, list[str]] = {}
    for function in (one for module in description.modules for one in module.functions):
        for error in function.errors:
            messages.setdefault(error.code, {})[error.message] = None
        for code in function.codes:
            functions.setdefault(code, []).append(function.identifier)
    rows = []
    for code in sorted(functions):
        links = " ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in functions[code])
        rows.append(
            f'<tr id="error-{escape(code)}"><th scope=row><code>{escape(code)}</code></th>'
            f"<td>{'<br>'.join(map(_prose, messages[code]))}</td><td>{links}</td></tr>"
        )
    return f"""<h2 id="errors">Errors</h2>
<p>A failure has a <code>code</code> in its <code>errorData</code>, and a message in plain words.</p>
<table class="errors"><tr><th scope=col>code</th><th scope=col>message</th><th scope=col>functions</th></tr>
{"".join(rows)}</table>"""


def _contents(module: ModuleDescription) -> str:
    links = ((one.identifier, one.identifier.rpartition(":")[2]) for one in module.functions)
    return _entry(module.name, module.name, links)


def _entry(anchor: str, title: str, links: Iterable[tuple[str, str]]) -> str:
    listed = " ".join(f'<a href="#{escape(to)}">{escape(text)}</a>' for to, text in links)
    return f'<dt><a href="#{escape(anchor)}">{escape(title)}</a></dt><dd>{listed}</dd>'


def _function(function: FunctionDescription) -> str:
    name, kind = escape(function.identifier), escape(function.kind)
    codes = ", ".join(f'<a href="#error-{escape(code)}"><code>{escape(code)}</code></a>' for code in function.codes)
    example = json.dumps({one.name: _example(one.shape) for one in function.arguments.fields if not one.optional})
    return f"""<article id="{name}" data-kind="{kind}" data-args="{escape(example)}">
<h3><code>{name}</code> <span class="kind {kind}">{kind}</span></h3>
{_paragraphs(function.summary, function.description)}
<p class="address"><code>POST {escape(openapi.address(function))}</code></p>
{_fields(function.arguments.fields) or "<p>No arguments.</p>"}
<p>Returns {_shape(function.result)}</p>
{codes and f"<p>Fails with {codes}</p>"}
<p class="source"><code>{escape(str(function.source))}</code></p>
</article>"""


def _example(shape: Shape) -> Any:
    """Return a value to begin with when a function is tried."""
    match shape:
        case AnyOf(options=options):
            return _example(options[0])
        case Choice(values=values):
            return values[0]
        case ListOf():
            return []
        case MapOf() | Reference():
            return {}
    return {"boolean": False, "integer": 1, "number": 1, "null": None}.get(shape.kind, "")


def _type(one: ObjectType) -> str:
    name = escape(one.name)
    return (
        f'<article id="type-{name}"><h3><code>{name}</code></h3>'
        f"{_paragraphs(one.summary, one.description)}{_fields(one.fields)}</article>"
    )


def _fields(fields: Iterable[Field]) -> str:
    rows = "".join(
        f"<tr><th scope=row><code>{escape(field.name)}</code></th><td>{_shape(field.shape)}</td>"
        f"<td>{', '.join(_remarks(field))}</td></tr>"
        for field in fields
    )
    return f"<table>{rows}</table>" if rows else ""


def _remarks(field: Field) -> Iterable[str]:
    if field.optional:
        yield "optional"
    if field.default is not UNSET:
        yield f"default <code>{escape(json.dumps(field.default))}</code>"


def _shape(shape: Shape) -> str:
    """Describe a shape as HTML, with links to named types."""
    match shape:
        case Reference(name=name):
            return f'<a href="#type-{escape(name)}">{escape(name)}</a>'
        case AnyOf(options=options):
            return " or ".join(_shape(option) for option in options)
        case Choice(values=values):
            return " | ".join(f"<code>{escape(str(value))}</code>" for value in values)
        case ListOf(items=items):
            return f"list of {_shape(items)}{_limits(shape.bounds)}"
        case MapOf(values=values):
            return f"object of {_shape(values)}{_limits(shape.bounds)}"
    return f"{'anything' if shape.kind == 'any' else shape.kind}{_limits(shape.bounds)}"


def _limits(bounds: dict[str, Any]) -> str:
    limits = ", ".join(words.format(bounds[key]) for key, words in _LIMITS.items() if key in bounds)
    return escape(f" ({limits})" if limits else "")


_LIMITS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "up to {}",
    "exclusiveMaximum": "below {}",
    "pattern": "matching {}",
}


def _paragraphs(*texts: str) -> str:
    paragraphs = (paragraph for text in texts for paragraph in text.split("\n\n") if paragraph)
    return "\n".join(f"<p>{_prose(paragraph)}</p>" for paragraph in paragraphs)


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
