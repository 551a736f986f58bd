"""Make a folder of files once for all workers of a run."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(request: pytest.FixtureRequest, name: str, fill: Callable[[Path], object]) -> Path:
    """Return a folder of this worker that `fill` has filled, here or in another worker of this run.

    Each worker has a copy: its tests may change it, and put it back. The one that comes first makes it; others wait for it.
    """
    factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    folder = factory.mktemp(name)
    # Not PYTEST_XDIST_WORKER: a run inside a worker's test has it, too, and above its folder are those of all runs.
    if not hasattr(request.config, "workerinput"):
        fill(folder)
        return folder
    original = factory.getbasetemp().parent / "made-once" / name
    original.mkdir(parents=True, exist_ok=True)
    with (original / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (original / "whole").exists():
            shutil.rmtree(original / "being-made", ignore_errors=True)  # of one that failed
            (original / "being-made").mkdir()
            fill(original / "being-made")
            (original / "being-made").rename(original / "whole")
    shutil.copytree(original / "whole", folder, dirs_exist_ok=True)
    return folder
