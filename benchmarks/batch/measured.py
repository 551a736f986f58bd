"""Run a command, such as a batch job, and measure its time, its CPU time and its memory, with all processes that it starts."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

CORES = len(os.sched_getaffinity(0))
# A batch job, before its arguments.
JOB = [sys.executable, "-c", "from avizor_cli.main import main; main()", "batch"]

_POLL_S = 0.1


@dataclass(frozen=True)
class Measured:
    """Holds wall seconds, CPU seconds, and the peak of the processes' summed PSS in MiB (each page counts once)."""

    seconds: float
    cpu_s: float
    peak_mib: float
    output: str


def run(command: list[str | Path], look: Callable[[Sequence[psutil.Process]], None] = lambda _processes: None) -> Measured:
    """Run a command to its end. Exits if it fails. look: is called again and again with the processes."""
    started, before = time.monotonic(), _cpu_of_ended()
    process = psutil.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = 0
    cpu: dict[int, float] = {}
    while True:
        try:
            output, error = process.communicate(timeout=_POLL_S)
            break
        except subprocess.TimeoutExpired:
            total = 0
            processes = [process, *_children(process)]
            look(processes)
            for each in processes:
                pss, cpu[each.pid] = _sample(each, cpu.get(each.pid, 0.0))
                total += pss
            peak = max(peak, total)
    seconds = time.monotonic() - started
    if process.returncode:
        sys.exit(f"exit code {process.returncode}: {' '.join(map(str, command))}\n{error}")
    # What is sampled lacks the last moments; what the system counts lacks processes for which nobody waited, as Ray's.
    return Measured(seconds, max(sum(cpu.values()), _cpu_of_ended() - before), peak / 2**20, output)


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """Return the median of some values, and in brackets the lowest and the highest, each in this form."""
    return f"{median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def _cpu_of_ended() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _sample(process: psutil.Process, before: float) -> tuple[int, float]:
    """Return PSS in bytes and CPU seconds so far of one process; those of `before` if it has ended."""
    try:
        times = process.cpu_times()
        return int(process.memory_full_info().pss), times.user + times.system
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return 0, before
