"""Read a file of a signal, whatever its format, and cut it into windows of all channels together."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from avizor_inference import numpy_headers
from avizor_inference.arrays import Samples
from avizor_inference.errors import MediaError
from avizor_inference.items.audio import Level
from avizor_inference.items.file_access import state_of
from avizor_inference.items.signals import mat_files, npy_files, npz_files, wav_files
from avizor_inference.items.signals.csv_files import read_csv
from avizor_inference.items.signals.layout import Block, Layout, Reader
from avizor_inference.items.signals.mat4_files import read_mat4
from avizor_inference.items.windows import Window, Windower, WindowFormat

_READERS: dict[bytes, Reader] = {
    numpy_headers.MAGIC: npy_files.read_npy,
    npz_files.MAGIC: npz_files.read_npz,
    mat_files.MAGIC: mat_files.read_mat,
    mat_files.MAGIC_HDF5: mat_files.refuse_hdf5,
    b"\x89HDF": mat_files.refuse_hdf5,
    **dict.fromkeys(wav_files.MAGICS, wav_files.read_wav),
}


def windows_of_signal(file: BinaryIO, layout: Layout, format: WindowFormat, level: Level | None = None) -> Iterator[Window]:
    """Yield the windows of a file: float32[channels, window] each, in order of position. Raises MediaError.

    The content of the file says what it is, not its name. level: takes note of the largest magnitude.
    """
    level, windower, steps = level or Level(), Windower(format, layout.channels, together=True), 0
    before = state_of(file)
    try:
        for block in _reader(file)(file, layout):
            samples = _checked(block, steps)
            level.add(samples, full_scale=float("inf"))
            steps += len(samples)
            yield from windower.push(samples)
    except OSError as error:
        raise MediaError(f"reading failed ({error.strerror})", offset=steps) from error
    if state_of(file) != before:
        raise MediaError("the file was changed while it was read; run again when it is finished", offset=steps)
    if not steps:
        raise MediaError("the file holds no values")
    yield from windower.finish()


def _reader(file: BinaryIO) -> Reader:
    file.seek(0)
    start = file.read(16)
    file.seek(0)
    if reader := next((reader for magic, reader in _READERS.items() if start.startswith(magic)), None):
        return reader
    # MATLAB's version 4 begins with a small number of four bytes. Text has zeros only in UTF-16, after the mark of its order.
    is_number = b"\0" in start[:4] and start[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return read_mat4 if is_number else read_csv


def _checked(block: Block, before: int) -> Samples:
    """Return the block as float32[steps, channels]. before: steps that were read before. Raises MediaError."""
    with np.errstate(over="ignore"):
        samples = np.asarray(block, dtype=np.float32)
    if np.isfinite(samples).all():
        return samples
    step, channel = np.argwhere(~np.isfinite(samples))[0].tolist()
    value = block[step, channel]
    problem = "which float32 cannot hold; use another unit" if np.isfinite(value) else "not a finite number"
    raise MediaError(f"step {before + step} of channel {channel} is {value:g}, {problem}", offset=before + step)
