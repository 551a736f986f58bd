"""Find the repository and the real data, and whether this run has a GPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "scripts"
# Real data, where there is some.
DATA = Path(os.environ.get("AVIZOR_DATA", ROOT.parent / "shared" / "data"))


def device() -> Literal["cpu", "cuda"]:
    """Return the device on which this run tests the embedded engine."""
    return "cuda" if on_gpu() else "cpu"


def on_gpu() -> bool:
    """Whether this run tests the GPU (`make test-gpu`)."""
    return os.environ.get("AVIZOR_GPU") == "1"
