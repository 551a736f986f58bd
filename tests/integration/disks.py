"""Mount small disks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


def mount(folder: Path, options: str) -> None:
    """Mount a file system in memory on a folder; skip the test where that is not allowed."""
    result = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if result.returncode:
        pytest.skip(f"no small disk can be mounted here: {result.stderr.strip()}")
