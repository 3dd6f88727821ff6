"""How soon `daysong serve` answers, and what it takes to start.

    script/bench start [--rounds 3] [--processes 4]

The time from starting the command to the first 200 of /readyz, on an empty database with all migrations, and the CPU
time and memory of all its processes by then (memory: the largest process). Of several rounds the medians.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from statistics import median

from bench.peers.client import cpu_of_tree
from bench.peers.servers import environment_for
from daysong.commands.environment import free_port
from daysong.embedded import server as embedded
from rehearsal.processes.server import DAYSONG, ROOT, Keys

WITHIN = 60.0  # seconds
IDLE = 0.05  # CPU seconds of all processes in 0.2 seconds


def measure(environ: dict[str, str], processes: int) -> tuple[float, float, float]:
    """Start a server and stop it; return the seconds to its first 200, its CPU seconds, and its memory in MB."""
    port, started = free_port(), time.monotonic()
    command = [*DAYSONG, "serve", "--port", str(port), "--processes", str(processes)]
    server = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.DEVNULL)  # noqa: S603 - ourselves
    try:
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > started + WITHIN:
                raise RuntimeError("the server does not start")
            time.sleep(0.01)
        seconds, cpu = time.monotonic() - started, cpu_of_tree(server.pid)
        if processes > 1:
            # Until all of them serve: then none takes CPU time any more.
            before = 0.0
            while cpu - before > IDLE:
                seconds, before, cpu = time.monotonic() - started, cpu, _later(server.pid)
        return seconds, cpu, max(map(_memory, _tree(server.pid)))
    finally:
        server.terminate()
        server.wait(30)


def _later(pid: int) -> float:
    time.sleep(0.2)
    return cpu_of_tree(pid)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004
    except (OSError, urllib.error.URLError):
        return False


def _tree(pid: int) -> list[int]:
    children = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")).split()
    return [pid, *(each for child in children for each in _tree(int(child)))]


def _memory(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def importing() -> float:
    """Return the CPU seconds of `import daysong.app`."""
    code = "import time; t = time.process_time(); import daysong.app; print(time.process_time() - t)"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT).stdout)  # noqa: S603


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=4)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="daysong-start-"))
    folder.chmod(0o711)  # as root, the server's account must be able to traverse it
    try:
        with embedded.start(folder / "postgres") as postgres:
            environ = environment_for(postgres.url, folder, Keys(folder / "keys"))
            environ["PATH"] = os.environ.get("PATH", "")
            subprocess.run([*DAYSONG, "migrate"], env=environ, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
            print(f"{'import daysong.app':20} {median(importing() for _ in range(options.rounds)):5.2f} s CPU")
            for processes in (1, options.processes):
                found = [measure(environ, processes) for _ in range(options.rounds)]
                seconds, cpu, memory = (median(each) for each in zip(*found, strict=True))
                name = f"serve, {processes} process{'es' if processes > 1 else ''}"
                print(f"{name:20} {seconds:5.2f} s to answer, {cpu:5.2f} s CPU, {memory:4.0f} MB")
    finally:
        embedded.remove(folder / "postgres")
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
