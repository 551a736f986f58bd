"""Read arrays of a .npz file. They are unpacked in memory, up to a limit that no header can exceed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import BinaryIO
from zipfile import ZipFile

import numpy as np

from avizor_inference.error_text import one_line
from avizor_inference.errors import MediaError
from avizor_inference.items.signals.layout import MOST_UNPACKED, Block, Layout
from avizor_inference.items.signals.named_arrays import blocks_of_named
from avizor_inference.items.signals.npy_files import read_header

MAGIC = b"PK\x03\x04"
# Arrays whose headers are read.
_MOST_ARRAYS = 1000


def read_npz(file: BinaryIO, layout: Layout) -> Iterator[Block]:
    """See Reader."""
    try:
        with ZipFile(file) as archive:
            yield from blocks_of_named(_shapes(archive, layout), lambda name: _array(archive, f"{name}.npy"), layout)
    except MediaError:
        raise
    except Exception as error:  # a damaged archive can raise nearly anything
        raise MediaError(f"the .npz file cannot be unpacked ({type(error).__name__}: {one_line(error)})") from error


def _shapes(archive: ZipFile, layout: Layout) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays of numbers, by name."""
    members = [name for name in archive.namelist() if name.endswith(".npy")]
    if len(members) > _MOST_ARRAYS:
        raise MediaError(f"the .npz file has {len(members)} arrays; at most {_MOST_ARRAYS} are read")
    shapes = {}
    for member in members:
        name = member.removesuffix(".npy")
        with archive.open(member) as packed:
            try:
                shapes[name] = read_header(packed).shape
            except MediaError:
                if name == layout.key or name in layout.columns or len(members) == 1:
                    raise
    return shapes


def _array(archive: ZipFile, member: str) -> Block:
    with archive.open(member) as packed:
        header = read_header(packed)
        count = math.prod(header.shape)
        assert count <= MOST_UNPACKED  # blocks_of_named checked it
        data = packed.read(header.data_bytes)
        if len(data) != header.data_bytes or packed.read(1):  # reading to the end also compares the checksum
            raise MediaError(f"array {member!r} does not hold the {count} values that its header says")
    return np.frombuffer(data, header.dtype).reshape(header.shape, order="F" if header.is_fortran else "C")
