"""The HTTP API of the functions, for the Convex clients and for plain JSON.

The response is 200 when the function ran, also when it failed, since clients read the error message only from a 200. A
request that is refused earlier gets a 4xx with `{code, message}`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

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
from daysong.transport.http.edge import add_log_fields
from daysong.transport.http.routes import Reply, Request, Route
from daysong.transport.refusals import Refused, unavailable

# Bytes of a body besides the largest arguments; also of a batch with all its queries.
ENVELOPE = 64 * 1024
# Bytes of one result, and of all results of a batch.
LARGEST_RESULT = 16 * 2**20
MAX_BATCH = 100
FORMATS: Mapping[str | None, values.Format] = {
    None: "json", "json": "json", "convex_encoded_json": "convex_encoded_json",
}  # fmt: skip

NO_ARGS = msgspec.Raw(b"{}")

# Returns the clock of a request that sets its own, if the caller may.
ClockFor = Callable[[Scope, Caller], Clock | None]


class Call(msgspec.Struct, rename="camel"):
    """The body of a call. The arguments are decoded later, by the type that the function declares."""

    path: str
    args: msgspec.Raw = NO_ARGS
    format: str | None = None
    component_path: str | None = None


class CallAt(Call):
    """The body of a query at a timestamp."""

    ts: str = ""


class Run(msgspec.Struct):
    """The body of a call whose function is named in the URL."""

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

    def _known(self, request: Request) -> Caller | None:
        """Return the caller of a request whose token is known and whose call is within the limit; None for others."""
        caller = self._authenticator.known(request.scope, self._runtime.clock.now())
        return None if caller is None or (self._gate is not None and not self._gate.counts(caller)) else caller

    async def _caller(self, request: Request) -> Caller:
        now = self._runtime.clock.now()
        caller = self._authenticator.known(request.scope, now) or await self._authenticator.caller(request.scope, now)
        if self._gate is not None:
            await self._gate.check_account(caller)
        return caller

    async def call(self, request: Request, kind: Kind | None) -> Reply:
        """Run the function named in the body, as `kind` if given."""
        caller = self._known(request) or await self._caller(request)
        body = _decoded(_call, await request.body())
        return await self._answer(request, _path_of(body), body.args, body.format, caller, kind)

    async def run(self, request: Request) -> Reply:
        """Run the function named in the URL: `<module>/<function>`."""
        caller = await self._caller(request)
        raw = await request.body()
        body = _decoded(_run, raw) if raw else Run()
        module, slash, name = request.parameters["path"].rpartition("/")
        identifier = f"{module}:{name}" if slash else name
        return await self._answer(request, identifier, body.args, body.format, caller, None)

    async def query_by_url(self, request: Request) -> Reply:
        """Run a query named in the URL's parameters, with arguments as JSON."""
        path, args, form = (request.query.get(name) for name in ("path", "args", "format"))
        if path is None:
            raise Refused(400, "BadRequest", "The parameter path is missing")
        caller = await self._caller(request)
        arguments = _decoded(_arguments, args.encode()) if args else NO_ARGS
        reply = await self._answer(request, path, arguments, form, caller, Kind.QUERY)
        return msgspec.structs.replace(reply, headers=((b"cache-control", b"private, no-store"),))

    async def query_at(self, request: Request) -> Reply:
        """Run a query at a timestamp. The newest state is used, which includes every earlier one."""
        caller = await self._caller(request)
        body = _decoded(_call_at, await request.body())
        try:
            timestamps.decode(body.ts)
        except ValueError:
            raise Refused(400, "BadTimestamp", "ts must be base64 of 8 bytes") from None
        return await self._answer(request, _path_of(body), body.args, body.format, caller, Kind.QUERY)

    async def batch(self, request: Request) -> Reply:
        """Run several queries in one snapshot. After a database error in one, the rest fail too."""
        caller = await self._caller(request)
        queries = _decoded(_batch, await request.body()).queries
        if len(queries) > MAX_BATCH:
            raise Refused(400, "TooManyQueries", f"at most {MAX_BATCH} queries at once")
        parsed = [(_path_of(query), query.args, _format(query.format)) for query in queries]
        runtime = self._runtime
        clock = None if self._clock_for is None else self._clock_for(request.scope, caller)
        now = (clock or runtime.clock).now()
        results: list[bytes] = []
        budget = LARGEST_RESULT
        async with runtime.database.snapshot() as db:
            for path, args, form in parsed:
                # Yield: a query that is refused awaits nothing.
                await asyncio.sleep(0)
                function, notes = None, Notes()
                result: Success | Failure
                try:
                    function = runtime.registry.find(path, caller, Kind.QUERY)
                    result = Success(
                        await runtime.query_on(
                            db, function, calls.decode_args(function, args), caller, now=now, notes=notes
                        ),
                        function,
                        notes.log_lines,
                    )
                except Exception as error:  # noqa: BLE001 - other queries still run
                    result = calls.failure(
                        error, function, production=runtime.settings.production, log_lines=notes.log_lines
                    )
                results.append(await self._encode_result(result, form, budget))
                budget -= len(results[-1])
        add_log_fields(request.scope, kind="Query", queries=len(parsed))
        return Reply(b'{"results":[' + b",".join(results) + b"]}")

    async def _answer(
        self,
        request: Request,
        path: str,
        args: msgspec.Raw,
        raw_format: str | None,
        caller: Caller,
        kind: Kind | None,
    ) -> Reply:
        form = _format(raw_format)
        # A query is not counted by address.
        viewer = "" if self._gate is None or kind is Kind.QUERY else self._gate.viewer(request.scope)
        clock = None if self._clock_for is None else self._clock_for(request.scope, caller)
        called = calls.call(self._runtime, path, args, caller, kind=kind, viewer=viewer)
        if clock is None:
            result = await called
        else:
            with using(clock):
                result = await called
        outcome = "success"
        if isinstance(result, Failure):
            if result.malformed:
                raise Refused(400, result.malformed, result.message)
            outcome = result.outcome
        if (function := result.function) is None:
            add_log_fields(request.scope, outcome=outcome)
        else:
            add_log_fields(request.scope, function=function.identifier, kind=function.kind_name, outcome=outcome)
        if isinstance(result, Failure) and result.is_transient:
            raise unavailable()
        return Reply(await self._encode_result(result, form))

    async def _encode_result(
        self, result: Success | Failure, form: values.Format, largest: int = LARGEST_RESULT
    ) -> bytes:
        """Return the response body; a result over `largest` bytes becomes a failure."""
        if isinstance(result, Success):
            try:
                encoded = encoding.encode_small(result.function, result.value, form)
                if encoded is None:
                    encoded = await encoding.encode(result.function, result.value, form)
                value = encoding.check_size(encoded, largest)
            except (TypeError, OverflowError, ResultTooLarge) as error:
                result = calls.failure(error, result.function, production=self._runtime.settings.production)
            else:
                lines = _encode(result.log_lines) if result.log_lines else b"[]"
                return b"".join((b'{"status":"success","value":', value, b',"logLines":', lines, b"}"))
        body: dict[str, Any] = {"status": "error", "errorMessage": result.message, "logLines": result.log_lines}
        if result.data is not None:
            body["errorData"] = values.encode(result.data, form)
        return _encode(body)

    async def timestamp(self, _: Request) -> Reply:
        """Return a timestamp later than all before, as on sockets."""
        return Reply(_encode({"ts": timestamps.encode(self._runtime.timestamps.next())}))

    def routes(self) -> list[Route]:
        """Return the routes."""
        largest = largest_body(self._runtime.registry)

        return [
            Route("POST", "/api/query", partial(self.call, kind=Kind.QUERY), largest),
            Route("POST", "/api/mutation", partial(self.call, kind=Kind.MUTATION), largest),
            Route("POST", "/api/action", partial(self.call, kind=Kind.ACTION), largest),
            Route("POST", "/api/function", partial(self.call, kind=None), largest),
            Route("POST", "/api/run/{path:path}", self.run, largest),
            Route("GET", "/api/query", self.query_by_url, largest),
            Route("POST", "/api/query_batch", self.batch, largest),
            Route("POST", "/api/query_ts", self.timestamp, largest),
            Route("POST", "/api/query_at_ts", self.query_at, largest),
        ]


def largest_body(registry: Registry) -> int:
    """Return the largest body of a call, in bytes."""
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


def _path_of(body: Call) -> str:
    if body.component_path:
        raise Refused(400, "BadComponentPath", "There are no components here")
    return body.path


def _format(name: str | None) -> values.Format:
    if (found := FORMATS.get(name)) is None:
        raise Refused(400, "BadFormat", f"format must be one of {', '.join(filter(None, FORMATS))}")
    return found
