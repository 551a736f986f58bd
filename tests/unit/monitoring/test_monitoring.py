"""promtool and amtool accept the rules, and rules and dashboard use only metrics that exist in the code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.environment import ROOT

from avizor_pipeline.reporting.metrics import metric_names as batch_metric_names
from avizor_pipeline.reporting.watch_metrics import metric_names as watch_metric_names
from avizor_service.metrics import metric_names as gateway_metric_names

MONITORING = ROOT / "monitoring"
RULES = sorted((MONITORING / "prometheus" / "rules").glob("*.yml"))
TESTS = sorted((MONITORING / "prometheus" / "tests").glob("*.yml"))


def run(tool: str, *arguments: str | Path, cwd: Path = ROOT) -> str:
    """Run promtool or amtool; skip where it is absent, except in CI, where that would be a gap."""
    if shutil.which(tool) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{tool} is missing, and CI proves nothing about alerts without it")
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_are_sound() -> None:
    run("promtool", "check", "rules", *RULES)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_not_otherwise(path: Path) -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", path)


def test_prometheus_configuration(tmp_path: Path) -> None:
    text = (MONITORING / "prometheus" / "prometheus.yml").read_text()
    assert "/etc/prometheus/rules/" in text
    (tmp_path / "prometheus.yml").write_text(text.replace("/etc/prometheus/rules", str(MONITORING / "prometheus" / "rules")))
    run("promtool", "check", "config", tmp_path / "prometheus.yml")


def test_alertmanager_configuration() -> None:
    run("amtool", "check-config", MONITORING / "alertmanager" / "alertmanager.yml")


def alerts() -> set[str]:
    return {name for path in RULES for name in re.findall(r"^\s*- alert: (\w+)", path.read_text(), re.MULTILINE)}


def test_every_alert_has_a_test_and_a_section_for_whoever_it_wakes() -> None:
    tested = {name for path in TESTS for name in re.findall(r"alertname: (\w+)\n\s+exp_alerts:", path.read_text())}
    assert alerts() == tested
    headings = re.findall(r"^#+ (\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert alerts() <= set(headings)


@pytest.mark.parametrize("path", [*RULES, MONITORING / "grafana" / "dashboards" / "avizor.json"], ids=lambda path: path.name)
def test_every_metric_is_one_that_the_code_has(path: Path) -> None:
    named = set(re.findall(r"(?<![\w:])avizor_\w+", path.read_text()))
    named = {re.sub(r"_(bucket|count|sum)$", "", name) for name in named} - {"avizor_gateway"}
    assert named
    of_the_probe = set(re.findall(r'"(avizor_\w+)"', (ROOT / "deploy" / "probe" / "probe.py").read_text()))
    assert named <= gateway_metric_names() | batch_metric_names() | watch_metric_names() | of_the_probe


def test_every_recorded_series_that_is_shown_is_recorded() -> None:
    recorded = {name for path in RULES for name in re.findall(r"- record: (\S+)", path.read_text())}
    used = set(re.findall(r"avizor:[\w:]+", (MONITORING / "grafana" / "dashboards" / "avizor.json").read_text()))
    assert used <= recorded
