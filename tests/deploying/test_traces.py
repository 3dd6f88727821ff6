"""Traces, as a collector of OpenTelemetry's protocol receives them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from daysong.kernel import logs
from daysong.kernel.monitoring import trace_export, tracing
from daysong.transport.http.edge import Edge
from rehearsal.calls.phones import ALICES, answers, has_agreed, until_due, wants_calls
from rehearsal.world import ADMIN_KEY, HASH_KEY, Person, World

pytestmark = pytest.mark.anyio

DIARY = "Rain on the roof, and Mia laughed at the kettle."


class Collector:
    """What a collector received; `spans` stops the tracer, which sends what is left."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.services: set[str] = set()

    def spans(self) -> list[Any]:
        """Return all spans, as one list."""
        tracing.stop()
        found = []
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.services.update(
                    each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
                )
                for scope in resource.scope_spans:
                    found += scope.spans
        return found


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector on the loopback, and traces that go there."""
    received = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                received.bodies.append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert trace_export.start(environ) is None
    try:
        yield received
    finally:
        tracing.stop()
        server.shutdown()
        server.server_close()


def attributes(span: Any) -> dict[str, Any]:
    """Return the attributes of a span."""
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def of_one_trace(spans: list[Any], name: str) -> list[Any]:
    """Return the spans of the trace that the first span of that name is in, earliest first."""
    names = {span.name: span.trace_id for span in reversed(spans)}
    assert name in names, sorted(names)
    trace = names[name]
    return sorted((span for span in spans if span.trace_id == trace), key=lambda span: span.start_time_unix_nano)


def assert_private(spans: list[Any], *private: str) -> None:
    """Nothing that was exported holds any of these texts, nor a name or attribute that is not foreseen."""
    text = "\n".join(str(span) for span in spans)
    for one in private:
        assert one
        assert one not in text, one
    allowed = set(tracing.ATTRIBUTES.values())
    assert {key for span in spans for key in attributes(span)} <= allowed
    assert not any(span.events or span.status.message or span.trace_state for span in spans)


async def test_a_song_is_one_trace_from_the_request_to_the_callback(
    world: World, alice: Person, unread_entries: None, collector: Collector
) -> None:
    """Request, jobs, OpenAI, Suno, its callback, and what follows until the song is ready and copied."""
    await alice.action("music:startDiaryMusicGeneration", content=DIARY, style="hummed by Mia")
    await world.settle()
    generation = await world.db.pool.fetchrow("select * from generations")
    assert generation["status"] == "ready"
    secrets = [ADMIN_KEY, HASH_KEY, generation["callback_secret"], generation["id"], generation["user_id"]]
    private = [DIARY, "Mia", "user_alice", "alice@example.test", "eyJ", generation["title"], generation["task_id"]]

    spans = collector.spans()
    assert_private(spans, *secrets, *private)
    assert collector.services == {"daysong"}
    trace = of_one_trace(spans, "music:startDiaryMusicGeneration")
    names = [span.name for span in trace]
    in_order = [
        "POST /api/action", "music:startDiaryMusicGeneration", "job musicActions:requestSunoGeneration", "openai",
        "suno", "webhook suno", "job webhooks:handleSunoEvent", "job music:checkAudio",
        "job music:copyFiles",
    ]  # fmt: skip
    places = [names.index(name) for name in in_order]
    assert places == sorted(places), names
    # All hang together: each has its parent in the trace, and only the request has none.
    known = {span.span_id for span in trace}
    assert [span.name for span in trace if span.parent_span_id not in known] == ["POST /api/action"]
    described = {span.name: attributes(span) for span in trace}
    assert described["POST /api/action"]["http.response.status_code"] == 200
    assert described["openai"] | {"daysong.vendor": "openai", "daysong.outcome": "2xx"} == described["openai"]
    assert described["job musicActions:requestSunoGeneration"]["daysong.job.attempt"] == 1
    assert described["webhook suno"]["daysong.outcome"] == "new"
    # The id in log lines and error messages finds the trace.
    request = await world.db.pool.fetchval("select request_id from jobs where function like '%requestSuno%'")
    assert {described[name]["daysong.request_id"] for name in in_order[:3:2]} == {request}


async def test_a_failing_vendor_is_seen_in_each_attempt(
    world: World, alice: Person, unread_entries: None, collector: Collector
) -> None:
    """The attempts of a job are spans of one trace, marked as failed; vendors are sent no `traceparent`."""
    await world.fault("openai", status=500, times=1)
    await alice.action("music:startDiaryMusicGeneration", content=DIARY)
    await world.settle()
    await world.pass_time(timedelta(seconds=5))
    await world.settle()
    trace = of_one_trace(collector.spans(), "music:startDiaryMusicGeneration")
    jobs = [span for span in trace if span.name == "job musicActions:requestSunoGeneration"]
    assert [(attributes(job)["daysong.job.attempt"], job.status.code) for job in jobs] == [(1, 2), (2, 0)]
    outcomes = [attributes(span)["daysong.outcome"] for span in trace if span.name == "openai"]
    assert outcomes == ["5xx", "2xx"]


async def test_a_call_continues_its_trace_with_its_report(world: World, alice: Person, collector: Collector) -> None:
    """From the job that dials to the webhooks of VAPI, the entry and its song; no phone number is in it."""
    await wants_calls(alice)
    await has_agreed(world)
    await answers(world, "talks")
    await until_due(world)
    await world.settle()
    call = await world.db.pool.fetchrow("select * from call_jobs")
    assert call["status"] == "completed"
    spans = collector.spans()
    assert_private(spans, ALICES, ALICES[1:], call["id"], call["vapi_call_id"], call["user_id"], "alice")
    names = [span.name for span in of_one_trace(spans, "job service/vapi/executor:processCallJob")]
    in_order = ["job service/vapi/executor:processCallJob", "vapi", "webhook vapi", "job webhooks:handleVapiEvent"]
    places = [names.index(name) for name in in_order]
    assert places == sorted(places), names
    assert "suno" in names


async def test_a_health_check_has_no_span_and_changes_no_other(collector: Collector) -> None:
    """A pipelined one starts in the context of the request before it, whose span may be the current one."""

    async def unready(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": []})

    async def ignore(_: Any) -> None:
        return

    with tracing.span("before", parent=None):
        scope: Any = {"type": "http", "method": "GET", "path": "/readyz", "headers": []}
        await Edge(cast("Any", unready))(scope, cast("Any", None), ignore)
    assert [(span.name, attributes(span)) for span in collector.spans()] == [("before", {})]


def test_traces_are_off_without_a_collector_or_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is one object for every span, and nothing is stored with jobs."""
    asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    for environ in (
        {}, asked | {"OTEL_SDK_DISABLED": "true"}, asked | {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SERVICE_NAME": "songs"},
    ):  # fmt: skip
        assert trace_export.start(environ) is None
        assert not tracing.is_on()
    assert "http/protobuf" in (trace_export.start(asked | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) or "")
    monkeypatch.setattr(trace_export, "is_installed", lambda: False)
    assert trace_export.INSTALL in (trace_export.start(asked) or "")
    assert tracing.span("job x", parent=None, function="x") is tracing.OFF
    assert tracing.current() is None
    with logs.request_scope("00aa11bb22cc33dd"), tracing.span("x"):
        tracing.annotate(outcome="done")
