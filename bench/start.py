"""How soon `daysong serve` answers, and what it takes to start.

    script/bench start [--rounds 3] [--processes 4]

The time from starting the command to the first 200 of /readyz, on an empty database with all migrations, and the CPU
time of all its processes by then; of several processes, until all serve. Memory is that of the largest process (RSS),
and of all together, where shared pages count once (PSS). Of several rounds the medians.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from statistics import median

from bench import machine
from bench.peers.client import cpu_of_tree
from bench.peers.servers import environment_for
from daysong.commands.environment import free_port
from rehearsal.processes.server import DAYSONG, ROOT, Keys

WITHIN = 60.0  # seconds
IDLE = 0.05  # CPU seconds of all processes in 0.2 seconds


def measure(environ: dict[str, str], processes: int) -> tuple[float, float, float, float, float]:
    """Start a server and stop it; return the seconds to its first 200 and until all serve, CPU seconds, RSS, PSS."""
    port, started = free_port(), time.monotonic()
    command = [*DAYSONG, "serve", "--port", str(port), "--processes", str(processes)]
    server = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.DEVNULL)  # noqa: S603 - ourselves
    try:
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > started + WITHIN:
                raise RuntimeError("the server does not start")
            time.sleep(0.01)
        first = seconds = time.monotonic() - started
        cpu = cpu_of_tree(server.pid)
        if processes > 1:
            # Until all of them serve: then none takes CPU time any more.
            before = 0.0
            while cpu - before > IDLE:
                seconds, before, cpu = time.monotonic() - started, cpu, _later(server.pid)
        tree = _tree(server.pid)
        largest = max(_memory(pid, "status", "VmRSS:") for pid in tree)
        return first, seconds, cpu, largest, sum(_memory(pid, "smaps_rollup", "Pss:") for pid in tree)
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


def _memory(pid: int, file: str, name: str) -> float:
    text = Path(f"/proc/{pid}/{file}").read_text()
    return int(text.partition(name)[2].split()[0]) / 1024


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
    with machine.postgres("start") as (postgres, folder):
        environ = environment_for(postgres.url, folder, Keys(folder / "keys"))
        environ["PATH"] = os.environ.get("PATH", "")
        subprocess.run([*DAYSONG, "migrate"], env=environ, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        print(machine.line())
        print(f"{'import daysong.app':20} {median(importing() for _ in range(options.rounds)):5.2f} s CPU")
        for processes in (1, options.processes):
            found = [measure(environ, processes) for _ in range(options.rounds)]
            first, seconds, cpu, largest, together = (median(each) for each in zip(*found, strict=True))
            name = f"serve, {processes} process{'es' if processes > 1 else ''}"
            print(
                f"{name:20} {first:5.2f} s to answer, {seconds:5.2f} s until all serve, {cpu:5.2f} s CPU,"
                f" {largest:4.0f} MB RSS at most, {together:4.0f} MB PSS together"
            )


if __name__ == "__main__":
    main()
