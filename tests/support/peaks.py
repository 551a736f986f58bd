"""Run a command, and watch the memory of all its processes."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

_POLL_S = 0.03


@dataclass(frozen=True)
class Watched:
    """Holds how a command ended. peak: the largest sum of its processes' PSS, in bytes; each page counts once."""

    returncode: int
    stdout: str
    stderr: str
    peak: int


def watched(command: Sequence[str], timeout_s: float = 600.0) -> Watched:
    """Run a command to its end."""
    peak = 0
    with psutil.Popen(list(command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(round(timeout_s / _POLL_S)):
            try:
                stdout, stderr = process.communicate(timeout=_POLL_S)
                return Watched(process.returncode, stdout, stderr, peak)
            except subprocess.TimeoutExpired:
                with suppress(psutil.Error):
                    peak = max(peak, sum(map(_pss, [process, *process.children(recursive=True)])))
        process.kill()
    raise AssertionError(f"not finished after {timeout_s} s: {' '.join(command)}")


def _pss(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    return 0
