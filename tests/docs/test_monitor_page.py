"""docs/monitor.md: its client runs unchanged, and its example of numbers is what the code says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soxr
from integration.gateway import gateway
from integration.listeners import calm, fault, sixteen_bits
from support.environment import ROOT

from avizor_inference.anomaly.alarm import FalseAlarms, alarm_rule

PAGE = (ROOT / "docs" / "monitor.md").read_text(encoding="utf-8")


@pytest.fixture
def fan(models: Path, tmp_path: Path) -> Path:
    """The model that the client names."""
    shutil.copytree(models / "normal", tmp_path / "models" / "fan")
    for file in ("config.pbtxt", "1/manifest.json", "1/calibrations"):
        for path in [tmp_path / "models" / "fan" / file]:
            if path.is_file():
                path.write_text(path.read_text().replace('"normal"', '"fan"'))
    return tmp_path / "models"


def test_the_client_hears_a_fault(fan: Path, tmp_path: Path) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "listen.py").write_text(script)
    sound = soxr.resample(np.concatenate([calm(5), fault(10)]), 8000, 16000)
    with gateway(fan, "--alpha", 0.05) as running:
        command = [sys.executable, str(tmp_path / "listen.py"), running.address]
        result = subprocess.run(command, input=sixteen_bits(sound).tobytes(), capture_output=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr.decode()
    first, alarm, last = result.stdout.decode().splitlines()
    assert first == "an alarm takes 6 stretches of 1.536 s; false ones: at most 19.2 an hour"
    assert re.fullmatch(r"1[34]\.\d s: alarm on", alarm)
    assert last.endswith("windows, 1 alarms")


def test_the_example_of_numbers() -> None:
    expected = FalseAlarms(1, 99, 10)
    rules = [alarm_rule(expected, 1, assume_exchangeable=assumes).to_alarm for assumes in (False, True)]
    assert f"k is {rules[0]} for one false alarm an hour" in PAGE
    assert f"and {rules[1]} with `assume_exchangeable`" in PAGE
    rules = [alarm_rule(FalseAlarms(flagged, 400, 10), 0.1).to_alarm for flagged in (1, 4)]
    assert f"takes {rules[0]} stretches, where alpha 0.01 takes {rules[1]}" in PAGE
