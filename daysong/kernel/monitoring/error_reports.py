"""Reports errors to a server that speaks Sentry's protocol, such as Sentry or GlitchTip, when SENTRY_DSN is set.

A report is a log line of level error or above, so it holds what log lines may hold: no text of a user, and of an
exception only its type and place. A thread sends them; a server that is slow or away delays nothing, and reports
beyond what the queue holds, or the limit of a minute, are dropped and counted.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import urllib.request
import uuid
from collections.abc import MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
from prometheus_client import Counter

WAITING = 100  # reports
A_MINUTE = 60  # reports
TIMEOUT = 5.0  # seconds
LONGEST = 500  # characters of a value
LEVELS = frozenset({"error", "critical"})
# Of a log line, these have fields of their own in a report.
_NAMED = frozenset({"event", "level", "timestamp", "part"})

REPORTS = Counter("daysong_error_reports", "Reports of errors: sent, failed, dropped", ["outcome"])

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Target(NamedTuple):
    """Where reports go: an address, and the public key for it."""

    url: str
    key: str


def target_of(dsn: str) -> Target:
    """Return the target that a DSN names: `https://KEY@HOST/PROJECT`. Errors: ValueError."""
    parts = urlsplit(dsn)
    prefix, _, project = parts.path.rpartition("/")
    if parts.scheme not in {"http", "https"} or not parts.username or not parts.hostname or not project.isalnum():
        raise ValueError("no DSN")
    host = parts.netloc.rpartition("@")[2]
    return Target(f"{parts.scheme}://{host}{prefix}/api/{project}/envelope/", parts.username)


class Reporter:
    """A processor of log lines that reports errors."""

    def __init__(self, dsn: str, environment: str) -> None:
        self._target = target_of(dsn)
        self._environment = environment
        self._release = f"daysong@{version('daysong')}"
        self._minute, self._count = 0, 0
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        # The thread waits for the first report: a process that is going to fork others must have none.
        self._waiting: queue.Queue[bytes] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def __call__(self, _logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Report a log line if it is an error; it is returned unchanged."""
        if line.get("level") in LEVELS:
            if not self._is_within_limit() or self._waiting.full():
                REPORTS.labels("dropped").inc()
            else:
                with suppress(queue.Full):  # another thread was faster
                    self._waiting.put_nowait(self._envelope(line))
                self._start()
        return line

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_forever, name="error reports", daemon=True)
                self._thread.start()

    def _is_within_limit(self) -> bool:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._count = minute, 0
        self._count += 1
        return self._count <= A_MINUTE

    def _envelope(self, line: MutableMapping[str, Any]) -> bytes:
        now, identifier = datetime.now(UTC).isoformat(), uuid.uuid4().hex
        tags = {name: str(value)[:LONGEST] for name, value in line.items() if name not in _NAMED and value is not None}
        event = {
            "event_id": identifier,
            "timestamp": now,
            "platform": "python",
            "level": "fatal" if line["level"] == "critical" else "error",
            "logger": str(line.get("part", "daysong")),
            "message": {"formatted": str(line.get("event", ""))[:LONGEST]},
            "release": self._release,
            "environment": self._environment,
            "tags": tags,
            # One issue for each kind of error of a function, whatever ids the line names.
            "fingerprint": [
                str(line.get("event")),
                tags.get("function", ""),
                tags.get("code", ""),
                tags.get("error", ""),
            ],
        }
        header = {"event_id": identifier, "sent_at": now}
        return b"\n".join((_encode(header), _encode({"type": "event"}), _encode(event))) + b"\n"

    def _send_forever(self) -> None:
        while True:
            body = self._waiting.get()
            request = urllib.request.Request(  # noqa: S310 - the scheme is checked by target_of
                self._target.url,
                data=body,
                headers={
                    "Content-Type": "application/x-sentry-envelope",
                    "X-Sentry-Auth": f"Sentry sentry_version=7, sentry_key={self._target.key}, sentry_client=daysong/1",
                },
            )
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT):  # noqa: S310
                    REPORTS.labels("sent").inc()
            except Exception:  # noqa: BLE001 - the thread must outlive any answer
                REPORTS.labels("failed").inc()
