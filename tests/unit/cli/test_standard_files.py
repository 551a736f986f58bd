"""A command ends with its own exit code where standard output cannot be written, and with no success if something was lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENDING = """
import sys
from avizor_cli.standard_files import forget_unwritten, written_out
try:
    with written_out():
        print("a result")
        sys.exit({code})
finally:
    forget_unwritten()
"""


def ended(code: int, stdout: str) -> subprocess.CompletedProcess[str]:
    """A command that printed something and ended with a code."""
    with Path(stdout).open("w") as file:
        command = [sys.executable, "-c", ENDING.format(code=code)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        return subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, env=environment, check=False)


@pytest.mark.parametrize("code", [0, 1, 129])
def test_a_command_that_could_write_ends_with_its_code(code: int) -> None:
    assert ended(code, "/dev/null").returncode == code


@pytest.mark.parametrize("code", [1, 129])
def test_what_a_full_disk_refuses_at_the_end_leaves_the_code_as_it_is(code: int) -> None:
    one = ended(code, "/dev/full")
    assert (one.returncode, one.stderr) == (code, "")


def test_a_result_that_was_not_written_is_no_success() -> None:
    one = ended(0, "/dev/full")
    assert one.returncode == 1
    assert one.stderr.endswith("OSError: [Errno 28] No space left on device\n")  # main() makes a sentence of it
