"""Make files that cost much more than their size shows, and look at the processes that decode them."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import psutil
import soundfile


def silence(samples: int, rate: int = 8000) -> bytes:
    """A FLAC of silence: some 3 bytes for 1,000 samples."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, 1, format="FLAC") as file:
        for start in range(0, samples, 2**20):
            file.write(np.zeros(min(2**20, samples - start), np.float32))
    return buffer.getvalue()


def claimed_png(width: int, height: int, pixels: bytes = b"", colour: int = 0) -> bytes:
    """A PNG whose header claims a size. pixels: as they come after unpacking; a part of them at the most."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def decoders_of(pid: int) -> list[psutil.Process]:
    """The processes that decode for a gateway."""
    found = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # ended, and not yet replaced
            if "avizor_service.decoders.worker" in child.cmdline():
                found.append(child)
    return found


def memory_mib(pid: int) -> float:
    """Resident memory of a process and all that it started, in MiB. What they share is counted for each."""
    total = 0
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:  # replaced meanwhile
            continue
    return total / 2**20
