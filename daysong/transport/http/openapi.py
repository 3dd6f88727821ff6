"""The OpenAPI document: every public function at its own address, with the types its arguments are checked against.

It is made from the registry, so that what is described is what runs. /docs shows the same for people.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Response, get
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler

from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.raised import codes_of, errors_of
from daysong.kernel.functions.registry import Function, Registry
from daysong.kernel.functions.wire_words import about, field_names, on_the_wire
from daysong.kernel.settings import Settings
from daysong.transport.refusals import REFUSALS

REFERENCE = "#/components/schemas/{name}"

ABOUT = """Functions of three kinds: queries read, mutations write in one transaction, actions may wait for others.

A call that reached its function answers 200 with `status` success or error; a request refused before that answers
4xx with `code` and `message`. Times are milliseconds since the epoch, UTC. Ids are opaque strings."""


def handlers(registry: Registry, settings: Settings) -> list[HTTPRouteHandler]:
    """/openapi.json."""
    body = msgspec.json.encode(document(registry, settings))

    @get("/openapi.json", sync_to_thread=False)
    def openapi() -> Response[bytes]:
        return Response(body, media_type=MediaType.JSON)

    return [openapi]


def public(registry: Registry) -> list[Function]:
    """The functions anybody may call, by name."""
    return [function for function in registry if function.public]


def document(registry: Registry, settings: Settings) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the public functions."""
    functions = public(registry)
    shapes, named = schemas(functions)
    fields = field_names(functions)
    return {
        "openapi": "3.1.0",
        "info": {"title": "daysong", "version": version("daysong"), "description": ABOUT},
        "servers": [{"url": settings.site_url}],
        "tags": [{"name": module} for module in sorted({module_of(function) for function in functions})],
        "paths": {
            address(function): {"post": _operation(function, fields, *shapes[function.identifier])}
            for function in functions
        },
        "components": {
            "schemas": named | _SHARED | {"ErrorCode": _error_code(functions)},
            "responses": _REFUSALS,
            "securitySchemes": {"session": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def address(function: Function) -> str:
    """Where a function is called with plain JSON."""
    return f"/api/run/{function.identifier.replace(':', '/')}"


def module_of(function: Function) -> str:
    """The part of the identifier before the colon."""
    return function.identifier.rpartition(":")[0]


def schemas(functions: Iterable[Function]) -> tuple[dict[str, tuple[Any, Any]], dict[str, Any]]:
    """Each function's arguments and result as JSON Schema, and the named types these refer to."""
    functions = list(functions)
    # A result may be one of several types that nothing but their fields tells apart; msgspec takes them one by one.
    wanted = {f.identifier: (_members(f.args_type), _members(f.result_type)) for f in functions}
    every = [member for both in wanted.values() for members in both for member in members]
    try:
        found, named = msgspec.json.schema_components(every, schema_hook=_unknown_type, ref_template=REFERENCE)
    except TypeError as error:
        raise DaysongError(f"a public function's types cannot be described: {error}") from error
    fields = field_names(functions)
    for schema in named.values():
        if "description" in schema:
            schema["description"] = on_the_wire(schema["description"], fields)
    described = iter(found)

    def shape(members: list[Any]) -> Any:
        shapes = [next(described) for _ in members]
        return shapes[0] if len(shapes) == 1 else {"anyOf": shapes}

    return {name: (shape(args), shape(result)) for name, (args, result) in wanted.items()}, named


def _members(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return list(typing.get_args(annotation))
    return [annotation]


def _unknown_type(annotation: type) -> dict[str, Any]:
    # Ids are strings of their own type; 64-bit integers are written as text.
    if issubclass(annotation, str | int):
        return {"type": "string"}
    raise NotImplementedError


def _error_code(functions: Iterable[Function]) -> dict[str, Any]:
    kinds = {kind for function in functions for kind in errors_of(function.handler)}
    told = sorted({(kind.code, kind.default_message) for kind in kinds})
    return {
        "type": "string",
        "enum": sorted({code for code, _ in told}),
        "description": "\n".join(f"`{code}`: {message}" for code, message in told),
    }


def _operation(function: Function, fields: Mapping[str, str], args: Any, result: Any) -> dict[str, Any]:
    summary, _, rest = about(function.handler, fields).partition("\n")
    return {
        "operationId": function.identifier.replace("/", "."),
        "tags": [module_of(function)],
        "summary": f"{function.kind.value}: {summary}",
        "description": rest.strip(),
        # Whether a function can do without is its own affair; a query may answer null to a stranger.
        "security": [{}, {"session": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {"args": args, "format": {"$ref": REFERENCE.format(name="Format")}},
                        "required": ["args"],
                    }
                }
            },
        },
        "responses": {
            "200": {
                "description": "The function ran",
                "content": {"application/json": {"schema": {"oneOf": [_success(result), _failed(function)]}}},
            },
            **{status: {"$ref": f"#/components/responses/{name}"} for status, name in _BY_STATUS.items()},
        },
    }


def _failed(function: Function) -> dict[str, Any]:
    codes = codes_of(function.handler)
    if not codes:
        return _FAILED
    code = {"properties": {"code": {"enum": codes}}}
    return {"allOf": [_FAILED, {"properties": {"errorData": code}}]}


def _success(result: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "status": {"const": "success"},
            "value": result,
            "logLines": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["status", "value"],
    }


_FAILED = {"$ref": REFERENCE.format(name="Failed")}
_BY_STATUS = {
    "400": "BadRequest",
    "401": "Unauthenticated",
    "403": "WrongAdminKey",
    "413": "TooLarge",
    "500": "ServerError",
    "503": "Unavailable",
}
_ERROR_CODE = {"$ref": REFERENCE.format(name="ErrorCode")}
_SHARED: dict[str, Any] = {
    "Format": {
        "type": "string",
        "enum": ["json", "convex_encoded_json"],
        "default": "json",
        "description": "How values are written: `json` is for people, `convex_encoded_json` keeps every type apart.",
    },
    "Failed": {
        "type": "object",
        "description": "The function failed; `errorData` is there when the failure is one to be expected.",
        "properties": {
            "status": {"const": "error"},
            "errorMessage": {"type": "string"},
            "errorData": {
                "type": "object",
                "properties": {"code": _ERROR_CODE, "message": {"type": "string"}},
                "required": ["code", "message"],
            },
            "logLines": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["status", "errorMessage"],
    },
    "Refused": {
        "type": "object",
        "properties": {"code": {"type": "string", "enum": sorted(REFUSALS)}, "message": {"type": "string"}},
        "required": ["code", "message"],
    },
}
_REFUSALS = {
    name: {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": REFERENCE.format(name="Refused")}}},
    }
    for name, description in {
        "BadRequest": "The request is malformed",
        "Unauthenticated": "The token or the Authorization header is no good",
        "WrongAdminKey": "The admin key was not accepted",
        "TooLarge": "The body is over 16 MiB",
        "ServerError": "Something went wrong before the function could answer",
        "Unavailable": "Not for now; try again",
    }.items()
}
