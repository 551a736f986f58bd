"""fitting/cli.py: what is wrong with a command is told at once, before torch is loaded, which takes seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from avizor_export.architectures.catalogue import ARCHITECTURES
from avizor_export.architectures.names import NAMES
from avizor_export.fitting.cli import fit

SAY = """
import sys
from click.testing import CliRunner
from avizor_export.fitting.cli import fit
for line in sys.stdin:
    result = CliRunner().invoke(fit, line.split())
    print(result.output, result.exception, "torch" in sys.modules)
"""


def test_options_names_and_paths_are_checked_before_torch_is_loaded(tmp_path: Path) -> None:
    wrong = {
        f"{tmp_path}/nowhere --name m": "nowhere does not exist",
        f"{tmp_path} --name ../m": "'../m' is not a valid model name",
        f"{tmp_path} --improve m --models {tmp_path}": "no model named 'm'",
        f"{tmp_path} --name m --labels --folds 3": "--folds is for detectors",
        f"{tmp_path} --name m --labels --architecture lenet --weights {tmp_path}/none.pth": "none.pth' does not exist",
    }
    result = subprocess.run([sys.executable, "-c", SAY], input="\n".join(wrong), capture_output=True, text=True, check=True)
    said = " ".join(result.stdout.split())
    assert "True" not in said, "torch was loaded"
    assert said.count("False") == len(wrong)
    for message in wrong.values():
        assert message in said


def test_the_folder_is_named_at_once(tmp_path: Path) -> None:
    result = CliRunner().invoke(fit, [str(tmp_path), "--name", "m"])
    assert result.stderr.splitlines()[0] == f"looking at {tmp_path} ..."


def test_the_names_are_those_of_the_architectures() -> None:
    assert tuple(ARCHITECTURES) == NAMES
