from __future__ import annotations

import asyncio
import json
import re
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import UNSET, UnsetType

from daysong.kernel.functions import arguments
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, NoArgs, Result, mutation, query
from daysong.kernel.functions.descriptions import Description, describe
from daysong.kernel.functions.raised import all_errors
from daysong.kernel.functions.registry import Function, Registry, module
from daysong.kernel.values import StoredJson
from daysong.surface import SURFACE
from daysong.transport import refusals
from daysong.transport.conftest import App, MakeApp
from daysong.transport.http import app as http_app
from daysong.transport.http import openapi
from daysong.transport.http.health import Readiness
from rehearsal.world import World

pytestmark = pytest.mark.anyio


class Search(Args):
    """The words to search for."""

    words: Annotated[str, msgspec.Meta(max_length=20)]
    limit: int | None = None


class Line(Result):
    """A line of a song."""

    text: str
    sung_at: float | UnsetType = UNSET


class Nothing(Result):
    """No line."""

    found: bool = False


@query
async def find_lines(ctx: QueryContext, args: Search) -> list[Line]:
    """Lines with those `words`.

    The newest first.
    """
    return []


@query
async def one_line(ctx: QueryContext, args: NoArgs) -> Line | Nothing:
    """A line, if there is one."""
    return Nothing()


songs = module("studio/songs", public=(find_lines, one_line))


@mutation
async def burn(ctx: MutationContext, args: NoArgs) -> None:
    """Not for the public."""


drafts = module("drafts", internal=(burn,))


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    return await make_app(songs, drafts)


async def test_the_document_describes_every_public_function_with_its_types(app: App) -> None:
    document = (await app.client.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert sorted(document["paths"]) == ["/api/run/studio/songs/findLines", "/api/run/studio/songs/oneLine"]
    operation = document["paths"]["/api/run/studio/songs/findLines"]["post"]
    assert operation["summary"] == "Query: Lines with those `words`."
    assert operation["description"] == "The newest first."
    assert re.fullmatch(r"daysong/transport/http/test_app\.py:\d+", operation["x-source"])
    schemas = document["components"]["schemas"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["args"] == {"$ref": "#/components/schemas/Search"}
    assert schemas["Search"]["properties"]["words"] == {"type": "string", "maxLength": 20}
    assert schemas["Search"]["additionalProperties"] is False
    succeeded, failed = operation["responses"]["200"]["content"]["application/json"]["schema"]["oneOf"]
    assert succeeded["properties"]["value"] == {"type": "array", "items": {"$ref": "#/components/schemas/Line"}}
    assert failed == {"$ref": "#/components/schemas/Failed"}
    assert schemas["Line"]["required"] == ["text"]


async def test_g64_the_document_lists_the_errors_of_each_function(world: World) -> None:
    """Error codes and statuses are enums, and descriptions use wire names."""
    document = (await world.http.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]

    def failure(path: str) -> Any:
        operation = document["paths"][f"/api/run/{path}"]["post"]
        return operation["responses"]["200"]["content"]["application/json"]["schema"]["oneOf"][1]

    reference, more = failure("diaries/createDiary")["allOf"]
    assert reference == {"$ref": "#/components/schemas/Failed"}
    codes = ["diary_is_empty", "diary_too_long", "too_many_unwritten", "unauthorized"]
    assert more["properties"]["errorData"]["properties"]["code"]["enum"] == codes
    assert failure("billing/getPlans") == reference
    assert set(codes) <= set(schemas["ErrorCode"]["enum"])
    assert "Content is too long: at most 50,000 characters" in schemas["ErrorCode"]["description"]
    assert "InvalidAuthHeader" in schemas["Refused"]["properties"]["code"]["enum"]
    assert schemas["LibrarySong"]["properties"]["status"]["enum"] == ["failed", "pending", "ready"]
    assert schemas["SubscriptionStatus"]["properties"]["tier"]["enum"] == ["free", "monthly", "weekly", "yearly"]
    for text in ((await world.http.get("/openapi.json")).text, (await world.http.get("/docs")).text):
        kinds = {kind.__name__ for kind in all_errors() if re.search("[a-z][A-Z]", kind.__name__)}
        # The message of a test function begins with its name.
        assert (kinds - {"InvalidCursor"} - refusals.REFUSALS).isdisjoint(re.findall(r"\w+", text))
        assert not re.search(r"\bNone\b|next_cursor|is_private", text)
        assert not re.search(r"((?:`|<code>)\w+(?:`|</code>)),\s+\1", text), "a code is listed twice"
    assert 'Fails with <a href="#error-diary_is_empty"><code>diary_is_empty</code></a>' in text
    assert '<tr id="error-diary_is_empty">' in text


def test_g64_every_refusal_is_in_the_document() -> None:
    """Except those of webhooks, which are for vendors."""
    files = Path(refusals.__file__).parent.rglob("*.py")
    sources = [path.read_text() for path in files if "test" not in path.name and path.parent.name != "webhooks"]
    sources.append(Path(arguments.__file__).read_text())
    found = re.findall(r'(?:Refused|json_reply|response|BadArguments)\((?:[\w.]+, )?"([A-Z]\w+)"', "".join(sources))
    assert len(found) > 15
    assert set(found) <= refusals.REFUSALS


def of_stored_json(kind: type) -> dict[str, Any]:
    """Return a mark for JSON that a query passes on as it is stored; msgspec takes no empty schema."""
    assert kind is StoredJson
    return {"type": "any"}


async def test_schemas_agree_with_msgspecs_own(app: App) -> None:
    """msgspec renders the same types independently."""
    functions = [function for function in Registry(SURFACE) if function.public]
    rendered = openapi.document(describe(functions), app.runtime.settings)["components"]["schemas"]
    kinds = [function.args_type for function in functions]
    for function in functions:
        kinds += typing.get_args(function.result_type) or (function.result_type,)
    _, expected = msgspec.json.schema_components(kinds, ref_template=openapi.REFERENCE, schema_hook=of_stored_json)
    expected = json.loads(json.dumps(expected).replace(json.dumps(of_stored_json(StoredJson)), "{}"))
    assert len(expected) > 50
    for name, schema in expected.items():
        del schema["description"]  # it uses Python names
        assert {key: value for key, value in rendered[name].items() if key != "description"} == schema


async def test_a_union_result_is_rendered_as_any_of(app: App) -> None:
    document = (await app.client.get("/openapi.json")).json()
    answers = document["paths"]["/api/run/studio/songs/oneLine"]["post"]["responses"]["200"]
    succeeded = answers["content"]["application/json"]["schema"]["oneOf"][0]
    assert succeeded["properties"]["value"] == {
        "anyOf": [{"$ref": "#/components/schemas/Line"}, {"$ref": "#/components/schemas/Nothing"}]
    }


async def test_every_reference_in_the_document_resolves(app: App) -> None:
    document = (await app.client.get("/openapi.json")).json()

    def check(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                found = document
                for step in node["$ref"].removeprefix("#/").split("/"):
                    found = found[step]
            for child in node.values():
                check(child)
        elif isinstance(node, list):
            for child in node:
                check(child)

    check(document)


async def test_the_documentation_is_one_page_that_is_whole_without_scripts(app: App) -> None:
    answer = await app.client.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "studio/songs:findLines" in answer.text
    assert "list of <a href=\"#type-Line\">Line</a>" in answer.text  # fmt: skip
    assert '<a href="#studio/songs:oneLine">oneLine</a>' in answer.text
    assert re.search(r"<code>daysong/transport/http/test_app\.py:\d+</code>", answer.text)
    assert "drafts:burn" not in answer.text
    assert answer.text.count("<script") == 1
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_functions_are_described_once_at_the_first_request(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at start, and both documents share the description."""
    made: list[Description] = []

    def counted(functions: Iterable[Function]) -> Description:
        made.append(describe(functions))
        return made[-1]

    monkeypatch.setattr(http_app, "describe", counted)
    app = await make_app(songs, drafts)
    assert made == []
    for path in ("/docs", "/docs/", "/openapi.json", "/openapi.json"):
        assert (await app.client.get(path)).status_code == 200
    assert len(made) == 1


async def test_a_process_is_alive_and_ready(app: App) -> None:
    assert (await app.client.get("/healthz")).json() == {"status": "ok"}
    assert (await app.client.get("/readyz")).json() == {"status": "ready"}


async def test_without_its_database_a_process_is_alive_but_not_ready(app: App) -> None:
    await app.runtime.database.close()
    assert (await app.client.get("/healthz")).status_code == 200
    answer = await app.client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "DatabaseUnavailable")


async def test_with_pending_migrations_a_process_is_not_ready(make_app: MakeApp) -> None:
    async def pending() -> list[str]:
        return ["0002_more.sql"]

    app = await make_app(pending_migrations=pending)
    answer = await app.client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "MigrationsPending")


async def test_health_checks_that_overlap_each_get_the_result_of_theirs(app: App) -> None:
    """Two proxies ask again as soon as they have an answer, so one begins a check before the other has read its own."""
    readiness = Readiness(app.runtime, None)

    async def poll() -> None:
        for _ in range(3):
            await readiness.require()

    await asyncio.gather(poll(), poll())


async def test_a_mounted_app_gets_all_paths_below_its_prefix(make_app: MakeApp) -> None:
    seen: list[str] = []

    async def other(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    app = await make_app(mounts={"/sandbox": other})
    for path in ("/sandbox/suno/api", "/sandbox/", "/sandbox"):
        assert (await app.client.get(path)).status_code == 418
    assert (await app.client.get("/sandboxes")).status_code == 404
    assert seen == ["/suno/api", "/", "/"]


async def test_metrics_have_routes_and_never_request_paths(app: App) -> None:
    for path in ("/share/my-secret-song", "/media/my-secret-file", "/my-secret-page"):
        await app.client.get(path)
    metrics = (await app.client.get("/metrics")).text
    assert 'route="/share/{share_id}"' in metrics
    assert 'route="none"' in metrics
    assert "my-secret" not in metrics


async def test_an_unexpected_error_of_a_route_does_not_reveal_its_message(
    make_app: MakeApp, logged: list[dict[str, Any]]
) -> None:
    async def pending() -> list[str]:
        raise RuntimeError("oysters")

    app = await make_app(pending_migrations=pending)
    answer = await app.client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (500, "InternalServerError")
    assert answer.headers["x-request-id"] in answer.json()["message"]
    assert "oysters" not in answer.text + str(logged)
