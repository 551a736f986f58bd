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
    """Holds how a command ended. peak: the most memory of its processes at once, in bytes.

    Pages of files, which they share, count once. PSS would count less of them the more other programs use the same libraries.
    """

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
                    peak = max(peak, _together([process, *process.children(recursive=True)]))
        process.kill()
    raise AssertionError(f"not finished after {timeout_s} s: {' '.join(command)}")


def _together(processes: Sequence[psutil.Process]) -> int:
    """Return what these processes have of their own, and the most that one of them has of files."""
    own, of_files = 0, 0
    for process in processes:
        with suppress(psutil.Error):
            memory = process.memory_info()
            own, of_files = own + memory.rss - memory.shared, max(of_files, memory.shared)
    return own + of_files
