"""fitting/shown.py: the script of --explain does not take the place of what is there, and nothing is read that waits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from avizor_export.fitting.shown import write_script
from avizor_inference.errors import ExportError


def test_a_pipe_is_refused_at_once_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    opened = os.open(pipe, os.O_RDWR)  # what would be read from it never ends
    try:
        with pytest.raises(OSError, match="a pipe or a device"):
            write_script(pipe, "print()\n")
    finally:
        os.close(opened)
    assert pipe.is_fifo()


def test_a_file_is_written_again_only_if_nobody_has_changed_it(tmp_path: Path) -> None:
    script = tmp_path / "fit.py"
    for _ in range(2):
        write_script(script, "print()\n")
    script.write_text("print(1)\n")
    with pytest.raises(ExportError, match="may have been changed"):
        write_script(script, "print()\n")
    assert script.read_text() == "print(1)\n"
