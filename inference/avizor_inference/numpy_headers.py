"""Read files of numpy where other code may parse Python at the same time.

numpy reads the header of an array with `ast`, in which Python 3.11 counts the depth for all threads together. If
another thread, or the garbage collector, parses text or prints a traceback in the middle, a good header ends in SystemError
(https://github.com/python/cpython/issues/106905).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# A disturbed read is rare, so that this many in a row mean another fault.
_READS = 20


def with_headers(read: Callable[[], T]) -> T:
    """Return what `read` returns, which reads headers of numpy. It is called again, from the beginning, if it was disturbed."""
    for _ in range(_READS - 1):
        try:
            return read()
        except SystemError:
            continue
    return read()
