"""A server process that measures how long its loop is held, and its memory; `Watched` starts one.

For each file named on its standard input it writes there the most CPU seconds that the loop's thread has spent between
two beats of a timer since the previous file, and its resident memory. It measures CPU time because any process waits on
a busy machine.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import uvloop

from daysong import app as composition
from daysong.commands import environment
from daysong.kernel import garbage, logs
from daysong.transport.server import server as http
from rehearsal.processes.server import Server

STOPS = (signal.SIGINT, signal.SIGTERM)
ANSWERS_WITHIN = 20.0  # seconds
MOST_RUNS = 10
BEAT = 0.001  # seconds
PAGE = os.sysconf("SC_PAGE_SIZE")


class Figures(NamedTuple):
    """What a server used since the last figures: the longest stretch of CPU seconds, and resident bytes now."""

    held: float
    resident: int


class Watched(Server):
    """Such a process on its own port: `with Watched(environ, folder) as server`."""

    def __init__(self, environ: dict[str, str], folder: Path) -> None:
        super().__init__(environ, folder, "watched", module="rehearsal.processes.watched_server", stdin=subprocess.PIPE)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        assert self.process.stdin is not None
        self.process.stdin.close()

    def figures(self) -> Figures:
        """Return what it used since the last time."""
        figures = self.log.with_suffix(".figures")
        figures.unlink(missing_ok=True)
        assert self.process.stdin is not None
        self.process.stdin.write(f"{figures}\n".encode())
        self.process.stdin.flush()
        deadline = time.monotonic() + ANSWERS_WITHIN
        while time.monotonic() < deadline and self.process.poll() is None:
            if figures.exists():
                return Figures(**json.loads(figures.read_text()))
            time.sleep(0.005)
        raise RuntimeError(self.log.read_text())


async def least_held(watched: Watched, act: Callable[[], Awaitable[object]], below: float) -> float:
    """Return the shortest time (seconds of CPU) that the loop was held while `act` ran, of as many runs as it takes.

    The first run may fill caches, and another process on the same core may disturb any: the shortest is the code's own.
    """
    held = math.inf
    for _ in range(MOST_RUNS):
        watched.figures()
        await act()
        held = min(held, watched.figures().held)
        if held < below:
            break
    return held


class Watch:
    """Measures the loop that it runs on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._worst = 0.0
        self._last = time.thread_time()
        self._beat()

    def _beat(self) -> None:
        now = time.thread_time()
        self._worst = max(self._worst, now - self._last)
        self._last = now
        self._loop.call_later(BEAT, self._beat)

    def tell(self) -> None:
        """Write the figures to the file named by the next line, and start again."""
        name = sys.stdin.readline().strip()
        if not name:
            self._loop.remove_reader(sys.stdin.fileno())
            return
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
        whole = Path(f"{name}.new")
        whole.write_text(json.dumps({"held": self._worst, "resident": resident}))
        whole.rename(name)
        self._worst, self._last = 0.0, time.thread_time()


async def main(port: int) -> None:
    """Serve until a signal says to stop."""
    logs.configure(readable=False, quiet=True)
    app = composition.build(environment.configured())
    server = http.Server(app.asgi, lifespan=True, close_sockets=app.hub.close_sockets, message=app.hub.largest_message)
    garbage.settle()
    loop = asyncio.get_running_loop()
    for number in STOPS:
        loop.add_signal_handler(number, server.stop)
    loop.add_reader(sys.stdin.fileno(), Watch().tell)
    await server.serve(sockets=[http.listen("127.0.0.1", port)])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[sys.argv.index("--port") + 1])))
