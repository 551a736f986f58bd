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

from avizor_inference import numpy_headers
from avizor_inference.errors import MediaError
from avizor_inference.items.signals.layout import Block, Layout, axis_of_channels, block_steps, check_dtype


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
    try:
        shape, is_fortran, dtype = numpy_headers.read_header(file)
    except ValueError as error:
        raise MediaError(str(error)) from None
    check_dtype(dtype)
    return Header(shape, dtype, is_fortran, file.tell())


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
