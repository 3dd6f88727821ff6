"""`deploy/prometheus` and `deploy/grafana` name series and labels that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec.yaml
import pytest
from prometheus_client import REGISTRY

from rehearsal.world import World

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "deploy/prometheus/alerts.yml"
TESTS = ROOT / "deploy/prometheus/alerts_test.yml"
DASHBOARD = ROOT / "deploy/grafana/daysong.json"
# Added by Prometheus, and for histograms and the several processes of a server.
EVERYWHERE = {"instance", "job", "le", "process"}
OTHERS = {"up": {"instance", "job"}, "process_resident_memory_bytes": set(), "daysong_processes": {"what"}}

SERIES = re.compile(r"\b(up|(?:daysong|process)_\w+)(?:\{([^}]*)\})?")
GROUPED = re.compile(r"\b(?:by|ignoring) \(([^)]*)\)")


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    [group] = msgspec.yaml.decode(ALERTS.read_bytes())["groups"]
    return list(group["rules"])


def expressions() -> list[str]:
    """Return every expression of alerts and dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [rule["expr"] for rule in rules()] + [
        target["expr"] for panel in panels for target in panel.get("targets", ())
    ]


async def known_series(world: World) -> dict[str, set[str]]:
    """Return the labels of every series by name, those of histograms and counters included."""
    found = dict(OTHERS)
    for name, collector in REGISTRY._names_to_collectors.items():
        found[name] = set(getattr(collector, "_labelnames", getattr(collector, "labels", ())))
    for family in await world.app.metrics._state.families():
        found[family.name] = set(family._labelnames)
    return found


async def test_g58_alerts_and_dashboard_name_series_that_exist(world: World) -> None:
    """Each name is a series, each label in a matcher or a grouping one of its labels."""
    known = await known_series(world)
    for expression in expressions():
        named = SERIES.findall(expression)
        assert named, expression
        labels: set[str] = set(EVERYWHERE)
        for name, matchers in named:
            assert name in known, f"{name} in {expression}"
            labels |= known[name]
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
                assert label in known[name] | EVERYWHERE, f"{label} of {name} in {expression}"
        for group in GROUPED.findall(expression):
            assert {label.strip() for label in group.split(",")} <= labels, expression


def test_g58_every_alert_is_explained() -> None:
    """docs/OPERATING.md has a section for each alert and none for another: how urgent, what it means, what to do."""
    text = (ROOT / "docs/OPERATING.md").read_text()
    explained = {
        name: (severity.lower(), means, do)
        for name, severity, means, do in re.findall(
            r"^### (Daysong\w+)\n\n\*(\w+)\.\* It means: (.+?)\n\nDo: (.+?)\n\n", text, re.MULTILINE | re.DOTALL
        )
    }
    assert {name: severity for name, (severity, _, _) in explained.items()} == {
        rule["alert"]: rule["labels"]["severity"] for rule in rules()
    }


@pytest.mark.parametrize("words", [("check", "rules", ALERTS), ("test", "rules", TESTS)], ids=["check", "test"])
def test_g58_prometheus_accepts_the_rules_and_alerts_fire_when_they_should(words: tuple[str | Path, ...]) -> None:
    """By its own tool, where that is installed: each page, and most tickets, fire and do not fire."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool here: apt-get install prometheus to try the alerts")
    checked = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)  # noqa: S603
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_that_pages_has_a_test() -> None:
    """Of when it fires, in deploy/prometheus/alerts_test.yml."""
    tested = {
        case["alertname"]
        for test in msgspec.yaml.decode(TESTS.read_bytes())["tests"]
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert tested <= {rule["alert"] for rule in rules()}
    assert {rule["alert"] for rule in rules() if rule["labels"]["severity"] == "page"} <= tested


def test_g58_panels_do_not_overlap() -> None:
    """Each has its own place on the grid of 24 columns."""
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
