"""Measure the memory of a process, and limit that of this one. Linux alone tells both."""

from __future__ import annotations

import gc
import os
import re
import resource
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from avizor_inference.unused_memory import give_back

_STACK = 2**20

_FIELD = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)

# What a process does besides that needs memory for a moment: Python's own objects, a library that is loaded.
_SLIGHT = 8 * 2**20


class MemoryUse(NamedTuple):
    """Holds what a process uses, in bytes.

    own: memory that it shares with no file; no other process has it. files: pages of programs and libraries, which processes
    share. peak: the largest sum of both since the process began, or since `forget_peak`. reserved: what it may write to
    without asking the system, most of which is not used.
    """

    own: int
    files: int
    peak: int
    reserved: int

    @property
    def own_peak(self) -> int:
        """Return the largest `own`. Pages of files stay once they are there."""
        return max(self.own, self.peak - self.files)


def can_measure() -> bool:
    """Return whether this system tells what a process uses."""
    return sys.platform == "linux"


def memory_use(process: int | str = "self") -> MemoryUse:
    """Return what a process uses. Raises OSError if it has ended."""
    text = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace")
    sizes = {name: int(size) * 1024 for name, size in _FIELD.findall(text)}
    files = sizes.get("RssFile", 0) + sizes.get("RssShmem", 0)
    return MemoryUse(sizes.get("RssAnon", 0), files, sizes.get("VmHWM", 0), sizes.get("VmData", 0))


def forget_peak() -> None:
    """Give unused memory back to the system, and let the peak begin anew, where the system allows it."""
    gc.collect()
    give_back()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def prepare_children() -> None:
    """Let processes that are started from now on reserve no more than they need, since that counts against a limit.

    Arrow would reserve a gigabyte, or 32 MiB for each thread. It looks at this when it is loaded.
    """
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"


def prepare_limit() -> None:
    """Do the same for the threads of this process: each would reserve 8 MiB for its stack."""
    threading.stack_size(_STACK)


def limit_own(own: int) -> None:
    """Let this process have at most so many bytes by itself from now on. Beyond, allocations fail: mostly as MemoryError.

    What is reserved and not used by now (stacks of threads, the buffer of OpenBLAS) is not counted.
    """
    now = memory_use()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = max(own, now.own + _SLIGHT) + now.reserved - now.own
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
