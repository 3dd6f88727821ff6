from __future__ import annotations

import base64
import json
import math
import re
import struct
from typing import Any

import httpx2
import pytest

from daysong.kernel.errors import ExpectedError, TooBusy, VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, NoArgs, Result, action, mutation, query
from daysong.kernel.functions.registry import module
from daysong.kernel.ids import UserId
from daysong.kernel.values import Int64
from daysong.transport.conftest import ADMIN_KEY, App, MakeApp, Token, admin, bearer

pytestmark = pytest.mark.anyio


class Echo(Args):
    """Anything."""

    value: Any = None


class AddUser(Args):
    """The user to add."""

    clerk_id: str
    then_fail: bool = False


class SongLimitReached(ExpectedError):
    """Too many songs."""

    code = "song_limit_reached"
    default_message = "That was your last song"


class AddedUser(Result):
    """The new row."""

    user_id: str
    count: int


@query
async def echo(ctx: QueryContext, args: Echo) -> Any:
    """Return `value`."""
    return args.value


@mutation
async def echo_mutation(ctx: MutationContext, args: Echo) -> Any:
    """Return `value`, from a mutation."""
    return args.value


@action
async def echo_action(ctx: ActionContext, args: Echo) -> Any:
    """Return `value`, from an action."""
    return args.value


@query
async def special(ctx: QueryContext, args: NoArgs) -> dict[str, Any]:
    """Return one of every kind of value that JSON does not have."""
    return {"int": Int64(7), "nan": math.nan, "zero": -0.0, "bytes": b"\x00\xff", "whole": 5, "true": True}


@query
async def unencodable(ctx: QueryContext, args: NoArgs) -> Any:
    """Return a value that cannot be encoded."""
    return object()


@query
async def secret(ctx: QueryContext, args: NoArgs) -> str:
    """Internal."""
    return "internal-ok"


@query
async def who(ctx: QueryContext, args: NoArgs) -> str | None:
    """Return the caller's subject."""
    return ctx.caller.subject


values_module = module(
    "values", public=(echo, echo_mutation, echo_action, special, unencodable, who), internal=(secret,)
)


@query
async def expected(ctx: QueryContext, args: NoArgs) -> None:
    """Fail with an expected error."""
    raise SongLimitReached


@query
async def unexpected(ctx: QueryContext, args: Echo) -> None:
    """Fail with an unexpected error that quotes the argument."""
    raise RuntimeError(f"cannot stomach {args.value}")


@action
async def vendor(ctx: ActionContext, args: NoArgs) -> None:
    """Fail with a vendor's error."""
    raise VendorError("suno", "answered 500", permanent=False)


@mutation
async def busy(ctx: MutationContext, args: NoArgs) -> None:
    """Fail with too many conflicts."""
    raise TooBusy("Too many changes to the same data at once. Please try again.")


errors_module = module("errors", public=(expected, unexpected, vendor, busy))


@mutation
async def add(ctx: MutationContext, args: AddUser) -> AddedUser:
    """Add a user, and optionally fail afterwards."""
    user_id = UserId.new(ctx.now)
    await ctx.db.execute(
        "insert into users (id, clerk_id, created_at, updated_at) values ($1, $2, $3, $3)",
        user_id, args.clerk_id, ctx.now,
    )  # fmt: skip
    if args.then_fail:
        raise SongLimitReached
    return AddedUser(user_id=user_id, count=1)


@query
async def count(ctx: QueryContext, args: AddUser) -> int:
    """Count the users with that id."""
    found: int = await ctx.db.fetchval("select count(*) from users where clerk_id = $1", args.clerk_id)
    return found


users_module = module("service/people/admin", public=(add, count))


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    return await make_app(values_module, errors_module, users_module)


@pytest.fixture
async def production(make_app: MakeApp) -> App:
    return await make_app(values_module, errors_module, production=True)


async def raw(app: App, path: str, body: Any, **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await app.client.post(path, content=content, headers=headers)


@pytest.mark.parametrize(
    ("kind", "name"), [("query", "echo"), ("mutation", "echoMutation"), ("action", "echoAction"), ("function", "echo")]
)
async def test_a_function_of_each_kind_answers_with_its_value(app: App, kind: str, name: str) -> None:
    answer = await app.call(kind, f"values:{name}", {"value": {"line": "Rain."}})
    assert answer == {"status": "success", "value": {"line": "Rain."}, "logLines": []}


async def test_arguments_may_be_an_object_or_an_array_of_one(app: App) -> None:
    arguments: list[Any] = [{"value": "x"}, [{"value": "x"}]]
    for args in arguments:
        answer = await raw(app, "/api/query", {"path": "values:echo", "args": args})
        assert answer.json()["value"] == "x"
    empty: list[Any] = [{}, [], [{}]]
    for args in empty:
        answer = await raw(app, "/api/query", {"path": "values:who", "args": args})
        assert answer.json()["status"] == "success"


async def test_arguments_may_be_left_out(app: App) -> None:
    answer = await raw(app, "/api/query", {"path": "values:who", "format": "json"})
    assert answer.json()["status"] == "success"


async def test_numbers_are_written_as_floats(app: App) -> None:
    answer = await raw(
        app, "/api/query", {"path": "values:echo", "args": {"value": [5, 1e21]}, "format": "convex_encoded_json"}
    )
    assert '"value":[5.0,1e21]' in answer.text


async def test_encoded_json_preserves_every_kind_of_value(app: App) -> None:
    value = (await app.call("query", "values:special"))["value"]
    assert value == {
        "int": {"$integer": "BwAAAAAAAAA="},
        "nan": {"$float": base64.b64encode(struct.pack("<d", math.nan)).decode()},
        "zero": {"$float": "AAAAAAAAAIA="},
        "bytes": {"$bytes": "AP8="},
        "whole": 5.0,
        "true": True,
    }


async def test_plain_json_is_the_default(app: App) -> None:
    answer = await raw(app, "/api/query", {"path": "values:special", "args": {}})
    assert answer.json()["value"] == {
        "int": "7", "nan": "NaN", "zero": 0.0, "bytes": "AP8=", "whole": 5.0, "true": True
    }  # fmt: skip


async def test_encoded_arguments_round_trip(app: App) -> None:
    value = {"n": {"$integer": "BwAAAAAAAAA="}, "text": "naïve 🎵", "deep": [[None, {"": 1.5}]]}
    assert (await app.call("query", "values:echo", {"value": value}))["value"] == value


@pytest.mark.parametrize("path", ["values.js:echo", "values:echo"])
async def test_a_module_may_be_named_by_its_file(app: App, path: str) -> None:
    assert (await app.call("query", path))["status"] == "success"


async def test_a_call_without_a_function_name_means_the_default_export(app: App) -> None:
    answer = await app.call("query", "values")
    assert answer["errorMessage"] == "Could not find public function for 'values:default'."


async def test_an_expected_failure_has_a_message_and_data(app: App) -> None:
    answer = await app.call("query", "errors:expected")
    assert answer["status"] == "error"
    assert re.fullmatch(
        r"\[Request ID: [0-9a-f]{16}\] Server Error\nUncaught Error: That was your last song", answer["errorMessage"]
    )
    assert answer["errorData"] == {"code": "song_limit_reached", "message": "That was your last song"}


async def test_production_shows_expected_failures_too(production: App) -> None:
    answer = await production.call("query", "errors:expected")
    assert answer["errorMessage"].endswith("Uncaught Error: That was your last song")
    assert answer["errorData"]["code"] == "song_limit_reached"


async def test_an_unexpected_failure_shows_its_message_in_development_only(app: App) -> None:
    answer = await app.call("query", "errors:unexpected", {"value": "oysters"})
    assert answer["errorMessage"].endswith("Server Error\nUncaught Error: cannot stomach oysters")
    assert "errorData" not in answer


@pytest.mark.parametrize(("kind", "name"), [("query", "unexpected"), ("action", "vendor")])
async def test_production_hides_the_message_of_unexpected_failures(production: App, kind: str, name: str) -> None:
    answer = await production.call(kind, f"errors:{name}")
    assert re.fullmatch(r"\[Request ID: [0-9a-f]{16}\] Server Error", answer["errorMessage"])
    assert "errorData" not in answer


async def test_a_result_that_cannot_be_encoded_is_a_failure(app: App, logged: list[dict[str, Any]]) -> None:
    answer = await app.call("query", "values:unencodable")
    assert answer["status"] == "error"
    assert any(line["event"] == "function failed" for line in logged)


async def test_unknown_and_internal_functions_look_the_same(app: App) -> None:
    for name in ("noSuch:fn", "values:secret"):
        answer = await app.call("query", name)
        assert answer["errorMessage"] == f"Could not find public function for '{name}'."
        assert "errorData" not in answer


async def test_the_admin_key_may_call_internal_functions(app: App) -> None:
    for kind in ("query", "function"):
        assert (await app.call(kind, "values:secret", headers=admin()))["value"] == "internal-ok"


async def test_a_call_of_the_wrong_kind_names_the_right_one(app: App) -> None:
    answer = await app.call("query", "values:echoMutation")
    assert answer["errorMessage"] == (
        "Trying to execute values:echoMutation as Query, but it is defined as Mutation."
    )  # fmt: skip


async def test_argument_errors_are_shown_in_production_too(production: App) -> None:
    answer = await production.call("query", "values:echo", {"valeu": 1})
    assert answer["errorMessage"].startswith("ArgumentValidationError: Object contains extra field `valeu`")


async def test_a_call_with_too_many_conflicts_may_be_retried(production: App) -> None:
    answer = await production.client.post("/api/mutation", json={"path": "errors:busy", "args": {}})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_a_failed_mutation_is_rolled_back(app: App) -> None:
    who = "rolled-back"
    failed = await app.call("mutation", "service/people/admin:add", {"clerkId": who, "thenFail": True})
    assert failed["status"] == "error"
    assert (await app.call("query", "service/people/admin:count", {"clerkId": who}))["value"] == 0
    await app.call("mutation", "service/people/admin:add", {"clerkId": who})
    assert (await app.call("query", "service/people/admin:count", {"clerkId": who}))["value"] == 1


async def test_a_double_slash_is_accepted(app: App) -> None:
    answer = await raw(app, "https://daysong.test//api/query", {"path": "values:echo", "args": {}})
    assert answer.json()["status"] == "success"


async def test_a_query_can_be_a_get(app: App) -> None:
    answer = await app.client.get("/api/query", params={"path": "values:echo", "args": '{"value": [1, "a"]}'})
    assert answer.json() == {"status": "success", "value": [1.0, "a"], "logLines": []}
    assert answer.headers["cache-control"] == "private, no-store"
    encoded = await app.client.get("/api/query", params={"path": "values:special", "format": "convex_encoded_json"})
    assert encoded.json()["value"]["int"] == {"$integer": "BwAAAAAAAAA="}
    mutation = await app.client.get("/api/query", params={"path": "values:echoMutation"})
    assert "defined as Mutation" in mutation.json()["errorMessage"]


@pytest.mark.parametrize("params", [{}, {"path": "values:echo", "args": "{"}, {"path": "values:echo", "format": "x"}])
async def test_a_bad_get_is_refused(app: App, params: dict[str, str]) -> None:
    answer = await app.client.get("/api/query", params=params)
    assert answer.status_code == 400
    assert set(answer.json()) == {"code", "message"}


async def test_a_function_has_its_own_path(app: App) -> None:
    answer = await raw(app, "/api/run/values/echo", {"args": {"value": 2}})
    assert answer.json() == {"status": "success", "value": 2.0, "logLines": []}
    deep = await raw(app, "/api/run/service/people/admin/count", {"args": {"clerkId": "user_none"}, "format": "json"})
    assert deep.json()["value"] == 0
    empty = await raw(app, "/api/run/values/who", b"")
    assert empty.json()["status"] == "success"
    hidden = await raw(app, "/api/run/values/secret", {})
    assert "Could not find public function for 'values:secret'" in hidden.json()["errorMessage"]
    shown = await raw(app, "/api/run/values/secret", {}, **admin())
    assert shown.json()["value"] == "internal-ok"


async def test_a_batch_has_one_result_per_query(app: App) -> None:
    answer = await raw(
        app,
        "/api/query_batch",
        {
            "queries": [
                {"path": "values:echo", "args": [{"value": 1}], "format": "convex_encoded_json"},
                {"path": "errors:expected", "args": {}},
                {"path": "values:echoMutation", "args": {}},
                {"path": "service/people/admin:count", "args": {"clerkId": "user_none"}},
            ]
        },
    )
    first, second, third, fourth = answer.json()["results"]
    assert first == {"status": "success", "value": 1.0, "logLines": []}
    assert second["errorData"]["code"] == "song_limit_reached"
    assert "defined as Mutation" in third["errorMessage"]
    assert fourth["value"] == 0


async def test_a_query_can_run_at_a_timestamp(app: App) -> None:
    moment = (await app.client.post("/api/query_ts")).json()["ts"]
    assert 0 < int.from_bytes(base64.b64decode(moment), "little") < 2**63
    answer = await raw(app, "/api/query_at_ts", {"path": "values:echo", "args": [{"value": "x"}], "ts": moment})
    assert answer.json()["value"] == "x"


async def test_every_response_has_the_request_id_of_its_error(app: App) -> None:
    answer = await raw(app, "/api/query", {"path": "errors:expected"})
    assert answer.headers["x-request-id"] in answer.json()["errorMessage"]
    assert (await app.client.get("/empty")).headers["x-request-id"] != answer.headers["x-request-id"]


async def test_a_request_has_one_log_line_without_its_contents(
    app: App, token: Token, logged: list[dict[str, Any]]
) -> None:
    signed = token("alice", email="alice@example.org")
    for name in ("values:echo", "errors:unexpected", "no:such-oysters"):
        await app.call("query", name, {"value": "oysters"}, headers=bearer(signed))
    lines = [line for line in logged if line["event"] == "request"]
    assert [(line.get("function"), line.get("kind"), line["outcome"], line["status"]) for line in lines] == [
        ("values:echo", "Query", "success", 200),
        ("errors:unexpected", "Query", "failed", 200),
        (None, None, "refused", 200),
    ]
    assert all(line["ms"] >= 0 and line["route"] == "/api/query" for line in lines)
    everything = str(logged)
    for secret_text in ("oysters", signed, ADMIN_KEY, "alice"):
        assert secret_text not in everything


async def test_calls_are_counted_by_function(app: App) -> None:
    await app.call("query", "values:echo")
    metrics = (await app.client.get("/metrics")).text
    assert 'daysong_function_seconds_count{function="values:echo",kind="Query",outcome="success"}' in metrics
    assert 'daysong_http_request_seconds_count{method="POST",route="/api/query",status="200"}' in metrics
