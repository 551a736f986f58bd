"""Say whether this processor cuts off sums of int8 products, which then need another way to be computed (decision 94)."""

from __future__ import annotations

import platform
from functools import cache

from avizor_inference.this_machine import cpu_flags, cpuinfo

# Each adds four products of 8 bits to a sum of 32 bits in one instruction.
_WHOLE_SUMS = frozenset(["avx512_vnni", "avx_vnni", "amx_int8"])


@cache
def sums_saturate() -> bool:
    """Return whether sums of two products of uint8 and int8 have 16 bits here and are cut off beyond: on x86 without VNNI.

    Where the processor's instructions are not known, they may be.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return lacks_vnni(cpuinfo())


def lacks_vnni(text: str) -> bool:
    """Return whether a processor has no instruction for whole sums. text: what `cpuinfo` returns."""
    return _WHOLE_SUMS.isdisjoint(cpu_flags(text))
