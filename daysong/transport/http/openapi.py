"""The OpenAPI document: every public function at its own path, with the types that validate its arguments.

It is rendered from the same descriptions as /docs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Response, get
from litestar.enums import MediaType
from litestar.handlers import HTTPRouteHandler
from msgspec import UNSET

from daysong.kernel.functions.descriptions import (
    AnyOf,
    Choice,
    Description,
    Error,
    FunctionDescription,
    ListOf,
    MapOf,
    ObjectType,
    Reference,
    Shape,
    module_of,
)
from daysong.kernel.settings import Settings
from daysong.transport.refusals import REFUSALS

REFERENCE = "#/components/schemas/{name}"

ABOUT = """Queries read, mutations write in one transaction, actions may call external services.

The response is 200 with `status` success or error when the function ran; a request refused earlier gets a 4xx with
`code` and `message`. Times are milliseconds since the epoch, UTC. Ids are opaque strings."""


def handlers(describe: Callable[[], Description], settings: Settings) -> list[HTTPRouteHandler]:
    """Return the route /openapi.json; the document is rendered at the first request."""

    @cache
    def body() -> bytes:
        return msgspec.json.encode(document(describe(), settings))

    @get("/openapi.json", sync_to_thread=True)
    def openapi() -> Response[bytes]:
        return Response(body(), media_type=MediaType.JSON)

    return [openapi]


def document(description: Description, settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the functions."""
    functions = list(description.functions)
    objects = (*description.types, *(function.arguments for function in functions))
    return {
        "openapi": "3.1.0",
        "info": {"title": "daysong", "version": version("daysong"), "description": ABOUT},
        "servers": [{"url": settings.site_url}],
        "tags": [{"name": module.name} for module in description.modules],
        "paths": {address(function): {"post": _operation(function)} for function in functions},
        "components": {
            "schemas": {one.name: _object(one) for one in objects}
            | _SHARED
            | {"ErrorCode": _error_code(description.errors)},
            "responses": _REFUSALS,
            "securitySchemes": {"session": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def address(function: FunctionDescription) -> str:
    """Return the path at which a function is called with plain JSON."""
    return f"/api/run/{function.identifier.replace(':', '/')}"


def schema(shape: Shape) -> dict[str, Any]:
    """Return the JSON Schema of a shape."""
    match shape:
        case Reference(name=name):
            return {"$ref": REFERENCE.format(name=name)}
        case ListOf(items=items, bounds=bounds):
            return {"type": "array", "items": schema(items), **bounds}
        case MapOf(values=values, bounds=bounds):
            return {"type": "object", "additionalProperties": schema(values), **bounds}
        case Choice(values=values):
            return {"enum": list(values)}
        case AnyOf(options=options):
            return {"anyOf": [schema(option) for option in options]}
    return _PLAIN.get(shape.kind, {"type": shape.kind}) | shape.bounds


_PLAIN: dict[str, dict[str, Any]] = {
    "any": {},
    "id": {"type": "string"},
    "int64": {"type": "string"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string", "format": "date-time"},
}


def _object(one: ObjectType) -> dict[str, Any]:
    described = "\n\n".join(filter(None, (one.summary, one.description)))
    return {
        "title": one.name,
        **({"description": described} if described else {}),
        "type": "object",
        "properties": {
            field.name: schema(field.shape) | ({} if field.default is UNSET else {"default": field.default})
            for field in one.fields
        },
        "required": [field.name for field in one.fields if not field.optional and field.default is UNSET],
        **({"additionalProperties": False} if one.closed else {}),
    }


def _error_code(errors: Iterable[Error]) -> dict[str, Any]:
    return {
        "type": "string",
        "enum": sorted({error.code for error in errors}),
        "description": "\n".join(f"`{error.code}`: {error.message}" for error in errors),
    }


def _operation(function: FunctionDescription) -> dict[str, Any]:
    args, encoding = schema(Reference(function.arguments.name)), schema(Reference("Format"))
    return {
        "operationId": function.identifier.replace("/", "."),
        "tags": [module_of(function.identifier)],
        "summary": f"{function.kind.capitalize()}: {function.summary}",
        "description": function.description,
        "x-source": str(function.source),
        # Both with and without a session: each function decides; a query may return null to anonymous callers.
        "security": [{}, {"session": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {"args": args, "format": encoding},
                        "required": ["args"],
                    }
                }
            },
        },
        "responses": {
            "200": {
                "description": "The function ran",
                "content": {"application/json": {"schema": {"oneOf": [_success(function.result), _failed(function)]}}},
            },
            **{status: {"$ref": f"#/components/responses/{name}"} for status, name in _BY_STATUS.items()},
        },
    }


def _failed(function: FunctionDescription) -> dict[str, Any]:
    if not function.codes:
        return _FAILED
    code = {"properties": {"code": {"enum": function.codes}}}
    return {"allOf": [_FAILED, {"properties": {"errorData": code}}]}


def _success(result: Shape) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "status": {"const": "success"},
            "value": schema(result),
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
        "description": "Encoding of values: `json` is readable, `convex_encoded_json` preserves every type.",
    },
    "Failed": {
        "type": "object",
        "description": "The function failed; `errorData` is set for an expected error.",
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
        "Unauthenticated": "The token or the Authorization header is invalid",
        "WrongAdminKey": "The admin key was not accepted",
        "TooLarge": "The body is over 16 MiB",
        "ServerError": "An unexpected error before the function ran",
        "Unavailable": "Temporarily unavailable; retry",
    }.items()
}
