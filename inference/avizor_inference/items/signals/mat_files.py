"""Read variables of a MATLAB file of version 4 to 7 with scipy, which the extra `signals` installs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from avizor_inference.errors import MediaError
from avizor_inference.items.signals.layout import MOST_UNPACKED, Block, Layout
from avizor_inference.items.signals.named_arrays import blocks_of_named

MAGIC = b"MATLAB 5.0"
MAGIC_HDF5 = b"MATLAB 7.3"

# Classes of variables that hold numbers.
_NUMBERS = {"double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
_HEADER = 128  # bytes
_COMPRESSED = 15  # type of an element
_CHUNK = 2**20


def read_mat(file: BinaryIO, layout: Layout) -> Iterator[Block]:
    """See Reader."""
    try:
        from scipy.io import loadmat, whosmat
    except ImportError as error:
        raise MediaError(
            "a .mat file is read by scipy, which is not installed; install avizor[signals], or save the signal as .npy"
        ) from error
    try:
        _refuse_bombs(file)
        file.seek(0)
        shapes = {name: shape for name, shape, kind in whosmat(file) if kind in _NUMBERS}

        def load(name: str) -> Block:
            file.seek(0)
            return np.asarray(loadmat(file, variable_names=[name], mat_dtype=False)[name])

        yield from blocks_of_named(shapes, load, layout)
    except MediaError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything from the reader
        raise MediaError(f"the .mat file cannot be read ({type(error).__name__}: {error})") from error


def refuse_hdf5(file: BinaryIO, layout: Layout) -> Iterator[Block]:
    """Raise MediaError: it is a MATLAB file of version 7.3, or another file of HDF5."""
    raise MediaError(
        "the file is HDF5, as MATLAB's version 7.3 is, which is not read; save it in MATLAB with save(..., '-v7'), or as .npy"
    )
    yield  # a reader is a generator


def _refuse_bombs(file: BinaryIO) -> None:
    """Raise MediaError if the compressed variables of version 7 unpack to more than the largest signal."""
    file.seek(0)
    header = file.read(_HEADER)
    if not header.startswith(MAGIC):
        return  # version 4 compresses nothing
    order = "little" if header[126:128] == b"IM" else "big"
    unpacked = 0
    while len(tag := file.read(8)) == 8:
        kind, size = (int.from_bytes(tag[start : start + 4], order) for start in (0, 4))  # type: ignore[arg-type]
        if kind != _COMPRESSED:
            file.seek(size, 1)
            continue
        stream = zlib.decompressobj()
        while size > 0 and (packed := file.read(min(_CHUNK, size))):
            size -= len(packed)
            while packed:
                unpacked += len(stream.decompress(packed, _CHUNK))
                packed = stream.unconsumed_tail
                if unpacked > 16 * MOST_UNPACKED:
                    raise MediaError("the .mat file unpacks to over 512 MiB; save the signal as a .npy file")
