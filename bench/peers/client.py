"""The load generator of `script/bench peers`: keep-alive connections, one request in flight on each.

    python -m bench.peers.client

Reads a Load as JSON from its input, and prints a Measured. One thread on epoll; a request costs it about 15 µs, which
is printed, since it runs on the same cores as the server.
"""

from __future__ import annotations

import os
import re
import select
import socket
import sys
import time
from pathlib import Path

import msgspec

# Replaced by a number that no other request has: eight digits, so that the length stays.
NUMBER = b"@@@@@@@@"
WARM_UP = 0.3  # seconds that are not measured, nor is the first request of each user
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
TICKS = os.sysconf("SC_CLK_TCK")
WITHIN = 10.0  # seconds, for any response


class Load(msgspec.Struct):
    """What to send: requests in turn, from the number `first` on; `trees` are processes whose CPU time is measured."""

    port: int
    requests: list[bytes]
    seconds: float
    connections: int
    first: int
    trees: dict[str, int]


class Measured(msgspec.Struct):
    """Responses in `seconds`; latencies in ms; CPU time in µs per request, `own` included."""

    responses: int
    seconds: float
    p50: float
    p95: float
    p99: float
    cpu: dict[str, float]
    next: int


class _Connection:
    """A connection, its response so far, and when its request was sent."""

    __slots__ = ("data", "sent_at", "socket", "wanted")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WITHIN)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self.wanted = 0
        self.data = b""

    def is_done(self, data: bytes) -> bool:
        """Add received bytes; return whether the response is complete. RuntimeError when it is no success."""
        self.data = data = self.data + data if self.data else data
        if not self.wanted:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return False
            length = LENGTH.search(data, 0, end + 2)
            if length is None or not data.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(data.decode(errors="replace"))
            self.wanted = end + 4 + int(length[1])
        if len(data) < self.wanted:
            return False
        if b'"status":"error"' in data[:400] or b'"success":false' in data[:600]:
            raise RuntimeError(data.decode(errors="replace"))
        self.data, self.wanted = b"", 0
        return True


def cpu_of_tree(root: int) -> float:
    """Return the CPU time of a process and its descendants that run, in seconds."""
    total, waiting = 0.0, [root]
    while waiting:
        pid = waiting.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            children = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / TICKS
        waiting += map(int, children.split())
    return total


def run(load: Load) -> Measured:  # noqa: C901 - one loop, without calls that would cost more than it does
    """Send requests for `seconds` after the warm-up, and measure."""
    wires = [request.split(NUMBER) for request in load.requests]
    connections = {}
    poll = select.epoll()
    for _ in range(load.connections):
        one = _Connection(load.port)
        connections[one.socket.fileno()] = one
        poll.register(one.socket.fileno(), select.EPOLLIN)
    number, latencies, clock = load.first, [], time.perf_counter

    def send(one: _Connection) -> None:
        nonlocal number
        parts = wires[number % len(wires)]
        one.sent_at = clock()
        one.socket.sendall(parts[0] if len(parts) == 1 else (b"%08d" % number).join(parts))
        number += 1

    for one in connections.values():
        send(one)
    now = clock()
    begin, started, before = now + WARM_UP, 0.0, {}
    while not started or now < started + load.seconds:
        ready = poll.poll(WITHIN)
        if not ready:
            raise RuntimeError(f"no response within {WITHIN:.0f} seconds")
        for descriptor, _ in ready:
            one = connections[descriptor]
            data = one.socket.recv(1 << 18)
            if not data:
                raise RuntimeError("the server hung up")
            if one.is_done(data):
                now = clock()
                if started:
                    latencies.append(now - one.sent_at)
                send(one)
        if not started and now >= begin and number - load.first > len(wires) + len(connections):
            started, before = clock(), _times(load.trees)
    seconds, after = clock() - started, _times(load.trees)
    _finish(connections)
    latencies.sort()
    count = len(latencies)
    if count == 0:
        raise RuntimeError("no response was measured")
    return Measured(
        responses=count,
        seconds=seconds,
        **{f"p{share}": 1000 * latencies[min(count - 1, count * share // 100)] for share in (50, 95, 99)},
        cpu={name: 1e6 * (after[name] - before[name]) / count for name in after},
        next=number,
    )


def _times(trees: dict[str, int]) -> dict[str, float]:
    own = os.times()
    return {name: cpu_of_tree(pid) for name, pid in trees.items()} | {"client": own.user + own.system}


def _finish(connections: dict[int, _Connection]) -> None:
    """Receive the last responses, so that nothing is cut off in the middle of its work, and close."""
    for one in connections.values():
        while not one.is_done(data := one.socket.recv(1 << 18)):
            if not data:
                raise RuntimeError("the server hung up")
        one.socket.close()


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Load))))
