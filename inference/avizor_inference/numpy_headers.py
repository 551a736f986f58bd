"""Read files of numpy, whose headers are Python's text: they may be hostile, and other code may parse Python at the same time.

numpy reads the header of an array with `ast`, in which Python 3.11 counts the depth for all threads together. If
another thread, or the garbage collector, parses text or prints a traceback in the middle, a good header ends in SystemError
(https://github.com/python/cpython/issues/106905).
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")

MAGIC = b"\x93NUMPY"
# Bytes of a header; numpy writes less than 200 for numbers.
_LONGEST = 10_000
# A disturbed read is rare, so that this many in a row mean another fault.
_READS = 20
_DAMAGED = "the header of the array is damaged; save it again with numpy.save"


class ArrayHeader(NamedTuple):
    """Describes an array in a file: no size is below 0. is_fortran: whether the first axis changes fastest."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]


def with_headers(read: Callable[[], T]) -> T:
    """Return what `read` returns, which reads headers of numpy. It is called again, from the beginning, if it was disturbed."""
    for _ in range(_READS - 1):
        try:
            return read()
        except SystemError:
            continue
    return read()


def read_header(file: IO[bytes]) -> ArrayHeader:
    """Read the header of a .npy file at its position, which is then at the first value. Raises ValueError for a damaged one."""
    start = file.read(8)
    size_bytes = 2 if start[6:7] == b"\1" else 4
    size = int.from_bytes(file.read(size_bytes), "little")
    if len(start) < 8 or start[:6] != MAGIC or start[6] not in (1, 2, 3) or size > _LONGEST:
        raise ValueError(_DAMAGED)
    # Version 3 differs in the encoding of names alone, and arrays of numbers have none.
    text = size.to_bytes(4, "little") + file.read(size)
    try:
        header = ArrayHeader(*with_headers(lambda: np.lib.format.read_array_header_2_0(BytesIO(text))))
    except Exception:  # hostile text can raise nearly anything
        # Without its cause: Python's parser says MemoryError of what is nested too deeply, and so short a text needs no memory.
        raise ValueError(_DAMAGED) from None
    if any(length < 0 for length in header.shape):
        raise ValueError(f"the header of the array says {list(header.shape)}; save it again with numpy.save")
    return header
