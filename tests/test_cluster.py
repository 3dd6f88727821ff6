"""The configuration files of `script/cluster`, whose run takes minutes and is started by hand."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from rehearsal.cluster import configs, programs
from rehearsal.cluster.cluster import FIRST_PORT

PORTS = configs.ports_from(FIRST_PORT)


def nodes(folder: Path) -> list[configs.Node]:
    """Return the nodes of a cluster in a folder."""
    return [configs.Node(f"node{at}", folder / f"node{at}", *pair) for at, pair in enumerate(PORTS.nodes, 1)]


def test_haproxy_takes_its_configuration(tmp_path: Path) -> None:
    """Without a warning, too."""
    haproxy = programs.found("haproxy")
    if haproxy is None:
        pytest.skip("no HAProxy here: apt-get install haproxy to try it")
    file = tmp_path / "haproxy.cfg"
    file.write_text(configs.haproxy(PORTS, nodes(tmp_path)))
    done = subprocess.run([haproxy, "-c", "-f", file], capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    assert (done.returncode, "WARNING" in done.stdout + done.stderr) == (0, False), done.stderr


def test_an_acknowledged_write_is_on_two_nodes(tmp_path: Path) -> None:
    """Patroni's configuration is to replicate synchronously, also with one node left, and its times fit one another."""
    for node in nodes(tmp_path):
        dcs = json.loads(configs.patroni(node, ["127.0.0.1:1"], Path("/bin")))["bootstrap"]["dcs"]
        assert dcs["synchronous_mode"]
        assert dcs["synchronous_mode_strict"]
        assert dcs["ttl"] >= dcs["loop_wait"] + 2 * dcs["retry_timeout"]
