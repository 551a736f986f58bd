"""Say what this process may use of its machine: cores, memory, instructions of the processor. A container's limits count."""

from __future__ import annotations

import os
import re
from pathlib import Path

from avizor_inference.control_groups import core_limit, memory_left, memory_limit


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least one. A container's CPU limit is rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(filter(None, [cores, core_limit()]))


def available_memory() -> int:
    """Return what is free on this machine, in bytes, or less if the container of this process has less left."""
    free, left = _memory("MemAvailable"), memory_left()
    return free if left is None else min(free, left)


def total_memory() -> int:
    """Return what this machine has, in bytes, or less if the container of this process has a lower limit."""
    total, limit = _memory("MemTotal"), memory_limit()
    return total if limit is None else min(total, limit)


def _memory(field: str) -> int:
    (size,) = re.findall(rf"^{field}:\s+(\d+) kB$", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)
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
