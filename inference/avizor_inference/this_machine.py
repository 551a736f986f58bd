"""Say what this process may use of its machine: cores, memory, instructions of the processor. A container's limits count."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

# The limits of the container that this process is in, by cgroup v2.
_CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least one. A container's CPU limit is rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        return min(cores, cores_of_limit(_CPU_LIMIT.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return cores


def cores_of_limit(text: str) -> int:
    """Return the cores that a cgroup's `cpu.max` allows: `QUOTA PERIOD` in microseconds. Raises ValueError for `max PERIOD`."""
    quota, period = map(int, text.split())
    return max(1, -(-quota // period))


def available_memory() -> int:
    """Return what is free on this machine, in bytes, or less if the container of this process has a lower limit."""
    return _memory("MemAvailable")


def total_memory() -> int:
    """Return what this machine has, in bytes, or less if the container of this process has a lower limit."""
    return _memory("MemTotal")


def _memory(field: str) -> int:
    (size,) = re.findall(rf"^{field}:\s+(\d+) kB$", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
    with suppress(OSError, ValueError):  # no such limit: `max`
        return min(int(size) * 1024, int(_MEMORY_LIMIT.read_text(encoding="ascii")))
    return int(size) * 1024


def cpuinfo() -> str:
    """Return the text of Linux's /proc/cpuinfo, "" elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def cpu_flags(text: str) -> frozenset[str]:
    """Return the flags of the first processor, which name its instructions; none where it has no line of them, as on Arm.

    text: what `cpuinfo` returns.
    """
    flags = (line.partition(":")[2].split() for line in text.splitlines() if line.startswith("flags"))
    return frozenset(next(flags, []))
