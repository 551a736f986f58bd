"""Read arrays of numbers from a MATLAB file of version 4: variables one after the other, each with a header of five numbers."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from avizor_inference.errors import MediaError
from avizor_inference.items.signals.layout import Block, Layout
from avizor_inference.items.signals.named_arrays import blocks_of_named

_HEADER = 20  # bytes
_TYPES = ("f8", "f4", "i4", "i2", "u2", "u1")
_LARGEST_TYPE = 9999  # of the first number of a header
_LONGEST_NAME = 256


@dataclass(frozen=True)
class _Variable:
    place: int  # of its numbers in the file
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    is_complex: bool


def read_mat4(file: BinaryIO, layout: Layout) -> Iterator[Block]:
    """See Reader."""
    variables = dict(_variables(file))
    shapes = {name: variable.shape for name, variable in variables.items()}
    yield from blocks_of_named(shapes, lambda name: _load(file, name, variables[name]), layout)


def _variables(file: BinaryIO) -> Iterator[tuple[str, _Variable]]:
    """Yield the arrays of numbers in the file, by name; texts and sparse matrices are left out."""
    end, place = file.seek(0, io.SEEK_END), 0
    damaged = MediaError("not a file of a signal: .npy, .npz, .mat, .csv and .wav files are read, and it is none, or damaged")
    while place < end:
        file.seek(place)
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            raise damaged
        order = "<" if struct.unpack("<I", header[:4])[0] <= _LARGEST_TYPE else ">"
        kind, rows, columns, imaginary, length = struct.unpack(f"{order}5i", header)
        number, reserved, storage, matrix = kind // 1000, kind // 100 % 10, kind // 10 % 10, kind % 10
        is_valid = number == (order == ">") and not reserved and storage < len(_TYPES) and matrix <= 2
        if not is_valid or min(rows, columns) < 0 or imaginary not in (0, 1) or not 0 < length <= _LONGEST_NAME:
            raise damaged
        name = file.read(length).rstrip(b"\0").decode("latin-1")
        dtype = np.dtype(order + _TYPES[storage])
        place += _HEADER + length
        if matrix == 0:
            yield name, _Variable(place, (rows, columns), dtype, bool(imaginary))
        place += rows * columns * dtype.itemsize * (1 + imaginary)
        if place > end:
            raise MediaError(f"the .mat file is cut off in array {name!r}; save it again")


def _load(file: BinaryIO, name: str, variable: _Variable) -> Block:
    if variable.is_complex:
        raise MediaError(f"the array {name!r} holds complex numbers; save the real part, or the magnitude")
    rows, columns = variable.shape
    file.seek(variable.place)
    data = file.read(rows * columns * variable.dtype.itemsize)
    return np.frombuffer(data, variable.dtype).reshape(variable.shape, order="F")
