"""Say what runs here, and on what: versions, cores, memory, and what of the processor pays."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass
from importlib.metadata import version

from avizor_inference.engines.int8_sums import lacks_vnni
from avizor_inference.error_text import counted
from avizor_inference.this_machine import available_memory, cpu_flags, cpuinfo, total_memory, usable_cores

_GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """Holds the facts. memory in bytes; cores and memory: those that this process may use. executable: of this Python.

    instructions: for each kind that makes models faster, whether the processor has it; none where it does not tell.
    """

    avizor: str
    python: str
    executable: str
    system: str
    cores: int
    cores_of_machine: int
    memory: int
    memory_free: int
    processor: str
    instructions: dict[str, bool]

    def lines(self) -> list[str]:
        """Return them in words."""
        few = f"{self.cores} of " if self.cores < self.cores_of_machine else ""
        cores = f"{few}{counted(self.cores_of_machine if few else self.cores, 'core')}"
        memory = f"{self.memory_free / _GIB:.1f} of {self.memory / _GIB:.1f} GiB of memory free"
        has = [name for name, there in self.instructions.items() if there]
        lacks = [name for name, there in self.instructions.items() if not there]
        words = [", ".join(has), f"no {', '.join(lacks)}" if lacks else ""]
        return [
            f"Avizor {self.avizor}, Python {self.python} ({self.executable}), {self.system}",
            f"{cores}, {memory}",
            ": ".join(filter(None, [self.processor, "; ".join(filter(None, words))])),
        ]


def look_at_machine() -> Machine:
    """Return what this process sees of its machine."""
    text = cpuinfo()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return Machine(
        avizor=version("avizor"),
        python=platform.python_version(),
        executable=sys.executable,
        system=f"{platform.system()} {platform.release()} on {platform.machine()}",
        cores=usable_cores(),
        cores_of_machine=os.cpu_count() or 1,
        memory=total_memory(),
        memory_free=available_memory(),
        processor=name[1].strip() if name else platform.machine(),
        instructions=instructions(text),
    )


def instructions(text: str) -> dict[str, bool]:
    """Return which instructions an x86 processor has that make models faster. text: what `cpuinfo` returns."""
    flags = cpu_flags(text)
    if not flags:
        return {}
    return {
        "AVX2": "avx2" in flags,
        "AVX-512": "avx512f" in flags,
        "VNNI": not lacks_vnni(text),
        "BF16": not flags.isdisjoint(["avx512_bf16", "amx_bf16"]),
        "AMX": "amx_tile" in flags,
    }
