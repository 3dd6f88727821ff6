"""`daysong serve --processes 2`: the supervisor replaces dead processes, and all of them stop together."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from rehearsal.processes.server import Keys, Server
from rehearsal.sync_socket import SocketClosed, SyncSocket

pytestmark = pytest.mark.anyio


@pytest.fixture
def several(environ: dict[str, str], log_folder: Path) -> Iterator[Server]:
    """Two server processes and their supervisor."""
    reported = {"SENTRY_DSN": "http://key@127.0.0.1:9/1"}
    with Server(environ | reported, log_folder, "several", processes=2) as running:
        yield running


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that must hold soon."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


def lives(pid: int) -> bool:
    """Return whether that process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def threads(pid: int) -> int:
    """Return the number of threads of that process."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


async def subscribed(socket: SyncSocket, keys: Keys) -> None:
    """Subscribe to the entries of a user."""
    await socket.connect()
    await socket.authenticate(0, keys.token("user_processes", email="processes@example.test"))
    await socket.subscribe(0, q0=("diaries:listDiaries", {}))
    await socket.transition(1)


async def close_code(socket: SyncSocket) -> int:
    """Return the close code of a socket."""
    with pytest.raises(SocketClosed) as closed:
        await socket.receive(lambda _: False, within=30)
    return closed.value.code


async def test_a_process_that_dies_is_followed_by_another(several: Server) -> None:
    await until(lambda: len(several.workers()) == 2)
    victim, other = several.workers()
    # A fork copies one thread: what the others held would stay locked.
    assert threads(several.process.pid) == 1
    os.kill(victim, signal.SIGKILL)
    await until(lambda: len(several.workers()) == 2 and victim not in several.workers())
    assert other in several.workers()
    async with httpx2.AsyncClient(base_url=several.origin, trust_env=False) as http:
        assert (await http.get("/healthz")).is_success


async def test_g58_metrics_are_those_of_all_processes_whichever_is_asked(several: Server) -> None:
    """Each counts its own requests: over new connections, the counts of both add up to them."""
    identifiers = set()
    for _ in range(30):
        async with httpx2.AsyncClient(base_url=several.origin, trust_env=False) as http:
            answer = await http.get("/api/query?path=values:echo&args={}")
            assert answer.status_code == 200
            identifiers.add(answer.headers["x-request-id"])
    assert len(identifiers) == 30, "processes of one supervisor give the same ids"
    async with httpx2.AsyncClient(base_url=several.origin, trust_env=False) as http:
        text = (await http.get("/metrics")).text
    name = 'daysong_http_request_seconds_count{process="%d",method="GET",route="/api/query",status="200"} '
    counts = [float(line.rpartition(" ")[2]) for number in (0, 1) for line in text.splitlines()
              if line.startswith(name % number)]  # fmt: skip
    assert sum(counts) >= 30
    assert len(counts) == 2
    assert 'daysong_processes{what="answered"} 2' in text
    assert text.count("# TYPE daysong_http_request_seconds histogram") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_sigterm_stops_all_processes_and_closes_sockets_for_a_restart(
    several: Server, keys: Keys, number: signal.Signals
) -> None:
    workers = several.workers()
    async with SyncSocket(several.origin) as socket:
        await subscribed(socket, keys)
        several.process.send_signal(number)
        assert await close_code(socket) == 1012
    assert await asyncio.to_thread(several.process.wait, 30) == 0
    assert not any(lives(pid) for pid in workers)


async def test_a_signal_to_all_of_them_at_once_still_lets_a_call_under_way_end(several: Server) -> None:
    """As Ctrl-C and service managers do; the processes then receive it twice."""
    body = json.dumps({"path": "actions:add", "args": {"a": 1, "b": 2, "delayMs": 500}, "format": "json"}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", several.port)
    writer.write(b"POST /api/action HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
    writer.write(b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    os.killpg(several.process.pid, signal.SIGINT)
    writer.write(body)
    answer = await asyncio.wait_for(reader.read(), 30)
    assert b'"value":3' in answer
    writer.close()
    assert await asyncio.to_thread(several.process.wait, 30) == 0


async def test_no_process_outlives_its_supervisor(several: Server, keys: Keys) -> None:
    workers = several.workers()
    async with SyncSocket(several.origin) as socket:
        await subscribed(socket, keys)
        several.process.kill()
        assert await close_code(socket) == 1012
    await until(lambda: not any(lives(pid) for pid in workers))


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_port_in_use_is_reported(
    several: Server, environ: dict[str, str], log_folder: Path, processes: int
) -> None:
    late = Server(environ, log_folder, "late", port=several.port, processes=processes)
    assert await asyncio.to_thread(late.process.wait, 30) == 1
    assert f"Cannot listen on port {several.port}" in late.log.read_text()
    assert "Traceback" not in late.log.read_text()
