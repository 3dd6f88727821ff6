"""The functions over HTTP, as the Convex clients call them and as anybody can with plain JSON.

A function that ran answers 200, whether it returned or failed, since clients read a failure's text only from there.
A request refused before that answers 4xx with `{code, message}`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import msgspec
from litestar.types import Scope

from daysong.kernel import values
from daysong.kernel.functions.arguments import replace_lone_surrogates
from daysong.kernel.functions.context import Caller, Notes
from daysong.kernel.functions.declarations import Kind
from daysong.kernel.functions.registry import Registry
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.time import timestamps
from daysong.kernel.time.clock import Clock, using
from daysong.transport import calls, encoding
from daysong.transport.callers.auth import Authenticator
from daysong.transport.callers.gate import Gate
from daysong.transport.calls import Failure, Success
from daysong.transport.encoding import ResultTooLarge
from daysong.transport.http.edge import note
from daysong.transport.http.routes import Handler, Reply, Request, Route
from daysong.transport.refusals import Refused, unavailable

# What a body may have in bytes besides the largest arguments. A batch has no more than that for all its queries.
ENVELOPE = 64 * 1024
# Of a function, and of all queries of a batch together; in bytes.
LARGEST_RESULT = 16 * 2**20
MAX_BATCH = 100
FORMATS = ("json", "convex_encoded_json")

NO_ARGS = msgspec.Raw(b"{}")

# A clock for one call of that caller, if the request asks for one and may.
ClockFor = Callable[[Scope, Caller], Clock | None]


class Call(msgspec.Struct, rename="camel"):
    """The body of a call. Its arguments are decoded once its function is known, which declares their type."""

    path: str
    args: msgspec.Raw = NO_ARGS
    format: str | None = None
    component_path: str | None = None


class CallAt(Call):
    """The body of a query as of a moment."""

    ts: str = ""


class Run(msgspec.Struct):
    """The body of a call whose function stands in the address."""

    args: msgspec.Raw = NO_ARGS
    format: str | None = None


class Batch(msgspec.Struct):
    """The body of several queries."""

    queries: list[Call]


_call = msgspec.json.Decoder(Call)
_call_at = msgspec.json.Decoder(CallAt)
_run = msgspec.json.Decoder(Run)
_batch = msgspec.json.Decoder(Batch)
_arguments = msgspec.json.Decoder(msgspec.Raw)
_encode = msgspec.json.Encoder().encode


class FunctionsApi:
    """The endpoints under /api."""

    def __init__(
        self,
        runtime: Runtime,
        authenticator: Authenticator,
        *,
        clock_for: ClockFor | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._runtime = runtime
        self._gate = gate
        self._authenticator = authenticator
        self._clock_for = clock_for

    async def _caller(self, request: Request) -> tuple[Caller, Clock | None]:
        caller = await self._authenticator.caller(request.scope, self._runtime.clock.now())
        if self._gate is not None:
            await self._gate.check_account(caller)
        return caller, self._clock_for(request.scope, caller) if self._clock_for else None

    async def call(self, request: Request, kind: Kind | None) -> Reply:
        """Run the function named in the body, as `kind` if one is asked for."""
        caller, clock = await self._caller(request)
        body = _decoded(_call, await request.body())
        return await self._answer(request, _root(body), body.args, body.format, caller, kind, clock)

    async def run(self, request: Request) -> Reply:
        """Run the function named in the address: `<module>/<function>`."""
        caller, clock = await self._caller(request)
        raw = await request.body()
        body = _decoded(_run, raw) if raw else Run()
        module, slash, name = request.parameters["path"].rpartition("/")
        identifier = f"{module}:{name}" if slash else name
        return await self._answer(request, identifier, body.args, body.format, caller, None, clock)

    async def query_in_address(self, request: Request) -> Reply:
        """Run a query named in the address, arguments as JSON beside it."""
        path, args, form = (request.query.get(name) for name in ("path", "args", "format"))
        if path is None:
            raise Refused(400, "BadRequest", "The parameter path is missing")
        caller, clock = await self._caller(request)
        given = _decoded(_arguments, args.encode()) if args else NO_ARGS
        reply = await self._answer(request, path, given, form, caller, Kind.QUERY, clock)
        return reply._replace(headers=((b"cache-control", b"private, no-store"),))

    async def query_at(self, request: Request) -> Reply:
        """Run a query as of a moment. Any earlier moment is answered with the newest, which holds it."""
        caller, clock = await self._caller(request)
        body = _decoded(_call_at, await request.body())
        try:
            timestamps.decode(body.ts)
        except ValueError:
            raise Refused(400, "BadTimestamp", "ts must be base64 of 8 bytes") from None
        return await self._answer(request, _root(body), body.args, body.format, caller, Kind.QUERY, clock)

    async def batch(self, request: Request) -> Reply:
        """Run several queries, all on one state of the data. After one that PostgreSQL fails, the rest fail too."""
        caller, clock = await self._caller(request)
        queries = _decoded(_batch, await request.body()).queries
        if len(queries) > MAX_BATCH:
            raise Refused(400, "TooManyQueries", f"at most {MAX_BATCH} queries at once")
        asked = [(_root(query), query.args, _format(query.format)) for query in queries]
        runtime = self._runtime
        now = (clock or runtime.clock).now()
        results: list[bytes] = []
        left = LARGEST_RESULT
        async with runtime.database.snapshot() as db:
            for path, args, form in asked:
                # A query that is refused waits for nothing, and others are to have their turn.
                await asyncio.sleep(0)
                function, notes = None, Notes()
                ended: Success | Failure
                try:
                    function = runtime.registry.find(path, caller, Kind.QUERY)
                    ended = Success(
                        await runtime.query_on(
                            db, function, calls.decode_args(function, args), caller, now=now, notes=notes
                        ),
                        function,
                        notes.log_lines,
                    )
                except Exception as error:  # noqa: BLE001 - one query's failure is its own answer
                    ended = calls.failure(
                        error, function, production=runtime.settings.production, log_lines=notes.log_lines
                    )
                results.append(await self._told(ended, form, left))
                left -= len(results[-1])
        note(request.scope, kind="Query", queries=len(asked))
        return Reply(b'{"results":[' + b",".join(results) + b"]}")

    async def _answer(
        self,
        request: Request,
        path: str,
        args: msgspec.Raw,
        raw_format: str | None,
        caller: Caller,
        kind: Kind | None,
        clock: Clock | None,
    ) -> Reply:
        form = _format(raw_format)
        viewer = "" if self._gate is None else self._gate.viewer(request.scope)
        with using(clock):
            ended = await calls.call(self._runtime, path, args, caller, kind=kind, viewer=viewer)
        if isinstance(ended, Failure) and ended.malformed:
            raise Refused(400, ended.malformed, ended.message)
        if ended.function is not None:
            note(request.scope, function=ended.function.identifier, kind=ended.function.kind.value)
        note(request.scope, outcome=ended.outcome if isinstance(ended, Failure) else "success")
        if isinstance(ended, Failure) and ended.is_transient:
            raise unavailable()
        return Reply(await self._told(ended, form))

    async def _told(self, ended: Success | Failure, form: values.Format, largest: int = LARGEST_RESULT) -> bytes:
        """The answer as JSON; a result of more than `largest` bytes is a failure."""
        if isinstance(ended, Success):
            try:
                value = encoding.check_size(await encoding.encode(ended.function, ended.value, form), largest)
            except (TypeError, OverflowError, ResultTooLarge) as error:
                ended = calls.failure(error, ended.function, production=self._runtime.settings.production)
            else:
                lines = _encode(ended.log_lines)
                return b'{"status":"success","value":' + value + b',"logLines":' + lines + b"}"
        told: dict[str, Any] = {"status": "error", "errorMessage": ended.message, "logLines": ended.log_lines}
        if ended.data is not None:
            told["errorData"] = values.encode(ended.data, form)
        return _encode(told)

    async def timestamp(self, _: Request) -> Reply:
        """A moment later than all before, as sockets have them."""
        return Reply(_encode({"ts": timestamps.encode(self._runtime.timestamps.next())}))

    def routes(self) -> list[Route]:
        """The routes."""
        largest = largest_body(self._runtime.registry)

        def kind_of_call(kind: Kind | None) -> Handler:
            return lambda request: self.call(request, kind)

        return [
            Route("POST", "/api/query", kind_of_call(Kind.QUERY), largest),
            Route("POST", "/api/mutation", kind_of_call(Kind.MUTATION), largest),
            Route("POST", "/api/action", kind_of_call(Kind.ACTION), largest),
            Route("POST", "/api/function", kind_of_call(None), largest),
            Route("POST", "/api/run/{path:path}", self.run, largest),
            Route("GET", "/api/query", self.query_in_address, largest),
            Route("POST", "/api/query_batch", self.batch, largest),
            Route("POST", "/api/query_ts", self.timestamp, largest),
            Route("POST", "/api/query_at_ts", self.query_at, largest),
        ]


def largest_body(registry: Registry) -> int:
    """How many bytes the body of a call may have."""
    return registry.largest + ENVELOPE


def _decoded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(replace_lone_surrogates(body))
    except msgspec.ValidationError as error:
        raise Refused(400, "BadRequest", f"The request does not fit: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, "BadJsonBody", f"The request is not valid JSON: {error}") from None
    except RecursionError:
        raise Refused(400, "BadJsonBody", "The request is nested too deeply") from None


def _root(body: Call) -> str:
    if body.component_path:
        raise Refused(400, "BadComponentPath", "There are no components here")
    return body.path


def _format(name: str | None) -> values.Format:
    if name is None:
        return "json"
    if name not in FORMATS:
        raise Refused(400, "BadFormat", f"format must be one of {', '.join(FORMATS)}")
    return cast("values.Format", name)
