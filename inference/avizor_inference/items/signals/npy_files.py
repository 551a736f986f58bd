"""Read the array of a .npy file from the disk, block by block, in either order of its axes. It is not mapped into memory.

A mapped file that another program shortens would end the process.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

import numpy as np

from avizor_inference.errors import MediaError
from avizor_inference.items.signals.layout import Block, Layout, axis_of_channels, block_steps, check_dtype
from avizor_inference.numpy_headers import with_headers

MAGIC = b"\x93NUMPY"
# Bytes of a header; numpy writes less than 200 for numbers.
_LONGEST_HEADER = 10_000


@dataclass(frozen=True)
class Header:
    """Describes the array that follows: its shape, element type, whether the first axis changes fastest, where it begins."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool
    offset: int

    @property
    def data_bytes(self) -> int:
        """Return the size of the array in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes]) -> Header:
    """Read the header at the file's position. Raises MediaError; also for an array that does not hold real numbers."""
    start = file.read(8)
    size_bytes = 2 if start[6:7] == b"\1" else 4
    size = int.from_bytes(file.read(size_bytes), "little")
    if len(start) < 8 or start[:6] != MAGIC or start[6] not in (1, 2, 3) or size > _LONGEST_HEADER:
        raise MediaError("the header of the array is damaged; save it again with numpy.save")
    text = file.read(size)
    # Version 3 differs in the encoding of names alone, and arrays of numbers have none.
    header = size.to_bytes(4, "little") + text
    try:
        shape, is_fortran, dtype = with_headers(lambda: np.lib.format.read_array_header_2_0(io.BytesIO(header)))
    except Exception as error:  # damaged text can raise nearly anything
        raise MediaError("the header of the array is damaged; save it again with numpy.save") from error
    check_dtype(dtype)
    if any(length < 0 for length in shape):
        raise MediaError(f"the header of the array says {list(shape)}; save it again with numpy.save")
    return Header(shape, dtype, is_fortran, 8 + size_bytes + size)


def read_npy(file: BinaryIO, layout: Layout) -> Iterator[Block]:
    """See Reader."""
    header = read_header(file)
    size = file.seek(0, io.SEEK_END) - header.offset
    if size != header.data_bytes:
        problem = "is cut off" if size < header.data_bytes else "has more after its array"
        raise MediaError(f"the file {problem}: it holds {size} bytes of values, and its header says {header.data_bytes}")
    axis = axis_of_channels(header.shape, layout.channels)
    steps = math.prod(header.shape) // layout.channels
    # Whether all steps of a channel follow each other, or all channels of a step.
    is_planar = axis is not None and (axis == 0) != header.is_fortran
    for start in range(0, steps, block_steps(layout.channels)):
        count = min(block_steps(layout.channels), steps - start)
        if is_planar:
            parts = [_values(file, header, channel * steps + start, count) for channel in range(layout.channels)]
            yield np.stack(parts, axis=1)
        else:
            yield _values(file, header, start * layout.channels, count * layout.channels).reshape(count, layout.channels)


def _values(file: BinaryIO, header: Header, first: int, count: int) -> Block:
    """Read `count` values from the one numbered `first` on."""
    file.seek(header.offset + first * header.dtype.itemsize)
    data = file.read(count * header.dtype.itemsize)
    if len(data) < count * header.dtype.itemsize:
        raise MediaError("the file was shortened while it was read; run again when it is finished")
    return np.frombuffer(data, header.dtype)
