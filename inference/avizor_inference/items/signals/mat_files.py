"""Read arrays of numbers from a MATLAB file of version 5 to 7: the format of "MAT-File Format", MathWorks, 2019.

A reader of our own: scipy's can be made to crash the process by a damaged file. Only the headers of variables are read, and the
numbers of those that are asked for.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np

from avizor_inference.errors import MediaError
from avizor_inference.items.signals.layout import Block, Layout
from avizor_inference.items.signals.named_arrays import blocks_of_named

MAGIC = b"MATLAB 5.0"
MAGIC_HDF5 = b"MATLAB 7.3"

_HEADER = 128  # bytes of the file's header
_MATRIX, _COMPRESSED = 14, 15  # types of elements
# Element type of stored numbers by their number in the format. MATLAB stores what fits in a smaller type than the array has.
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMBERS = range(6, 16)  # classes of arrays that are numbers: double to uint64
_COMPLEX = 0x800
# Bytes of a name, or of the sizes of an array.
_LONGEST = 4096
_CHUNK = 2**20


def _damaged() -> MediaError:
    return MediaError("the .mat file is damaged or cut off; save it again")


@dataclass(frozen=True)
class _Variable:
    """Holds where an array of numbers is: the place and size of its element in the file, and what its header says."""

    place: int
    size: int
    is_compressed: bool
    shape: tuple[int, ...]
    is_complex: bool


def read_mat(file: BinaryIO, layout: Layout) -> Iterator[Block]:
    """See Reader."""
    file.seek(0)
    order = "<" if file.read(_HEADER)[126:128] == b"IM" else ">"
    variables = dict(_variables(file, order))
    shapes = {name: variable.shape for name, variable in variables.items()}
    yield from blocks_of_named(shapes, lambda name: _load(file, order, name, variables[name]), layout)


def refuse_hdf5(file: BinaryIO, layout: Layout) -> Iterator[Block]:
    """Raise MediaError: it is a MATLAB file of version 7.3, or another file of HDF5."""
    raise MediaError(
        "the file is HDF5, as MATLAB's version 7.3 is, which is not read; save it in MATLAB with save(..., '-v7'), or as .npy"
    )
    yield  # a reader is a generator


class _Bytes(Protocol):
    def read(self, size: int) -> bytes:
        """Return so many bytes. Raises MediaError if there are fewer."""

    def check_end(self) -> None:
        """Raise MediaError unless what is stored ends here, and is undamaged as far as it can be told."""


class _Plain:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, size: int) -> bytes:
        self._left -= size
        data = self._file.read(size) if self._left >= 0 else b""
        if len(data) != size:
            raise _damaged()
        return data

    def check_end(self) -> None:
        if self._left:
            raise _damaged()


class _Compressed:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size
        self._stream = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            packed = self._stream.unconsumed_tail or self._packed()
            try:
                part = self._stream.decompress(packed, size)
            except zlib.error as error:
                raise _damaged() from error
            if not part and not packed:
                raise _damaged()
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def check_end(self) -> None:
        try:
            while not self._stream.eof and (packed := self._stream.unconsumed_tail or self._packed()):
                if self._stream.decompress(packed, 1):
                    raise _damaged()
        except zlib.error as error:
            raise _damaged() from error
        if not self._stream.eof:
            raise _damaged()

    def _packed(self) -> bytes:
        packed = self._file.read(min(_CHUNK, self._left))
        self._left -= len(packed)
        return packed


def _variables(file: BinaryIO, order: str) -> Iterator[tuple[str, _Variable]]:
    """Yield the arrays of numbers in the file, by name."""
    end = file.seek(0, io.SEEK_END)
    place = _HEADER
    while place < end:
        file.seek(place)
        kind, size = struct.unpack(f"{order}II", _Plain(file, 8).read(8))
        place += 8
        if place + size > end:
            raise _damaged()
        if kind in (_MATRIX, _COMPRESSED):
            stored = _open(file, place, size, kind == _COMPRESSED)
            if variable := _header(stored, order, place, size, kind == _COMPRESSED):
                yield variable
        place += size


def _open(file: BinaryIO, place: int, size: int, is_compressed: bool) -> _Bytes:
    file.seek(place)
    return _Compressed(file, size) if is_compressed else _Plain(file, size)


def _header(stored: _Bytes, order: str, place: int, size: int, is_compressed: bool) -> tuple[str, _Variable] | None:
    """Read the header of a variable. Return None if it does not hold numbers: a text, a cell, a struct."""
    if is_compressed and struct.unpack(f"{order}II", stored.read(8))[0] != _MATRIX:
        return None
    flags = _element(stored, order)[1]
    shape = _element(stored, order)[1]
    name = _element(stored, order)[1]
    if len(flags) < 4 or len(shape) % 4:
        raise _damaged()
    (bits,) = struct.unpack(f"{order}I", flags[:4])
    sizes = struct.unpack(f"{order}{len(shape) // 4}i", shape)
    if bits & 0xFF not in _NUMBERS:
        return None
    if min(sizes, default=0) < 0:
        raise _damaged()
    return name.decode("latin-1"), _Variable(place, size, is_compressed, sizes, bool(bits & _COMPLEX))


def _load(file: BinaryIO, order: str, name: str, variable: _Variable) -> np.ndarray[Any, Any]:
    """Read the numbers of a variable; blocks_of_named has checked how many they are."""
    if variable.is_complex:
        raise MediaError(f"the array {name!r} holds complex numbers; save the real part, or the magnitude")
    stored = _open(file, variable.place, variable.size, variable.is_compressed)
    _header(stored, order, variable.place, variable.size, variable.is_compressed)
    kind, data = _element(stored, order, longest=8 * math.prod(variable.shape))
    stored.check_end()
    dtype = _TYPES.get(kind)
    if dtype is None or len(data) != math.prod(variable.shape) * np.dtype(dtype).itemsize:
        raise _damaged()
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<" if order == "<" else ">")).reshape(variable.shape, order="F")


def _element(stored: _Bytes, order: str, longest: int = _LONGEST) -> tuple[int, bytes]:
    """Read a part of a variable: its type, and its bytes. Up to 4 bytes are in its tag, and more are filled up to 8."""
    tag = stored.read(8)
    kind, size = struct.unpack(f"{order}II", tag)
    if kind >> 16:
        kind, size = kind & 0xFFFF, kind >> 16
        if size > 4:
            raise _damaged()
        return kind, tag[4 : 4 + size]
    if size > longest:
        raise _damaged()
    data = stored.read(size)
    stored.read(-size % 8)
    return kind, data
