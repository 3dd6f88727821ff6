"""The messages of the sync protocol, as the Convex clients send and read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from daysong.kernel.functions.arguments import replace_lone_surrogates
from daysong.kernel.time import timestamps

# Integers that every client represents exactly.
Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
NULL = msgspec.Raw(b"null")
NO_ARGS = msgspec.Raw(b"{}")
Name = Annotated[str, msgspec.Meta(max_length=1024)]


class Connect(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """The first message of a client: its session, and the last timestamp it has seen."""

    session_id: str
    connection_count: float = 0
    max_observed_timestamp: str | None = None
    client_ts: float | None = None


class Authenticate(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """The credentials for the following messages."""

    base_version: Number
    token_type: Literal["User", "Admin", "None"]
    value: str = ""
    impersonating: msgspec.Raw = NULL
    acting_as: msgspec.Raw = msgspec.field(name="acting_as", default=NULL)


class Add(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """A query to subscribe to."""

    query_id: Number
    udf_path: Name
    args: msgspec.Raw = NO_ARGS
    journal: str | None = None
    component_path: str | None = None


class Remove(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """A query to unsubscribe from."""

    query_id: Number


class ModifyQuerySet(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """Changes to the set of subscribed queries."""

    base_version: Number
    new_version: Number
    modifications: list[Add | Remove]


class Request(msgspec.Struct, rename="camel"):
    """A function to run once."""

    request_id: Number
    udf_path: Name
    args: msgspec.Raw = NO_ARGS
    component_path: str | None = None


class Mutation(Request, tag=True, tag_field="type"):
    """A mutation; the mutations of a connection run in order."""


class Action(Request, tag=True, tag_field="type"):
    """An action; it runs concurrently with other requests."""


class Event(msgspec.Struct, tag=True, tag_field="type"):
    """A client's telemetry event; it is ignored."""


Message = Connect | Authenticate | ModifyQuerySet | Mutation | Action | Event
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_encode = msgspec.json.Encoder().encode


class MalformedMessage(Exception):
    """The text is not a message; the error gives the reason and quotes none of it."""


def decode(text: str) -> Message:
    """Decode a client's message. Errors: MalformedMessage."""
    try:
        return _decoder.decode(replace_lone_surrogates(text.encode()))
    except msgspec.ValidationError as error:
        raise MalformedMessage(f"Received a message that does not fit: {error}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise MalformedMessage("Received invalid JSON") from None


_FIELD = re.compile(
    rb'\s*[{,]\s*"(type|requestId|udfPath|componentPath)"\s*:\s*("[^"\\]{0,1024}"|[0-9]{1,16}|null)(?=\s*,)'
)


def partial_request(head: bytes) -> Mutation | Action | None:
    """Return the request at the beginning of a message, without arguments; None when there is none."""
    fields = {}
    position = 0
    while found := _FIELD.match(head, position):
        fields[found[1].decode()] = msgspec.Raw(found[2])
        position = found.end()
    try:
        message = _decoder.decode(_encode(fields))
    except (msgspec.DecodeError, UnicodeError):
        return None
    return message if isinstance(message, Mutation | Action) else None


class Version(msgspec.Struct, frozen=True):
    """The version of a connection: query set, identity, and the timestamp of the results."""

    query_set: int = 0
    identity: int = 0
    ts: int = 0

    def encoded(self) -> dict[str, Any]:
        """Return the version in its wire format."""
        return {"querySet": self.query_set, "identity": self.identity, "ts": timestamps.encode(self.ts)}


PING = '{"type":"Ping"}'


def transition(
    start: Version, end: Version, modifications: Sequence[msgspec.Raw], *, skew: int | None, now: int
) -> str:
    """A Transition: the results that changed between two versions. `skew` in ms, `now` in ns."""
    return _encode_text(
        {
            "type": "Transition",
            "startVersion": start.encoded(),
            "endVersion": end.encoded(),
            "modifications": modifications,
            "clientClockSkew": skew,
            "serverTs": now,
        }
    )


def query_updated(query_id: int, value: bytes | str, log_lines: Sequence[str], journal: str | None) -> msgspec.Raw:
    """The result of a query; `value` is encoded."""
    fields = {"type": "QueryUpdated", "queryId": query_id, "value": msgspec.Raw(value), "logLines": log_lines}
    return msgspec.Raw(_encode(fields | {"journal": journal}))


def query_failed(
    query_id: int, message: str, data: bytes | None, log_lines: Sequence[str], journal: str | None
) -> msgspec.Raw:
    """The failure of a query; `data` is encoded."""
    fields = {"type": "QueryFailed", "queryId": query_id, "errorMessage": message, "logLines": log_lines}
    return msgspec.Raw(_encode(fields | {"journal": journal} | _error_data(data)))


def query_removed(query_id: int) -> msgspec.Raw:
    """A query was unsubscribed."""
    return msgspec.Raw(_encode({"type": "QueryRemoved", "queryId": query_id}))


def succeeded(request: Mutation | Action, result: bytes | str, log_lines: Sequence[str], ts: int | None) -> str:
    """The response with the result of a request, which is encoded; `ts` is that of a mutation's commit."""
    fields = {"type": _response(request), "requestId": request.request_id, "success": True, "logLines": log_lines}
    ts_field = {} if ts is None else {"ts": timestamps.encode(ts)}
    return _encode_text(fields | {"result": msgspec.Raw(result)} | ts_field)


def failed(request: Mutation | Action, message: str, data: bytes | None, log_lines: Sequence[str]) -> str:
    """The response to a failed request; `data` is encoded."""
    fields = {"type": _response(request), "requestId": request.request_id, "success": False, "logLines": log_lines}
    ts_field = {"ts": None} if isinstance(request, Mutation) else {}
    return _encode_text(fields | {"result": message} | ts_field | _error_data(data))


def auth_error(message: str, *, base_version: int, attempted: bool) -> str:
    """The sign-in was refused (`attempted`) or has expired."""
    fields = {"type": "AuthError", "error": message, "baseVersion": base_version, "authUpdateAttempted": attempted}
    return _encode_text(fields)


def fatal_error(message: str) -> str:
    """The client violated the protocol, and does not reconnect."""
    return _encode_text({"type": "FatalError", "error": message})


def _response(request: Mutation | Action) -> str:
    return "MutationResponse" if isinstance(request, Mutation) else "ActionResponse"


def _error_data(data: bytes | None) -> dict[str, Any]:
    return {} if data is None else {"errorData": msgspec.Raw(data)}


def _encode_text(fields: dict[str, Any]) -> str:
    return _encode(fields).decode()
