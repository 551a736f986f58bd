"""Recognise the containers that PyAV reads, and find files of them that were cut off. PyAV is an extra, `avizor[av]`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import BinaryIO, NamedTuple

from avizor_inference.errors import MediaError
from avizor_inference.items.containers.stream import read_at
from avizor_inference.items.containers.tags import after_id3v2

# Suffixes of the files that are searched for in a folder if PyAV is installed.
AV_SUFFIXES = frozenset({
    ".m4a", ".m4b", ".mp4", ".m4v", ".mov", ".3gp", ".aac", ".webm", ".mka", ".mkv", ".wma", ".wmv", ".asf", ".avi",
})  # fmt: skip
AV_KINDS = "MP4, QuickTime, Matroska, WebM, Windows Media, AVI and AAC"
INSTALL = "pip install 'avizor[av]'"

_MATROSKA = b"\x1a\x45\xdf\xa3"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_SEGMENT = b"\x18\x53\x80\x67"
# The boxes that an MP4 or QuickTime file may begin with.
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")

# Boxes, objects or chunks that are looked at; a recording of a day in fragments of a second has fewer.
_MOST_CHUNKS = 1_000_000

# Samples of a fragment that lists none by itself: uncompressed sound of one size.
_MOST_SAMPLES = 2**22

# Boxes of one kind in each other. A fragment has one level of them, and FFmpeg reads ten.
_DEEPEST = 10


class AvContainer(NamedTuple):
    """Names a container: FFmpeg's demuxer for it, and what people call it."""

    demuxer: str
    name: str


_MP4 = AvContainer("mov", "MP4 or QuickTime")
_WEBM = AvContainer("matroska", "Matroska or WebM")
_WMA = AvContainer("asf", "Windows Media")
_AVI = AvContainer("avi", "AVI")
ADTS = AvContainer("aac", "AAC")


def has_av() -> bool:
    """Return whether PyAV is installed. It is not loaded for that."""
    return find_spec("av") is not None


def av_container(file: BinaryIO) -> AvContainer | None:
    """Return the container of a file by its first bytes; None if it is none of PyAV's, or cannot be read."""
    with suppress(OSError):
        return _container_of(file)
    return None


def _container_of(file: BinaryIO) -> AvContainer | None:
    mark = read_at(file, 0, 16)
    if mark[4:8] in _FIRST_BOXES:
        return _MP4
    if mark.startswith(_MATROSKA):
        return _WEBM
    if mark == _ASF:
        return _WMA
    if mark.startswith(b"RIFF") and mark[8:12] == b"AVI ":
        return _AVI
    head = read_at(file, after_id3v2(file, 0), 2) if mark.startswith(b"ID3") else mark[:2]
    return ADTS if len(head) == 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 else None


def check_whole(file: BinaryIO, container: AvContainer) -> None:
    """Raise MediaError for a file that is shorter than its parts say. Raises OSError.

    FFmpeg would read such a file up to its end. A stream of AAC has no such sizes; its last frame is compared when it is read.
    """
    size = file.seek(0, os.SEEK_END)
    if container is _MP4 and not _walk(file, size, _box, b"moov"):
        raise MediaError("the file has no index (moov): the recording was cut off before it was finished")
    if container is _WEBM:
        _check_segment(file, size)
    if container is _WMA:
        _walk(file, size, _asf_object)
    if container is _AVI:
        _walk(file, size, _riff)


# What begins at a place: its mark, and its size in bytes with its head; the size is None if it reaches to the end of the file.
_Part = tuple[bytes, int | None]


def _walk(file: BinaryIO, size: int, part_at: Callable[[BinaryIO, int], _Part | None], wanted: bytes = b"") -> bool:
    """Return whether a part with a mark is there. Raises MediaError for a part that is cut off."""
    position, found = 0, False
    for _ in range(_MOST_CHUNKS):
        part = part_at(file, position)
        if part is None:
            return found
        mark, length = part
        found = found or mark == wanted
        if mark == b"moof" and length:
            _check_fragment(file, position + 8, min(size, position + length))
        if length is None:
            return found
        if position + length > size:
            raise MediaError(
                f"the file was cut off: {length} bytes belong together from byte {position} on, and it has {size - position}"
            )
        if length < 8:
            raise MediaError(f"the file is damaged at byte {position}")
        position += length
    raise MediaError(f"the file has more than {_MOST_CHUNKS} parts; it is damaged")


def _box(file: BinaryIO, position: int) -> _Part | None:
    head = read_at(file, position, 16)
    if len(head) < 8:
        return None
    size = int.from_bytes(head[:4], "big")
    if size == 1:
        size = int.from_bytes(head[8:], "big")
    return head[4:8], size or None


def _check_fragment(file: BinaryIO, position: int, end: int, depth: int = 0) -> None:
    """Raise MediaError for a fragment that claims more samples than it can list: FFmpeg would make room for all of them."""
    if depth > _DEEPEST:
        raise MediaError(f"the file is damaged at byte {position}")
    while position + 8 <= end:
        head = read_at(file, position, 16)
        length = int.from_bytes(head[:4], "big")
        if head[4:8] == b"traf":
            _check_fragment(file, position + 8, min(end, position + length), depth + 1)
        elif head[4:8] == b"trun":
            listed = 4 * (head[10] & 0xF).bit_count()  # bytes for each sample
            most = length // listed if listed else _MOST_SAMPLES
            if int.from_bytes(head[12:], "big") > most:
                raise MediaError(f"the file is damaged at byte {position}")
        if length < 8:
            return
        position += length


def _asf_object(file: BinaryIO, position: int) -> _Part | None:
    head = read_at(file, position, 24)
    return (head[:16], int.from_bytes(head[16:], "little") or None) if len(head) == 24 else None


def _riff(file: BinaryIO, position: int) -> _Part | None:
    head = read_at(file, position, 8)
    size = int.from_bytes(head[4:], "little")
    return (head[:4], 8 + size + size % 2) if head[:4] == b"RIFF" and len(head) == 8 else None


def _check_segment(file: BinaryIO, size: int) -> None:
    """Raise MediaError if the segment, which holds all that is in a Matroska file, does not end within the file.

    A file that was written into a pipe does not tell the size of its segment, and is read to its end.
    """
    header = _vint(file, len(_MATROSKA))
    if header is None:
        return
    segment = sum(header)
    if read_at(file, segment, 4) == _SEGMENT and (told := _vint(file, segment + 4)) and sum(told) > size:
        raise MediaError(f"the file was cut off: its header says {sum(told)} bytes, and it has {size}")


def _vint(file: BinaryIO, position: int) -> tuple[int, int] | None:
    """Return the number at a place of a Matroska file, after the place where it ends; None if it stands for unknown."""
    data = read_at(file, position, 8)
    width = 9 - data[0].bit_length() if data and data[0] else 9
    if width > len(data):
        raise MediaError(f"the file is damaged at byte {position}")
    value = int.from_bytes(data[:width], "big") & ((1 << 7 * width) - 1)
    return None if value == (1 << 7 * width) - 1 else (position + width, value)
