"""`daysong functions --typescript`: functions as TypeScript types, for `anyApi` of the npm client."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

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
    Plain,
    Reference,
    Shape,
)
from daysong.kernel.functions.raised import ANYWHERE

HEAD = """// Written by `daysong functions --typescript > api.d.ts`.
//
//   import { anyApi } from "convex/server";
//   import type { Api } from "./api";
//
//   const api = anyApi as unknown as Api;
//   const entries = await client.query(api.diaries.listDiaries, {});
//
//   const pages = anyApi as unknown as PaginatedApi;
//   usePaginatedQuery(pages.diaries.pageDiaries, {}, { initialNumItems: 20 });
//
// Times are milliseconds since the epoch, UTC; ids are opaque strings.

import type { FunctionReference, PaginationOptions } from "convex/server";
"""

ERRORS = """
/** The data of a `ConvexError` that a function throws: `error.data as ErrorData<"diaries:createDiary">`. */
export type ErrorData<F extends keyof Errors = keyof Errors> = {
  code: Errors[F];
  message: string;
  /** Seconds to wait, with `rate_limited`. */
  retryAfter?: number;
};
"""

# The last is the client's own type.
_PLAIN = {
    "any": "any", "null": "null", "boolean": "boolean", "int64": "bigint", "bytes": "ArrayBuffer",
    "PaginationOptions": "PaginationOptions",
}  # fmt: skip
_NUMBERS = frozenset({"integer", "number"})
_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
# Names of this file, and of TypeScript, which a type of ours must not hide.
_TAKEN = frozenset({
    "Api", "InternalApi", "PaginatedApi", "PaginationOptions", "Errors",
    "ErrorCode", "ErrorData", "FunctionReference", "ArrayBuffer", "Record",
    "Array", "Date", "Error", "Object", "String", "Number", "Boolean", "Function", "Promise", "Symbol", "Map", "Set",
})  # fmt: skip


# What the clients' paginated queries take and return.
_OPTIONS = Field("paginationOpts", Plain("PaginationOptions"), optional=False)
_PAGE = frozenset({"page", "isDone", "continueCursor"})
_OWN_PAGING = frozenset({"cursor", "limit"})


def document(description: Description) -> str:
    """Return the types of functions, of what they take, return, and fail with, as a declaration file."""
    public = [function for function in description.functions if function.public]
    internal = [function for function in description.functions if not function.public]
    codes = [function.codes for function in description.functions]
    errors = "".join(f"  {json.dumps(one.identifier)}: {_codes(one.codes)};\n" for one in description.functions)
    return "".join((
        HEAD,
        *(_type(kind) for kind in description.types),
        "\n/** The codes of failures that callers can act on. */\n",
        f"export type ErrorCode = {_codes(code for each in codes for code in each)};\n",
        "\n/** The codes that each function may fail with, by its name. */\n",
        f"export type Errors = {{\n{errors}}};\n",
        ERRORS,
        _api("Api", "The functions that clients may call.", public),
        _api("PaginatedApi", "The paged lists, for `usePaginatedQuery`.", _paginated(public, description.types)),
        _api("InternalApi", "The functions for holders of the admin key.", internal),
    ))  # fmt: skip


def _codes(codes: Iterable[str]) -> str:
    return " | ".join(json.dumps(code) for code in sorted({*codes, *ANYWHERE}))


def _type(kind: ObjectType) -> str:
    text = "\n\n".join(filter(None, (kind.summary, kind.description)))
    return f"\n{_comment(text)}export type {type_name(kind.name)} = {_object(kind.fields, '')};\n"


def type_name(name: str) -> str:
    """Return the TypeScript name of a type."""
    plain = name.replace(".", "_")
    return f"{plain}_" if plain in _TAKEN else plain


def _paginated(functions: Iterable[FunctionDescription], types: Iterable[ObjectType]) -> list[FunctionDescription]:
    """Return the functions that take `paginationOpts`, with these required, and the result that goes with them.

    They also take a cursor and a limit of their own; one type cannot fit both.
    """
    pages = {one.name for one in types if {field.name for field in one.fields} >= _PAGE}
    found = []
    for function in functions:
        fields = [one for one in function.arguments.fields if one.name not in _OWN_PAGING]
        results = function.result.options if isinstance(function.result, AnyOf) else (function.result,)
        page = next((one for one in results if isinstance(one, Reference) and one.name in pages), None)
        if page is not None and any(one.name == _OPTIONS.name for one in fields):
            kept = (*(one for one in fields if one.name != _OPTIONS.name), _OPTIONS)
            arguments = msgspec.structs.replace(function.arguments, fields=kept)
            found.append(msgspec.structs.replace(function, arguments=arguments, result=page))
    return found


def _api(name: str, about: str, functions: Iterable[FunctionDescription]) -> str:
    tree: dict[str, Any] = {}
    for function in functions:
        module, _, export = function.identifier.rpartition(":")
        node = tree
        for part in module.split("/"):
            node = node.setdefault(part, {})
        node[export] = function
    return f"\n/** {about} */\nexport type {name} = {_node(tree, '')};\n"


def _node(tree: dict[str, Any], indent: str) -> str:
    inner = f"{indent}  "
    lines = []
    for key, value in tree.items():
        if isinstance(value, FunctionDescription):
            text = "\n\n".join(filter(None, (value.summary, value.description)))
            lines.append(f"{_comment(text, inner)}{inner}{_key(key)}: {_reference(value, inner)};\n")
        else:
            lines.append(f"{inner}{_key(key)}: {_node(value, inner)};\n")
    return f"{{\n{''.join(lines)}{indent}}}" if lines else "{}"


def _reference(function: FunctionDescription, indent: str) -> str:
    visibility = "public" if function.public else "internal"
    fields = function.arguments.fields
    arguments = _object(fields, indent) if fields else "Record<string, never>"
    return f'FunctionReference<"{function.kind}", "{visibility}", {arguments}, {shown(function.result)}>'


def _object(fields: Iterable[Field], indent: str) -> str:
    inner = f"{indent}  "
    lines = [f"{inner}{_key(one.name)}{'?' if one.optional else ''}: {shown(one.shape)};\n" for one in fields]
    return f"{{\n{''.join(lines)}{indent}}}" if lines else "Record<string, never>"


def shown(shape: Shape) -> str:
    """Return the TypeScript type of a shape."""
    match shape:
        case Reference(name=name):
            return type_name(name)
        case ListOf(items=items):
            return f"Array<{shown(items)}>"
        case MapOf(values=values):
            return f"Record<string, {shown(values)}>"
        case Choice(values=values):
            return " | ".join(json.dumps(value) for value in values)
        case AnyOf(options=options):
            return " | ".join(dict.fromkeys(shown(option) for option in options))
    return "number" if shape.kind in _NUMBERS else _PLAIN.get(shape.kind, "string")


def _key(name: str) -> str:
    return name if _NAME.fullmatch(name) else json.dumps(name)


def _comment(text: str, indent: str = "") -> str:
    if not text:
        return ""
    # The end of a comment inside of it would end it.
    lines = text.replace("*/", "*\\/").splitlines()
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    body = "".join(f"{indent} * {line}".rstrip() + "\n" for line in lines)
    return f"{indent}/**\n{body}{indent} */\n"
