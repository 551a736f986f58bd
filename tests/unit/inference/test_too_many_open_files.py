"""A process that may open no more files says how many it may have and how to raise that, and blames no file."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.open_files import no_more_files

from avizor_inference.errors import AvizorError, SettingsError
from avizor_inference.items.file_access import open_file
from avizor_inference.repository.calibration_store import read_active
from avizor_inference.repository.models import ModelRepository, ModelVersion
from avizor_inference.repository.version_choice import choosing

LIMIT = r"\(too many open files: this process may have \d+\); raise `ulimit -n`"


READS: dict[str, Callable[[ModelVersion], object]] = {
    "manifest": lambda version: version.manifest,
    "sha256 of the manifest": lambda version: version.manifest_sha256,
    "config": lambda version: version.config,
    "model": ModelVersion.verify,
    "active calibrations": lambda version: read_active(version.folder),
    "calibration": lambda version: version.calibration(version.calibration_ids()[0]),
    "probe": ModelVersion.probe,
    "choice": lambda version: choosing(version.folder.parent).__enter__(),
    "names": lambda version: ModelRepository(version.folder.parent.parent).names(),
}


@pytest.mark.parametrize("what", READS)
def test_no_file_of_a_version_is_blamed(models: Path, tmp_path: Path, what: str) -> None:
    own = Path(shutil.copytree(models, tmp_path / "models"))
    version = ModelRepository(own).version("normal")
    if what in ("model", "calibration", "probe"):
        _ = version.manifest
    identifier = version.calibration_ids()[0]
    read = (lambda each: each.calibration(identifier)) if what == "calibration" else READS[what]
    with no_more_files(), pytest.raises(AvizorError, match=LIMIT) as raised:
        read(version)
    assert not re.search(r"permissions|export the model|calibrate the model|let this user|restore", str(raised.value))


def test_a_file_of_a_data_set_does_not_count_as_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    with no_more_files(), pytest.raises(SettingsError, match=LIMIT):
        open_file(tmp_path / "a.wav")


def test_a_command_says_how_to_raise_the_limit(models: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.wav").touch()
    avizor = Path(sys.executable).with_name("avizor")
    command = [avizor, "batch", tmp_path / "data", "--models", models, "--model", "normal", "--alpha", "0.05"]
    done = subprocess.run(
        [*map(str, command), "--out", str(tmp_path / "out"), "--workers", "2"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (13, 13)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert re.search(r"too many open files: this process may have 13\)?; raise `ulimit -n`, and run", done.stderr), done.stderr
    assert "Traceback" not in done.stderr
