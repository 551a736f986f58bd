"""Read the pages of Ogg files: https://www.rfc-editor.org/rfc/rfc3533 (6)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from avizor_inference.errors import MediaError
from avizor_inference.items.containers.stream import Stream, read_at

_BEGIN, _END = 2, 4  # flags of a stream's first and last page
_HEAD = struct.Struct("<4sBBqIIIB")
_CHECKSUM = slice(22, 26)
_NO_PACKET_ENDS = -1  # granule position of a page in which no packet ends
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class _Page:
    position: int
    end: int
    flags: int
    granule: int  # samples up to the page's end
    serial: int
    number: int


def ogg_streams(file: BinaryIO, size: int) -> list[Stream]:
    """Return each stream of a chain. Ogg files that were joined are a chain, of which libsndfile reads only the first stream.

    Raises MediaError for a stream without its last page, or with missing or damaged pages: it is incomplete. libsndfile would
    skip such pages.
    """
    streams: list[Stream] = []
    last: _Page | None = None
    start, granule = 0, 0
    for page in _pages(file, size):
        if last is None or last.flags & _END:
            if not page.flags & _BEGIN:
                raise MediaError(f"the OGG stream at byte {page.position} has no beginning: a part of the file is missing")
            start, granule = page.position, 0
        elif page.flags & _BEGIN and not last.flags & _BEGIN:
            raise MediaError(f"the OGG stream before byte {page.position} has no last page: it was cut off, or never finished")
        elif page.serial != last.serial:
            raise MediaError("the OGG file holds several streams at once; extract the sound stream")
        elif page.number != last.number + 1:
            raise MediaError(f"pages of the OGG stream are missing before byte {page.position}")
        if page.granule != _NO_PACKET_ENDS:
            if page.granule < granule:
                raise MediaError(f"the OGG stream runs backwards at byte {page.position}")
            granule = page.granule
        if page.flags & _END:
            streams.append(Stream(start, page.end))
        last = page
    if last is None or not last.flags & _END:
        raise MediaError("the OGG stream has no last page: the file was cut off, or never finished")
    return streams


def _pages(file: BinaryIO, size: int) -> Iterator[_Page]:
    position = 0
    while position < size:
        head = read_at(file, position, _HEAD.size)
        if not head.startswith(b"OggS"[: len(head)]):
            if _is_padding(file, position):
                return
            raise MediaError(f"the OGG file is damaged at byte {position}: no page begins there")
        if len(head) < _HEAD.size:
            raise MediaError("the OGG file ends within a page: it was cut off")
        _, _, flags, granule, serial, number, checksum, segments = _HEAD.unpack(head)
        lacing = read_at(file, position + _HEAD.size, segments)
        end = position + _HEAD.size + segments + sum(lacing)
        if end > size:
            raise MediaError("the OGG file ends within a page: it was cut off")
        if _checksum(read_at(file, position, end - position)) != checksum:
            raise MediaError(f"the OGG file is damaged at byte {position}: the checksum of a page is wrong")
        yield _Page(position, end, flags, granule, serial, number)
        position = end


def _checksum(page: bytes) -> int:
    """Return the CRC of a page, computed with 0 in the CRC's own field.

    It is the CRC of zlib with the opposite order of bits, an initial value of 0, and no final inversion.
    """
    data = bytearray(page)
    data[_CHECKSUM] = bytes(4)
    mirrored = zlib.crc32(data.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _is_padding(file: BinaryIO, position: int) -> bool:
    """Return whether only zeros follow."""
    file.seek(position)
    while block := file.read(2**16):
        if block.strip(b"\0"):
            return False
    return True
