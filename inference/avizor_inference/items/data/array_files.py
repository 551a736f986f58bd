"""List and open the items of .npy and .npz files: one for each index of the first dimension."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, BinaryIO

import numpy as np

from avizor_inference.error_text import one_line
from avizor_inference.errors import MediaError
from avizor_inference.items.data.packs import PackOfItems, open_listed
from avizor_inference.items.dataset import Entry
from avizor_inference.items.find_files import LeftOut
from avizor_inference.items.kinds.base import Content, TensorBytes
from avizor_inference.items.source_rule import SourceRule
from avizor_inference.numpy_headers import read_header

# Items of one entry at most, and their bytes, unless one item has more. A .npz is read from its beginning for each entry.
_PART_ITEMS = 4096
_PART_BYTES = {".npy": 16 * 2**20, ".npz": 64 * 2**20}
# Bytes that one byte of a .npz file unpacks to at most: 1,032 in the compression that numpy writes.
_MOST_UNPACKED = 1100


@dataclass(frozen=True)
class _Array:
    """Describes an array in a file whose position is at its first value."""

    file: BinaryIO
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def item_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize


class ArrayPack(PackOfItems):
    """Takes each index of the first dimension of an array for an item of a model's own tensor.

    A .npz file holds one array. in_folders: see PackOfItems.
    """

    def __init__(self, *, in_folders: bool) -> None:
        self.in_folders = in_folders

    def contents(self, entry: Entry) -> Sequence[type[Content]]:
        """See PackOfItems."""
        return (TensorBytes,)

    def parts(self, file: Entry, relative: PurePath, rule: SourceRule, left_out: LeftOut) -> Iterator[Entry]:
        """See PackOfItems."""
        with _open(file) as array:
            limit = _PART_BYTES[file.path.suffix.lower()] // max(1, array.item_bytes)
            most = max(1, min(_PART_ITEMS, limit))
            for first in range(0, array.shape[0], most):
                count = min(most, array.shape[0] - first)
                yield file.of_items(first, count, count * array.item_bytes)

    def items(self, entry: Entry) -> Iterator[tuple[Entry, Content]]:
        """See PackOfItems."""
        assert entry.part
        with _open(entry) as array:
            array.file.seek(entry.part.first * array.item_bytes, os.SEEK_CUR)
            little = array.dtype.newbyteorder("<")
            for number in range(entry.part.items):
                data = array.file.read(array.item_bytes)
                if len(data) < array.item_bytes:
                    raise MediaError(f"the file ends after {number} of {entry.part.items} items")
                if array.dtype != little:
                    data = np.frombuffer(data, array.dtype).astype(little).tobytes()
                yield entry.item(number), TensorBytes(array.dtype.name, array.shape[1:], data)


@contextmanager
def _open(entry: Entry) -> Iterator[_Array]:
    """Open the array of a file. Whatever a damaged one raises becomes a MediaError."""
    try:
        with open_listed(entry) as file:
            if entry.path.suffix.lower() == ".npy":
                array = _array(file)
                start, end = file.tell(), file.seek(0, os.SEEK_END)
                if end - start < array.shape[0] * array.item_bytes:
                    raise MediaError(f"the file was cut off: its {end} bytes do not hold {array.shape[0]} items")
                file.seek(start)
                yield array
                return
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
                if len(names) != 1:
                    arrays = ", ".join(name.removesuffix(".npy") for name in names) or "none"
                    raise MediaError(f"the file holds the arrays {arrays}; save the one of the items as a .npy file")
                with archive.open(names[0]) as member:
                    array = _array(member)  # type: ignore[arg-type]
                    _check_unpacked(archive.getinfo(names[0]), member.tell(), array, file)
                    yield array
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, NotImplementedError, SyntaxError) as error:
        raise MediaError(f"not an array that can be read ({one_line(error)})") from error


def _check_unpacked(info: zipfile.ZipInfo, start: int, array: _Array, file: BinaryIO) -> None:
    """Raise MediaError unless a member of a .npz file holds its items. start: of its values.

    A header that says more would be listed for ever, and so would a directory of the file that says more than can be in it.
    """
    whole = file.seek(0, os.SEEK_END)
    if info.file_size - start < array.shape[0] * array.item_bytes or info.file_size > _MOST_UNPACKED * whole:
        raise MediaError(f"the file is damaged: its {whole} bytes do not hold {array.shape[0]} items")


def _array(file: BinaryIO) -> _Array:
    """Read the header of an array."""
    shape, is_fortran, dtype = read_header(file)
    if not shape or not shape[0]:
        raise MediaError(f"the array has the shape {list(shape)}; its first dimension counts the items")
    if not all(shape):
        raise MediaError(f"the array has the shape {list(shape)}; each of its items holds no values")
    if is_fortran and len(shape) > 1:
        raise MediaError("the array is in Fortran's order; save numpy.ascontiguousarray of it")
    if dtype.kind not in "biuf":
        raise MediaError(f"the array is of type {dtype}; save it as numbers")
    return _Array(file, shape, dtype)
