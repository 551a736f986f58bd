"""`make test-hour` in short: each part is replaced under load, and no call fails that need not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from integration.front_door import NGINX
from support.environment import ROOT
from triton_server.install import TritonInstall


@pytest.mark.slow
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_everything_is_replaced_once_under_load(tmp_path: Path, triton_install: TritonInstall) -> None:
    report = tmp_path / "report.md"
    command = [sys.executable, str(ROOT / "benchmarks" / "replacements"), "--minutes", "1", "--report", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in report.read_text().splitlines() if line.startswith("| nginx, by a new master |")]
    assert len(lines) == 1
    assert "| 0 | master" in lines[0]
