"""docs/http.md: its curl lines run as they are, against a real gateway."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from integration.gateway import gateway, normal
from support.environment import ROOT

PAGE = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_lines_run(models: Path, tmp_path: Path) -> None:
    (tmp_path / "pump.wav").write_bytes(normal())
    with gateway(models, "--alpha", 0.05) as running:
        for line in LINES:
            command = line.replace("http://localhost:8080", running.http_url).replace("curl ", "curl -sSf ", 1)
            result = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
            assert result.returncode == 0, (line, result.stderr)
    assert len(LINES) >= 8
