"""Read the head of a WAV file that comes through a pipe, as `arecord` writes it: its length is not true, or not known."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from avizor_inference.errors import MediaError

# Length of the data, in bytes, from which on it is one that a recorder writes who does not know it.
_UNKNOWN_FROM = 0x7FFFF000

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_FORMATS = {(_PCM, 16): "s16le", (_FLOAT, 32): "f32le"}

# Bytes of a chunk before the data. More is no head of a sound.
_LONGEST_CHUNK = 1 << 20

MARK = b"RIFF"


@dataclass(frozen=True)
class PcmFormat:
    """Describes PCM. format: `s16le` or `f32le`. sample_rate: in Hz."""

    format: str
    sample_rate: int
    channels: int


def read_head(read: Callable[[int], bytes]) -> tuple[PcmFormat, int | None]:
    """Read a head, of which the first four bytes were read, up to the samples.

    Return what they are, and their length in bytes; None if it is not known. read: returns so many bytes, or fewer at the end.
    Raises MediaError.
    """
    if read(8)[4:] != b"WAVE":
        raise MediaError("standard input begins as a RIFF file, and is no WAV; send WAV or raw PCM")
    format: PcmFormat | None = None
    while len(head := read(8)) == 8:
        name, size = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            if format is None:
                break
            return format, None if size == 0 or size >= _UNKNOWN_FROM else size
        if size > _LONGEST_CHUNK:
            break
        chunk = read(size + size % 2)
        if name == b"fmt ":
            format = _format(chunk)
    raise MediaError("standard input begins as a WAV file, and has no samples; send WAV or raw PCM")


def _format(chunk: bytes) -> PcmFormat:
    if len(chunk) < 16:
        raise MediaError("standard input is a WAV file whose head is damaged; send WAV or raw PCM")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        (tag,) = struct.unpack_from("<H", chunk, 24)
    format = _FORMATS.get((tag, bits))
    if format is None:
        raise MediaError(f"standard input is a WAV file of {bits} bits (format {tag}); send {' or '.join(_FORMATS.values())}")
    return PcmFormat(format, rate, channels)
