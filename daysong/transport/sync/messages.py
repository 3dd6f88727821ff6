"""What clients and server say to each other on a socket, as the Convex clients have it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from daysong.kernel.functions.arguments import replace_lone_surrogates
from daysong.kernel.time import timestamps

# Numbers that every client counts exactly.
Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
NOTHING = msgspec.Raw(b"null")
NO_ARGS = msgspec.Raw(b"{}")
Name = Annotated[str, msgspec.Meta(max_length=1024)]


class Connect(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """The first words of a client: which session goes on here, and what it has seen."""

    session_id: str
    connection_count: float = 0
    max_observed_timestamp: str | None = None
    client_ts: float | None = None


class Authenticate(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """Who is speaking from here on."""

    base_version: Number
    token_type: Literal["User", "Admin", "None"]
    value: str = ""
    impersonating: msgspec.Raw = NOTHING
    acting_as: msgspec.Raw = msgspec.field(name="acting_as", default=NOTHING)


class Add(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """A query to subscribe to."""

    query_id: Number
    udf_path: Name
    args: msgspec.Raw = NO_ARGS
    journal: str | None = None
    component_path: str | None = None


class Remove(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """A query of no more interest."""

    query_id: Number


class ModifyQuerySet(msgspec.Struct, tag=True, tag_field="type", rename="camel"):
    """Changes to what is subscribed to."""

    base_version: Number
    new_version: Number
    modifications: list[Add | Remove]


class Request(msgspec.Struct, rename="camel"):
    """A function to be run once."""

    request_id: Number
    udf_path: Name
    args: msgspec.Raw = NO_ARGS
    component_path: str | None = None


class Mutation(Request, tag=True, tag_field="type"):
    """A mutation, in its turn."""


class Action(Request, tag=True, tag_field="type"):
    """An action, beside all else."""


class Event(msgspec.Struct, tag=True, tag_field="type"):
    """A client's telemetry event; it is ignored."""


Message = Connect | Authenticate | ModifyQuerySet | Mutation | Action | Event
_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_encode = msgspec.json.Encoder().encode


class Malformed(Exception):
    """Not a message; the text says why and quotes nothing."""


def decode(text: str) -> Message:
    """A client's message, or Malformed."""
    try:
        return _decoder.decode(replace_lone_surrogates(text.encode()))
    except msgspec.ValidationError as error:
        raise Malformed(f"Received a message that does not fit: {error}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Malformed("Received invalid JSON") from None


_FIELD = re.compile(
    rb'\s*[{,]\s*"(type|requestId|udfPath|componentPath)"\s*:\s*("[^"\\]{0,1024}"|[0-9]{1,16}|null)(?=\s*,)'
)


def beginning(head: bytes) -> Mutation | Action | None:
    """The request, without its arguments, that a message begins with; None when it does not begin as one."""
    fields = {}
    position = 0
    while found := _FIELD.match(head, position):
        fields[found[1].decode()] = msgspec.Raw(found[2])
        position = found.end()
    try:
        said = _decoder.decode(_encode(fields))
    except (msgspec.DecodeError, UnicodeError):
        return None
    return said if isinstance(said, Mutation | Action) else None


class Version(msgspec.Struct, frozen=True):
    """Where a connection stands: query set, identity, and the moment the results are of."""

    query_set: int = 0
    identity: int = 0
    ts: int = 0

    def told(self) -> dict[str, Any]:
        return {"querySet": self.query_set, "identity": self.identity, "ts": timestamps.encode(self.ts)}


PING = '{"type":"Ping"}'


def transition(
    start: Version, end: Version, modifications: Sequence[msgspec.Raw], *, skew: int | None, now: int
) -> str:
    """The results that have changed between two versions. `skew` in ms, `now` in ns."""
    return _text(
        {
            "type": "Transition",
            "startVersion": start.told(),
            "endVersion": end.told(),
            "modifications": modifications,
            "clientClockSkew": skew,
            "serverTs": now,
        }
    )


def query_updated(query_id: int, value: bytes | str, log_lines: Sequence[str], journal: str | None) -> msgspec.Raw:
    """A query's result, given in its form on the wire."""
    told = {"type": "QueryUpdated", "queryId": query_id, "value": msgspec.Raw(value), "logLines": log_lines}
    return msgspec.Raw(_encode(told | {"journal": journal}))


def query_failed(
    query_id: int, message: str, data: bytes | None, log_lines: Sequence[str], journal: str | None
) -> msgspec.Raw:
    """A query's failure; `data` in its form on the wire."""
    told = {"type": "QueryFailed", "queryId": query_id, "errorMessage": message, "logLines": log_lines}
    return msgspec.Raw(_encode(told | {"journal": journal} | _error_data(data)))


def query_removed(query_id: int) -> msgspec.Raw:
    """A query is no more subscribed to."""
    return msgspec.Raw(_encode({"type": "QueryRemoved", "queryId": query_id}))


def succeeded(request: Mutation | Action, result: bytes | str, log_lines: Sequence[str], ts: int | None) -> str:
    """The result of a request, given in its form on the wire; `ts` of a mutation's commit."""
    told = {"type": _response(request), "requestId": request.request_id, "success": True, "logLines": log_lines}
    moment = {} if ts is None else {"ts": timestamps.encode(ts)}
    return _text(told | {"result": msgspec.Raw(result)} | moment)


def failed(request: Mutation | Action, message: str, data: bytes | None, log_lines: Sequence[str]) -> str:
    """The failure of a request; `data` in its form on the wire."""
    told = {"type": _response(request), "requestId": request.request_id, "success": False, "logLines": log_lines}
    moment = {"ts": None} if isinstance(request, Mutation) else {}
    return _text(told | {"result": message} | moment | _error_data(data))


def auth_error(message: str, *, base_version: int, attempted: bool) -> str:
    """The sign-in was refused (`attempted`), or has run out."""
    told = {"type": "AuthError", "error": message, "baseVersion": base_version, "authUpdateAttempted": attempted}
    return _text(told)


def fatal_error(message: str) -> str:
    """The client has broken the protocol, and will not come back."""
    return _text({"type": "FatalError", "error": message})


def _response(request: Mutation | Action) -> str:
    return "MutationResponse" if isinstance(request, Mutation) else "ActionResponse"


def _error_data(data: bytes | None) -> dict[str, Any]:
    return {} if data is None else {"errorData": msgspec.Raw(data)}


def _text(told: dict[str, Any]) -> str:
    return _encode(told).decode()
