"""Temporary folders: none is left for long by a process that was killed, and none is taken from one that lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.result_tables import write_results

from avizor_review.results import Results
from avizor_review.temporary_folder import TemporaryFolder

_LIVING = """
import time
from avizor_review.temporary_folder import TemporaryFolder
print(TemporaryFolder().path, flush=True)
time.sleep(600)
"""
_OLD = (1e9, 1e9)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_a_folder_is_there_while_results_are_open(temporary: Path, tmp_path: Path) -> None:
    with Results.open(write_results(tmp_path / "results", recordings=[])):
        assert len(list(temporary.iterdir())) == 1
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_stays(temporary: Path) -> None:
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", _LIVING], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        (left / "spilled").write_bytes(b"x")
        try:
            os.utime(left, _OLD)
            TemporaryFolder().remove()
            assert left.is_dir()
        finally:
            process.kill()
    young = temporary / "avizor-review-young"
    young.mkdir()
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    os.utime(elsewhere, _OLD)
    (temporary / "avizor-review-link").symlink_to(elsewhere)
    TemporaryFolder().remove()
    assert sorted(each.name for each in temporary.iterdir()) == ["avizor-review-link", "avizor-review-young", "elsewhere"]
