"""Errors are reported to a server of Sentry's protocol, played here."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from prometheus_client import REGISTRY

from daysong.kernel.monitoring import error_reports
from daysong.kernel.monitoring.error_reports import Reporter, target_of


@pytest.fixture
def collector() -> Iterator[tuple[str, queue.Queue[tuple[str, str, list[dict[str, Any]]]]]]:
    """The DSN of a server that collects reports, and what it has received."""
    received: queue.Queue[tuple[str, str, list[dict[str, Any]]]] = queue.Queue()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            lines = [json.loads(line) for line in body.splitlines()]
            received.put((self.path, self.headers["X-Sentry-Auth"], lines))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://publickey@127.0.0.1:{server.server_port}/7", received
    finally:
        server.shutdown()
        server.server_close()


def test_an_error_is_reported_with_the_fields_of_its_line(
    collector: tuple[str, queue.Queue[tuple[str, str, list[dict[str, Any]]]]],
) -> None:
    """A warning is not; the line goes on to the log unchanged."""
    dsn, received = collector
    report = Reporter(dsn, "production")
    report(None, "warning", {"event": "worker restarting", "level": "warning"})
    line = {"event": "function failed", "level": "error", "part": "calls", "function": "music:x", "request_id": "r1"}
    assert report(None, "error", dict(line)) == line
    path, auth, [header, kind, event] = received.get(timeout=10)
    assert path == "/api/7/envelope/"
    assert "sentry_key=publickey" in auth
    assert kind == {"type": "event"}
    assert header["event_id"] == event["event_id"]
    assert (event["level"], event["logger"], event["message"]) == ("error", "calls", {"formatted": "function failed"})
    assert event["tags"] == {"function": "music:x", "request_id": "r1"}
    assert event["environment"] == "production"
    assert received.empty()


def test_a_server_that_is_away_delays_nothing_and_a_flood_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond the limit of a minute is dropped, and counted."""
    monkeypatch.setattr(error_reports, "A_MINUTE", 3)

    def dropped() -> float:
        return REGISTRY.get_sample_value("daysong_error_reports_total", {"outcome": "dropped"}) or 0

    before = dropped()
    report = Reporter("http://key@127.0.0.1:9/1", "production")
    for _ in range(10):
        report(None, "error", {"event": "function failed", "level": "error"})
    assert dropped() - before >= 6  # a minute may begin meanwhile


@pytest.mark.parametrize("wrong", ["", "https://sentry.example.com/1", "https://key@sentry.example.com/", "key"])
def test_a_dsn_names_a_key_and_a_project(wrong: str) -> None:
    """Anything else is a mistake in the settings."""
    assert target_of("https://key@sentry.example.com/sub/42").url == "https://sentry.example.com/sub/api/42/envelope/"
    with pytest.raises(ValueError, match="no DSN"):
        target_of(wrong)
