"""support/made_once.py: a run of pytest inside a test of another run shares nothing with earlier runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
INNER = """
import pytest
from support.made_once import made_once

@pytest.fixture
def made(request):
    return made_once(request, "made", lambda folder: (folder / "number").write_text("{number}"))

def test_made(made):
    assert (made / "number").read_text() == "{number}"
"""


@pytest.mark.parametrize("options", [("-p", "no:xdist"), ("-n", "2")], ids=["one process", "two workers"])
def test_a_run_inside_a_worker_does_not_take_what_an_earlier_run_has_made(tmp_path: Path, options: tuple[str, ...]) -> None:
    within = os.environ | {"PYTEST_XDIST_WORKER": "gw0", "PYTEST_DEBUG_TEMPROOT": str(tmp_path), "PYTHONPATH": str(TESTS)}
    for number in (1, 2):
        (tmp_path / "test_inner.py").write_text(INNER.replace("{number}", str(number)))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, "test_inner.py"]
        ended = subprocess.run(command, cwd=tmp_path, env=within, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended.stdout
