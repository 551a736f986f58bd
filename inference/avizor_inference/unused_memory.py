"""Give memory that this process does not use any more back to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Give it back, where the C library can. By itself it keeps what was freed, for what may come: weights that were read."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
